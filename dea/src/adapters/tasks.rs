//! One-off tasks: `yard.dea.{id}.task.run` and `.task.stop`. Staging is one of them.
//!
//! A task is a straight line (fetch, prepare, put, order, wait, store, report), so it is written as
//! one. It ends in exactly one [`Outcome`], whatever the step it ends at, and its result is spooled
//! before its sandbox is removed. Once ordered, it outlives the agent: the record in its sandbox
//! holds the request, and the next agent goes on with waiting.

use super::agent::{Agent, TaskEntry, TaskWish};
use super::chain;
use super::life::{exit_of, reached};
use super::preparing::cpu_shares;
use super::spool::Fact;
use super::task_files;
use super::transfer::{hex, unhex};
use super::voice::Voice;
use crate::domain::capacity::{self, Resources};
use crate::domain::crash::Exit;
use crate::domain::environment::{self, HOME};
use crate::domain::epoch::Command;
use crate::domain::record::{Record, TaskRecord};
use crate::domain::task::{self, Outcome, Tail};
use crate::sandbox::{Orders, Prepare, Sandbox, SandboxEvent, SandboxLimits, Signal, VCAP};
use daemon::Received;
use proto::bus::stream::{RunTask, RunTaskReply, StopTask};
use proto::bus::{Payload, catalogue};
use proto::ids::TaskId;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

const DEFAULT_TIMEOUT: u32 = 900;
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a killed task may take to go.
const GIVE_UP: Duration = Duration::from_secs(10);
const FILES: u64 = 16384;
/// A disk this full is full: the last blocks are not for everyone.
const FULL: f64 = 0.97;

impl Agent {
    pub async fn listen_for_tasks(self: &Arc<Self>) {
        let (runs, stops) = (
            catalogue::dea_task_run(&self.id).filter(),
            catalogue::dea_task_stop(&self.id).filter(),
        );
        self.answer("task-run", runs, run).await;
        self.answer("task-stop", stops, stop).await;
    }
}

fn run(agent: &Arc<Agent>, received: Received<RunTask>) {
    let reply = match accept(agent, &received.message) {
        Ok(()) => RunTaskReply {
            accepted: true,
            reason: String::new(),
        },
        Err(reason) => RunTaskReply {
            accepted: false,
            reason,
        },
    };
    agent.tasks.spawn_once("answer", async move {
        if let Err(error) = received.respond(&reply).await {
            tracing::warn!(%error, "whoever wants a task run was not answered");
        }
    });
}

/// Takes a task, or says why not.
fn accept(agent: &Arc<Agent>, request: &RunTask) -> Result<(), String> {
    let _admitting = agent.admitting();
    let limits = Resources {
        memory_mb: request.memory_mb,
        disk_mb: request.disk_mb,
    };
    let offered = agent.offered();
    let (stop, wishes) = mpsc::channel(4);
    {
        let mut table = agent.table();
        // 0 is "no epoch": the field has no presence.
        let epoch = Some(request.epoch).filter(|epoch| *epoch != 0);
        table
            .epochs
            .check(Command::Task, epoch)
            .map_err(|outdated| outdated.to_string())?;
        if let Some(why) = task::refuse(request) {
            return Err(why);
        }
        TaskId::new(request.task.clone()).map_err(|error| format!("the task's id: {error}"))?;
        if table.knows(&request.task) {
            return Ok(());
        }
        if table.draining {
            return Err("the agent is shutting down".to_string());
        }
        let evicted = capacity::admit(offered, &table.claims(), limits)
            .map_err(|refused| refused.to_string())?;
        table.evict(evicted);
        table
            .tasks
            .insert(request.task.clone(), TaskEntry { limits, stop });
    }
    agent.accepted.note(
        &request.task,
        &Record::Task(record_of(request, agent.now().unix)),
    );
    agent.nudges.advertise.notify_one();
    tracing::info!(task = request.task, kind = request.kind, "a task is run");
    agent
        .tasks
        .spawn_once("task", begin(agent.clone(), request.clone(), wishes));
    Ok(())
}

