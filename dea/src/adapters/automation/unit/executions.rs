//! The executions of a unit: what becomes of each, from the worker it is given to until its end.

use super::{PackCommand, Unit};
use crate::adapters::agent::Agent;
use crate::adapters::automation::conclude::{End, conclude};
use crate::adapters::automation::unix_us;
use crate::adapters::automation::workers::Worker;
use crate::adapters::chain;
use crate::domain::action::{self, ActionRecord, Outcome};
use crate::domain::action_output::{Output, Printed};
use crate::domain::pack_host::{self, HostKind};
use crate::sandbox::Sandbox;
use proto::bus::automation::ActionOutput;
use serde_json::{Map, Value};
use std::time::Duration;

/// How long an execution waits for a worker that has a group.
pub(super) const WORKER_WITHIN: Duration = Duration::from_secs(5);
/// How often an execution that its host did not take is given to it.
const TRIES: u32 = 3;
/// How long a worker may take to begin with its orders.
const BEGINS_WITHIN: Duration = Duration::from_secs(30);
/// Between killing an execution that does not end, and its whole sandbox.
const LAST_CHANCE: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Waiting,
    /// Its orders were sent.
    Given,
    Began,
}

pub(super) struct Execution {
    pub(super) record: ActionRecord,
    pub(super) orders: Map<String, Value>,
    pub(super) host: HostKind,
    pub(super) phase: Phase,
    pub(super) output: Output,
    /// What was printed since it was last written down.
    pub(super) unwritten: Vec<Printed>,
    pub(super) stop_reason: Option<String>,
    /// It is stopped because the agent ends.
    pub(super) farewell: bool,
    /// Unix microseconds.
    pub(super) started_at: i64,
    /// When the agent itself ends it; until it is given, when it takes any worker.
    pub(super) guard: Option<Duration>,
    pub(super) killed: bool,
    /// Its worker, if that has a control group of its own.
    pub(super) worker: Option<Worker>,
    /// Without one: kills for want of memory in the whole sandbox before it began.
    pub(super) kills_before: u64,
    pub(super) tries: u32,
}

impl Execution {
    pub(super) fn new(
        record: ActionRecord,
        orders: Map<String, Value>,
        host: HostKind,
    ) -> Execution {
        Execution {
            output: Output::new(record.output_limit),
            orders,
            host,
            phase: Phase::Waiting,
            unwritten: Vec::new(),
            stop_reason: None,
            farewell: false,
            started_at: 0,
            guard: None,
            killed: false,
            worker: None,
            kills_before: 0,
            tries: 0,
            record,
        }
    }
}

impl Unit {
    pub(super) fn stop(&mut self, id: &str, reason: String, grace_ms: u64) {
        let Some(execution) = self.executions.get_mut(id) else {
            return;
        };
        if execution.phase == Phase::Waiting {
            self.end(id, Outcome::Canceled { reason });
            return;
        }
        execution.stop_reason.get_or_insert(reason);
        let host = execution.host;
        self.side(host).tell(&pack_host::stop(id, grace_ms));
    }

    pub(super) fn began(&mut self, id: &str, at_us: i64) {
        let now = self.agent.now().uptime;
        let Some(execution) = self.executions.get_mut(id) else {
            return;
        };
        execution.phase = Phase::Began;
        execution.started_at = at_us;
        execution.orders = Map::new();
        execution.guard = execution.record.guard().map(|guard| now + guard);
    }

    pub(super) fn printed(&mut self, id: &str, printed: Printed) {
        let now = self.agent.now().uptime;
        let Some(execution) = self.executions.get_mut(id) else {
            return;
        };
        execution.unwritten.push(printed.clone());
        if execution.output.push(printed, now, unix_us()) {
            self.pass_on(id, true);
        }
    }

