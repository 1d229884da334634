//! What a client may ask of the host, one function for each request.

use super::slot::Word;
use super::{Host, MOST_IDLE, REFILL_PAUSE, WATCH_AFTER, begin_stop, orders};
use crate::protocol::{self, frame_json, kind};
use serde_json::{Map, Value, json};
use std::time::{Duration, Instant};

impl Host {
    pub(super) fn handle(&mut self, body: &Map<String, Value>) {
        let name = body
            .get("request")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let fields: &[&str] = match name {
            "run" => return self.handle_run(body),
            "stop" => &["id", "grace_ms"],
            "prefork" => &["count"],
            "forget" => &["id"],
            "ping" => &["nonce"],
            "retire" => &["worker"],
            _ => {
                let name = body.get("request").unwrap_or(&Value::Null);
                return self.refuse(body, "invalid", &[format!("there is no request {name}")]);
            }
        };
        let is_known = |field: &str| field == "request" || fields.contains(&field);
        let unknown: Vec<String> = body
            .keys()
            .filter(|field| !is_known(field))
            .map(|field| format!("{field} is not a field of {name}"))
            .collect();
        if !unknown.is_empty() {
            return self.refuse(body, "invalid", &unknown);
        }
        match name {
            "stop" => self.handle_stop(body),
            "prefork" => self.handle_prefork(body),
            "forget" => self.handle_forget(body),
            "retire" => self.handle_retire(body),
            _ => {
                let (idle, running) = (self.idle.len(), self.running.len());
                let nonce = body.get("nonce");
                self.tell(
                    &json!({"event": "pong", "nonce": nonce, "idle": idle, "running": running}),
                );
            }
        }
    }

    fn handle_run(&mut self, body: &Map<String, Value>) {
        let run = match orders::understand(body) {
            Ok(run) => run,
            Err(problems) => return self.refuse(body, "invalid", &problems),
        };
        let order = frame_json(kind::SLOT, &Word::Run(&run.order));
        if order.len() > protocol::FRAME_LIMIT {
            let problem = "environment and arguments are too long".to_string();
            return self.refuse(body, "invalid", &[problem]);
        }
        if self.running.contains_key(&run.id) || self.mailbox.knows_end_of(&run.id) {
            let problem = format!("execution {} was already run here", run.id);
            return self.refuse(body, "duplicate", &[problem]);
        }
        if self.stopping {
            return self.refuse(body, "full", &["the host is stopping".to_string()]);
        }
        if self.running.len() >= self.most_running {
            let problem = format!("the host runs {} executions", self.most_running);
            return self.refuse(body, "full", &[problem]);
        }
        let Some(pid) = self.take_idle(run.worker) else {
            let (code, problem) = match run.worker {
                Some(pid) => ("no_such_worker", format!("no idle worker has pid {pid}")),
                None => ("full", "no further process can be made".to_string()),
            };
            return self.refuse(body, code, &[problem]);
        };
        let begun = self
            .workers
            .get_mut(&pid)
            .map(|worker| worker.begin(&run, &order));
        match begun {
            Some(Ok(started)) => {
                self.running.insert(run.id, pid);
                self.mailbox.put(&started);
                self.flush_at.get_or_insert(Instant::now() + WATCH_AFTER);
                self.await_writable(pid);
            }
            Some(Err(error)) => {
                let problem = format!("worker {pid} takes no orders: {error}");
                self.refuse(body, "worker_lost", &[problem]);
                self.lose(pid);
            }
            None => {}
        }
    }

    fn handle_stop(&mut self, body: &Map<String, Value>) {
        let grace = match body.get("grace_ms") {
            None => Some(orders::GRACE),
            Some(grace) => grace.as_u64().map(Duration::from_millis),
        };
        let Some(grace) = grace else {
            let problem = "grace_ms must be an integer from 0".to_string();
            return self.refuse(body, "invalid", &[problem]);
        };
        let id = body.get("id").and_then(Value::as_str).unwrap_or_default();
        let pid = self.running.get(id).copied();
        let Some(worker) = pid.and_then(|pid| self.workers.get_mut(&pid)) else {
            let problem = format!("no execution {id} runs here");
            return self.refuse(body, "unknown_execution", &[problem]);
        };
        if let Some(execution) = &mut worker.execution {
            execution.stopped = true;
            if worker.report.is_none() {
                begin_stop(execution, grace, Instant::now());
            }
        }
    }

    fn handle_prefork(&mut self, body: &Map<String, Value>) {
        let count = body
            .get("count")
            .and_then(Value::as_u64)
            .and_then(|count| usize::try_from(count).ok());
        let Some(count) = count.filter(|count| *count <= MOST_IDLE) else {
            let problem = format!("count must be an integer from 0 to {MOST_IDLE}");
            return self.refuse(body, "invalid", &[problem]);
        };
        self.wanted_idle = count;
        while self.idle.len() > count {
            if let Some(pid) = self.idle.pop_front() {
                self.workers.remove(&pid);
                self.announce("worker_lost", pid);
            }
        }
    }

    fn handle_forget(&mut self, body: &Map<String, Value>) {
        let id = body.get("id").and_then(Value::as_str).unwrap_or_default();
        if !self.mailbox.forget(id) {
            let problem = format!("no execution {id} ended here");
            self.refuse(body, "unknown_execution", &[problem]);
        }
    }

    fn handle_retire(&mut self, body: &Map<String, Value>) {
        let pid = body
            .get("worker")
            .and_then(Value::as_i64)
            .and_then(|pid| i32::try_from(pid).ok());
        let Some(pid) = pid.filter(|pid| self.idle.contains(pid)) else {
            let problem = format!(
                "no idle worker has pid {}",
                body.get("worker").unwrap_or(&Value::Null)
            );
            return self.refuse(body, "no_such_worker", &[problem]);
        };
        self.idle.retain(|idle| *idle != pid);
        self.workers.remove(&pid);
        self.announce("worker_lost", pid);
        // Whoever cannot use one may not be able to use the next either.
        self.refill_after = Instant::now() + REFILL_PAUSE;
    }
}