fn stop(agent: &Arc<Agent>, received: Received<StopTask>) {
    let StopTask { task, reason } = received.message;
    let mut table = agent.table();
    let told = table
        .tasks
        .get(&task)
        .map(|entry| entry.stop.try_send(TaskWish::Stop(reason)));
    match told {
        Some(Ok(())) => {}
        Some(Err(_)) => tracing::debug!(task, "a task was told to stop before"),
        // The order to run it may still be on its way: two subjects have no order between them.
        None if !table.knows(&task) => table.ended(&task),
        None => {}
    }
}

/// A running task and what came of it so far.
struct Run {
    agent: Arc<Agent>,
    request: RunTask,
    wishes: mpsc::Receiver<TaskWish>,
    voice: Voice,
    tail: Tail,
    sandbox: Option<Sandbox>,
}

/// Whether the task is over.
enum Pause {
    Ended(Outcome),
    /// The agent ends, the task goes on.
    Left,
}

fn voice(agent: &Agent, request: &RunTask) -> Voice {
    let tags = BTreeMap::from([
        ("app_id".to_string(), request.app.clone()),
        ("app_name".to_string(), request.app_name.clone()),
        ("task_id".to_string(), request.task.clone()),
    ]);
    Voice::new(
        agent.logs.clone(),
        &request.app,
        "0".to_string(),
        request.log_source_type.clone(),
        tags,
    )
}

async fn begin(agent: Arc<Agent>, request: RunTask, wishes: mpsc::Receiver<TaskWish>) {
    let voice = voice(&agent, &request);
    let mut run = Run {
        agent,
        request,
        wishes,
        voice,
        tail: Tail::default(),
        sandbox: None,
    };
    let until = run.agent.now().uptime + run.timeout();
    let pause = match run.prepare(until).await {
        Ok(()) => run.supervise(until).await,
        Err(outcome) => Pause::Ended(outcome),
    };
    run.conclude(pause).await;
}

fn record_of(request: &RunTask, started_at: f64) -> TaskRecord {
    TaskRecord {
        request: hex(&request.encode()),
        started_at,
    }
}

fn request_of(record: &TaskRecord) -> Option<RunTask> {
    unhex(&record.request).and_then(|bytes| RunTask::decode(&bytes).ok())
}

/// Goes on with a task that an earlier agent ordered.
pub fn adopt(agent: &Arc<Agent>, record: &TaskRecord, sandbox: Sandbox) -> bool {
    let Some(request) = request_of(record) else {
        return false;
    };
    let limits = Resources {
        memory_mb: request.memory_mb,
        disk_mb: request.disk_mb,
    };
    let (stop, wishes) = mpsc::channel(4);
    agent
        .table()
        .tasks
        .insert(request.task.clone(), TaskEntry { limits, stop });
    let voice = voice(agent, &request);
    let mut run = Run {
        agent: agent.clone(),
        request,
        wishes,
        voice,
        tail: Tail::default(),
        sandbox: Some(sandbox),
    };
    let now = agent.now();
    let spent = Duration::try_from_secs_f64(now.unix - record.started_at).unwrap_or_default();
    let until = now.uptime + run.timeout().saturating_sub(spent);
    agent.tasks.spawn_once("task", async move {
        let pause = run.supervise(until).await;
        run.conclude(pause).await;
    });
    true
}

/// Reports a task that was accepted by an earlier agent, and not ordered before it died.
pub fn report_lost(agent: &Agent, record: &TaskRecord) {
    let Some(request) =
        &request_of(record).filter(|request| !agent.table().tasks.contains_key(&request.task))
    else {
        return;
    };
    agent.spool.put(Fact::Task(task::exited(
        request,
        agent.id.as_str(),
        &Outcome::AgentLostIt,
        vec![],
        vec![],
        vec![],
    )));
}

impl Run {
    fn timeout(&self) -> Duration {
        let seconds = if self.request.timeout_seconds == 0 {
            DEFAULT_TIMEOUT
        } else {
            self.request.timeout_seconds
        };
        Duration::from_secs(u64::from(seconds))
    }