    /// Passes on what an execution printed; with `write` it is written down too.
    pub(super) fn pass_on(&mut self, id: &str, write: bool) {
        let Some(execution) = self.executions.get_mut(id) else {
            return;
        };
        let unwritten = std::mem::take(&mut execution.unwritten);
        if write && !unwritten.is_empty() {
            self.agent.notes.print(id, &unwritten);
        }
        let pieces = execution.output.take_batch();
        if pieces.is_empty() {
            return;
        }
        let batch = ActionOutput {
            execution: execution.record.execution.clone(),
            attempt: execution.record.attempt,
            pieces,
        };
        if let Err(batch) = self.agent.outputs.send(batch) {
            execution.output.lose(&batch.pieces);
        }
    }

    /// Its host told its end. `reusable`: its worker is idle again.
    pub(super) fn exited(
        &mut self,
        host: HostKind,
        id: &str,
        reusable: bool,
        report: Map<String, Value>,
    ) {
        let Some(execution) = self.executions.get_mut(id) else {
            if !self.concluding.contains(id) {
                self.side(host).tell(&pack_host::forget(id));
            }
            return;
        };
        let (kills_before, farewell) = (execution.kills_before, execution.farewell);
        let mut worker = execution.worker.take();
        let memory_killed = match &mut worker {
            Some(worker) => worker.was_memory_killed(),
            None => self.sandbox_memory_kills() > kills_before,
        };
        let pid = report.get("pid").and_then(Value::as_i64);
        let pid = pid.and_then(|pid| i32::try_from(pid).ok());
        self.side(host).with_workers(|workers| match (worker, pid) {
            (Some(worker), _) if reusable => workers.came_back(worker),
            (Some(worker), _) => workers.release(worker),
            // It worked without a group of its own, because none was ready.
            (None, Some(pid)) if reusable => workers.came(pid),
            (None, _) => {}
        });
        let outcome = if farewell {
            let why = "the agent was shut down".to_string();
            Outcome::Lost { why }
        } else {
            Outcome::Ended {
                report,
                memory_killed,
            }
        };
        self.end(id, outcome);
    }

    /// Processes killed for want of memory in the whole sandbox.
    fn sandbox_memory_kills(&self) -> u64 {
        let group = self.sandbox.as_ref().map(Sandbox::group);
        group
            .and_then(|group| group.memory_kills().ok())
            .unwrap_or(0)
    }

    pub(super) fn refused(&mut self, id: &str, code: &str, problems: Vec<String>) {
        let Some(execution) = self.executions.get_mut(id) else {
            return;
        };
        if execution.phase != Phase::Given || code == "duplicate" {
            return;
        }
        if code == "invalid" {
            self.end(id, Outcome::Refused { problems });
            return;
        }
        execution.tries += 1;
        // The orders of what an earlier agent gave are gone with it.
        if execution.tries >= TRIES || execution.orders.is_empty() {
            let why = problems.join("; ");
            self.end(id, Outcome::NotStarted { why });
            return;
        }
        execution.phase = Phase::Waiting;
        execution.guard = Some(self.agent.now().uptime + WORKER_WITHIN);
        let (worker, host) = (execution.worker.take(), execution.host);
        let side = self.side(host);
        side.waiting.push_front(id.to_string());
        if let Some(worker) = worker {
            side.with_workers(|workers| workers.dismiss(worker));
        }
    }

    /// Gives waiting executions to workers that are there.
    pub(super) fn dispatch(&mut self) {
        for kind in HostKind::BOTH {
            self.dispatch_to(kind);
        }
    }

    fn dispatch_to(&mut self, kind: HostKind) {
        if !self.side(kind).ready {
            return;
        }
        let now = self.agent.now().uptime;
        while let Some(id) = self.side(kind).waiting.front().cloned() {
            let Some(execution) = self.executions.get(&id) else {
                self.side(kind).waiting.pop_front();
                continue;
            };
            let memory = match execution.record.memory_mb {
                0 => self.limits.memory_mb,
                wanted => wanted.min(self.limits.memory_mb),
            };
            let processes = (self.limits.pids / 2).max(1) + u64::from(kind.worker_stays());
            let overdue = execution.guard.is_some_and(|guard| guard <= now);
            let side = self.side(kind);
            let taken = side.with_workers(|workers| {
                let worker = workers.take(memory << 20, processes);
                (worker, workers.limited())
            });
            let Some((worker, limited)) = taken else {
                return;
            };
            if worker.is_none() && limited && !overdue {
                side.want_workers(now);
                return;
            }
            side.waiting.pop_front();
            self.give(&id, worker);
        }
    }