    /// Up to the orders; fetching counts as part of the task's time.
    async fn prepare(&mut self, until: Duration) -> Result<(), Outcome> {
        let failed = |why: String| Outcome::NotStarted { why };
        let folder = tempfile::Builder::new()
            .prefix("task-")
            .tempdir_in(self.agent.folder.join("inputs"))
            .map_err(|error| failed(format!("no folder for its inputs could be made: {error}")))?;
        let wish = Prepare {
            id: self.request.task.clone(),
            stack: self.request.stack.clone(),
            limits: SandboxLimits {
                memory_mb: self.request.memory_mb,
                disk_mb: self.request.disk_mb,
                cpu_shares: cpu_shares(self.request.memory_mb),
                pids: self.agent.max_pids(),
                fds: FILES,
            },
            hostname: self.request.kind.clone(),
            host_port: false,
            network: true,
            hosts: vec![],
        };
        let (sandbox, inputs) = {
            // A stop ends the wait for the inputs; a begun sandbox is finished in any case.
            let timed_out = Outcome::TimedOut {
                after: self.timeout(),
            };
            let (agent, request, wishes) = (&self.agent, &self.request, &mut self.wishes);
            let fetching = async {
                tokio::select! {
                    () = reached(Some(agent.clock.at(until))) => Err(timed_out),
                    inputs = task_files::fetch_inputs(agent, request, folder.path()) => inputs.map_err(failed),
                    wish = wishes.recv() => Err(match wish {
                        Some(TaskWish::Stop(reason)) => Outcome::Stopped { reason },
                        Some(TaskWish::Leave) | None => Outcome::AgentLostIt,
                    }),
                }
            };
            tokio::join!(agent.prepare(wish), fetching)
        };
        let sandbox = sandbox.map_err(|error| failed(chain(&error)))?;
        self.sandbox = Some(sandbox.clone());
        task_files::put_inputs(&sandbox, &self.request, inputs?)
            .await
            .map_err(failed)?;
        let record = record_of(&self.request, self.agent.now().unix);
        sandbox
            .set_label(&Record::Task(record).to_text())
            .await
            .map_err(|error| failed(chain(&error)))?;
        match tokio::time::timeout(PATIENCE, sandbox.order(self.orders())).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(failed(chain(&error))),
            Err(_) => Err(failed(format!(
                "the sandbox did not take its orders within {PATIENCE:?}"
            ))),
        }
    }

    fn orders(&self) -> Orders {
        let mut environment = environment::defaults(HOME);
        environment.remove("DEPS_DIR");
        environment.insert("TMPDIR".into(), "/tmp".into());
        environment.insert("CF_STACK".into(), self.request.stack.clone());
        environment.insert(
            "MEMORY_LIMIT".into(),
            format!("{}m", self.request.memory_mb),
        );
        for entry in &self.request.environment {
            if let Some((name, value)) = entry.split_once('=')
                && !name.is_empty()
            {
                environment.insert(name.to_string(), value.replace('\0', ""));
            }
        }
        let cwd = if self.request.working_directory.is_empty() {
            HOME
        } else {
            &self.request.working_directory
        };
        environment.insert("PWD".into(), cwd.to_string());
        Orders {
            argv: self.request.command.clone(),
            env: environment
                .into_iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect(),
            cwd: cwd.to_string(),
            uid: VCAP,
            gid: VCAP,
            fds: FILES,
        }
    }

    /// Waits for the end of the ordered command, at most until then.
    async fn supervise(&mut self, until: Duration) -> Pause {
        let Some(sandbox) = self.sandbox.clone() else {
            return Pause::Ended(Outcome::AgentLostIt);
        };
        let mut events = match sandbox.events().await {
            Ok(events) => events,
            Err(error) => {
                tracing::warn!(
                    task = self.request.task,
                    error = chain(&error),
                    "the sandbox of a task is gone"
                );
                return Pause::Ended(Outcome::AgentLostIt);
            }
        };
        // Why it was killed, once it was; then only its exit is waited for.
        let mut killed: Option<Outcome> = None;
        let mut until = until;
        loop {
            let most = u64::try_from(self.agent.setting().integer("dea/log/max_line_rate"))
                .unwrap_or(u64::MAX);
            tokio::select! {
                event = events.recv() => match event {
                    Some(SandboxEvent::Line { stderr, at_unix_ns, payload }) => {
                        self.tail.push(&payload);
                        self.voice.line(stderr, at_unix_ns, payload, self.agent.now().uptime, most);
                    }
                    Some(SandboxEvent::LinesLost { count }) => self.voice.lost(count),
                    Some(SandboxEvent::Exited { status, out_of_memory, .. }) => {
                        let exit = exit_of(status);
                        return Pause::Ended(match killed {
                            Some(outcome) => outcome,
                            None => self.understand(&sandbox, exit, out_of_memory).await,
                        });
                    }
                    None => return Pause::Ended(killed.unwrap_or(Outcome::Exited(Exit::Unknown))),
                },
                wish = self.wishes.recv() => match wish {
                    Some(TaskWish::Leave) | None => return Pause::Left,
                    Some(TaskWish::Stop(reason)) => {
                        killed.get_or_insert(Outcome::Stopped { reason });
                        until = self.agent.now().uptime + GIVE_UP;
                        kill(&sandbox, &self.request.task).await;
                    }
                },
                () = reached(Some(self.agent.clock.at(until))) => match killed {
                    Some(outcome) => return Pause::Ended(outcome),
                    None => {
                        killed = Some(Outcome::TimedOut { after: self.timeout() });
                        until = self.agent.now().uptime + GIVE_UP;
                        kill(&sandbox, &self.request.task).await;
                    }
                },
            }
        }
    }

    async fn understand(&self, sandbox: &Sandbox, exit: Exit, out_of_memory: bool) -> Outcome {
        let limit = self.request.disk_mb << 20;
        let disk_full = match tokio::time::timeout(PATIENCE, sandbox.usage()).await {
            Ok(Ok(usage)) => usage.disk_bytes as f64 >= limit as f64 * FULL,
            Ok(Err(_)) | Err(_) => false,
        };
        Outcome::of_exit(
            exit,
            out_of_memory,
            disk_full,
            self.request.memory_mb,
            self.request.disk_mb,
        )
    }

    /// Stores what is to be stored, reports, removes the sandbox.
    async fn conclude(mut self, pause: Pause) {
        let mut outcome = match pause {
            Pause::Ended(outcome) => outcome,
            Pause::Left => return,
        };
        self.voice.settle();
        let (mut result, mut uploaded) = (vec![], vec![]);
        if let Some(sandbox) = self.sandbox.clone() {
            result = task_files::result(&sandbox, &self.request.result_file).await;
            if outcome == Outcome::Exited(Exit::Status(0)) {
                match task_files::store_outputs(&self.agent, &sandbox, &self.request.outputs).await
                {
                    Ok(stored) => uploaded = stored,
                    Err(why) => outcome = Outcome::UploadFailed { why },
                }
            }
        }
        tracing::info!(
            task = self.request.task,
            outcome = outcome.describe(),
            "a task ended"
        );
        let lines = std::mem::take(&mut self.tail).into_lines();
        let exited = task::exited(
            &self.request,
            self.agent.id.as_str(),
            &outcome,
            result,
            uploaded,
            lines,
        );
        // Whoever hears of the end writes lines about it: they must not overtake the task's own.
        self.agent.logs.flush().await;
        self.agent.spool.put(Fact::Task(exited));
        self.agent.accepted.settle(&self.request.task);
        if let Some(sandbox) = self.sandbox.take() {
            match tokio::time::timeout(PATIENCE, sandbox.destroy()).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::error!(
                    task = self.request.task,
                    error = chain(&error),
                    "a sandbox could not be removed"
                ),
                Err(_) => tracing::error!(
                    task = self.request.task,
                    "a sandbox was not removed in time"
                ),
            }
        }
        {
            let mut table = self.agent.table();
            table.tasks.remove(&self.request.task);
            table.ended(&self.request.task);
        }
        self.agent.nudges.advertise.notify_one();
    }
}

async fn kill(sandbox: &Sandbox, task: &str) {
    match tokio::time::timeout(PATIENCE, sandbox.signal(Signal::Kill)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(task, error = chain(&error), "a task could not be killed"),
        Err(_) => tracing::warn!(task, "a task took no signal"),
    }
}