    fn give(&mut self, id: &str, worker: Option<Worker>) {
        let noted = self.agent.notes.give(id);
        let pid = worker.as_ref().map(|worker| worker.pid);
        let kills_before = match worker {
            Some(_) => 0,
            None => self.sandbox_memory_kills(),
        };
        let now = self.agent.now().uptime;
        let Some(execution) = self.executions.get_mut(id) else {
            return;
        };
        execution.worker = worker;
        if let Err(error) = noted {
            let why = format!("it could not be noted: {}", chain(&error));
            self.end(id, Outcome::NotStarted { why });
            return;
        }
        execution.phase = Phase::Given;
        execution.kills_before = kills_before;
        execution.guard = Some(now + BEGINS_WITHIN);
        let frame = action::run_frame(execution.orders.clone(), pid);
        let host = execution.host;
        self.side(host).tell(&frame);
    }

    /// Ends what its host does not end: by its control group, or by the host where it has none; at last with
    /// the whole sandbox.
    pub(super) async fn guard(&mut self, now: Duration) {
        let mut hopeless = false;
        let mut dropped = Vec::new();
        for (id, execution) in &mut self.executions {
            if execution.phase == Phase::Waiting || execution.guard.is_none_or(|guard| guard > now)
            {
                continue;
            }
            tracing::warn!(
                execution = id,
                pack = self.pack,
                "an action does not end and is killed"
            );
            match &execution.worker {
                Some(worker) if !execution.killed => {
                    let _ = worker.group.kill();
                }
                None if !execution.killed => dropped.push((id.clone(), execution.host)),
                Some(_) | None => hopeless = true,
            }
            execution.killed = true;
            execution.guard = Some(now + LAST_CHANCE);
        }
        for (id, host) in dropped {
            self.side(host).tell(&pack_host::stop(&id, 0));
        }
        if hopeless {
            self.close();
            self.kill_sandbox().await;
        }
    }

    /// The execution is over: what is left to do happens beside.
    pub(super) fn end(&mut self, id: &str, outcome: Outcome) {
        self.pass_on(id, false);
        let Some(execution) = self.executions.remove(id) else {
            return;
        };
        let host = execution.host;
        if execution.phase == Phase::Waiting {
            self.side(host).waiting.retain(|waiting| waiting != id);
        }
        if let Some(worker) = execution.worker {
            self.side(host)
                .with_workers(|workers| workers.release(worker));
        }
        self.concluding.insert(id.to_string());
        let (agent, myself, sandbox) = (self.agent.clone(), self.myself.clone(), self.id.clone());
        let place = (execution.record.execution.clone(), execution.record.attempt);
        let end = End {
            record: execution.record,
            outcome,
            output: execution.output,
            stop_reason: execution.stop_reason,
            started_at: execution.started_at,
        };
        let id = id.to_string();
        self.agent.tasks.spawn_once("end-action", async move {
            conclude(&agent, end).await;
            agent.forget_action(&place, &sandbox);
            let _ = myself.send(PackCommand::Concluded(id, host)).await;
        });
    }
}

impl Agent {
    /// The end of an action is in the spool.
    fn forget_action(&self, place: &(String, u32), sandbox: &str) {
        let now = self.now().uptime;
        let mut table = self.table();
        table.actions.remove(place);
        table.ended_actions.remember(&action::id(&place.0, place.1));
        if let Some(entry) = table.packs.get_mut(sandbox) {
            entry.running = entry.running.saturating_sub(1);
            if entry.running == 0 {
                entry.warm.idle_since = Some(now);
            }
        }
        drop(table);
        self.nudges.report.notify_one();
    }
}
