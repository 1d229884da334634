//! One-off tasks: `yard.dea.{id}.task.run` and `.task.stop`. Staging is one of them.
//!
//! A task is a straight line (fetch, prepare, put, order, wait, store, report), so it is written as
//! one. It ends in exactly one [`Outcome`], whatever the step it ends at, and its result is spooled
//! before its sandbox is removed. Once ordered, it outlives the agent: the record in its sandbox
//! holds the request, and the next agent goes on with waiting.

use super::agent::{Agent, TaskEntry, TaskWish};
use super::chain;
use super::droplets::{DropletUse, Wanted};
use super::life::{exit_of, reached};
use super::preparing::cpu_shares;
use super::spool::Fact;
use super::task_files;
use super::transfer::{hex, unhex};
use super::voice::Voice;
use crate::domain::capacity::{self, Resources};
use crate::domain::crash::Exit;
use crate::domain::environment::{self, HOME, TaskPlace};
use crate::domain::epoch::Command;
use crate::domain::launcher;
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
        Err(reason) => {
            received.ignore(
                "refused",
                format_args!("task {}: {reason}", received.message.task),
            );
            RunTaskReply {
                accepted: false,
                reason,
            }
        }
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
    let limits = limits_of(request);
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
        // The spool is looked at too: an agent that was restarted knows of ends from nowhere else.
        if table.knows(&request.task) || agent.spool.has_task(&request.task) {
            return Ok(());
        }
        if let Some(why) = table.closed() {
            return Err(why.to_string());
        }
        let evicted = capacity::admit(offered, &table.claims(), limits)
            .map_err(|refused| refused.to_string())?;
        table.evict(evicted);
        table
            .tasks
            .insert(request.task.clone(), entry(request, limits, stop));
    }
    agent.accepted.note(
        &request.task,
        &Record::Task(record_of(request, agent.now().unix, false)),
    );
    agent.nudges.advertise.notify_one();
    tracing::info!(task = request.task, kind = request.kind, "a task is run");
    agent
        .tasks
        .spawn_once("task", begin(agent.clone(), request.clone(), wishes));
    Ok(())
}

fn entry(request: &RunTask, limits: Resources, stop: mpsc::Sender<TaskWish>) -> TaskEntry {
    TaskEntry {
        limits,
        of_app: request.kind == task::APP,
        stop,
    }
}

fn stop(agent: &Arc<Agent>, received: Received<StopTask>) {
    let (StopTask { task, reason }, from) = received.open();
    let mut table = agent.table();
    let told = table
        .tasks
        .get(&task)
        .map(|entry| entry.stop.try_send(TaskWish::Stop(reason)));
    match told {
        Some(Ok(())) => {}
        Some(Err(_)) => tracing::debug!(task, "a task was told to stop before"),
        // The order to run it may still be on its way: two subjects have no order between them.
        None if !table.knows(&task) => {
            table.ended(&task);
            from.ignore("nothing of it is here", format_args!("task {task}"));
        }
        None => from.pass_over("it has ended"),
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
    /// Kept in the cache while it runs.
    droplet: Option<DropletUse>,
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
    let instance = match request.log_instance.as_str() {
        "" => "0",
        instance => instance,
    };
    Voice::new(
        agent.logs.clone(),
        &request.app,
        instance.to_string(),
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
        droplet: None,
    };
    let until = task::timeout(&run.request).map(|timeout| run.agent.now().uptime + timeout);
    let pause = match run.prepare(until).await {
        Ok(()) => run.supervise(until).await,
        Err(outcome) => Pause::Ended(outcome),
    };
    run.conclude(pause).await;
}

fn limits_of(request: &RunTask) -> Resources {
    Resources {
        memory_mb: request.memory_mb,
        disk_mb: request.disk_mb,
    }
}

fn record_of(request: &RunTask, started_at: f64, ordered: bool) -> TaskRecord {
    TaskRecord {
        request: hex(&request.encode()),
        started_at,
        ordered,
    }
}

fn request_of(record: &TaskRecord) -> Option<RunTask> {
    unhex(&record.request).and_then(|bytes| RunTask::decode(&bytes).ok())
}

/// Holds room again for a task of an earlier agent. Gives the end at which its wishes arrive.
fn take_over(agent: &Agent, request: &RunTask) -> mpsc::Receiver<TaskWish> {
    let (stop, wishes) = mpsc::channel(4);
    let entry = entry(request, limits_of(request), stop);
    agent.table().tasks.insert(request.task.clone(), entry);
    wishes
}

/// Goes on with a task that an earlier agent ordered.
pub fn adopt(agent: &Arc<Agent>, record: &TaskRecord, sandbox: Sandbox) -> bool {
    let Some(request) = request_of(record) else {
        return false;
    };
    let wishes = take_over(agent, &request);
    let voice = voice(agent, &request);
    let droplet = wanted(&request).and_then(|wanted| agent.droplets.adopt(wanted));
    let mut run = Run {
        agent: agent.clone(),
        request,
        wishes,
        voice,
        tail: Tail::default(),
        sandbox: Some(sandbox),
        droplet,
    };
    let now = agent.now();
    let spent = Duration::try_from_secs_f64(now.unix - record.started_at).unwrap_or_default();
    let until =
        task::timeout(&run.request).map(|timeout| now.uptime + timeout.saturating_sub(spent));
    agent.tasks.spawn_once("task", async move {
        let pause = run.supervise(until).await;
        run.conclude(pause).await;
    });
    true
}

/// A task that an earlier agent accepted and no sandbox holds: it is begun, if it was not before; what may
/// have been begun is reported as lost, because nothing runs twice.
pub fn resume(agent: &Arc<Agent>, record: &TaskRecord) {
    let is_here = |task: &str| agent.table().tasks.contains_key(task) || agent.spool.has_task(task);
    let Some(request) = request_of(record).filter(|request| !is_here(&request.task)) else {
        return;
    };
    if !record.ordered {
        tracing::info!(task = request.task, "a task of an earlier agent is begun");
        let wishes = take_over(agent, &request);
        agent
            .accepted
            .note(&request.task, &Record::Task(record.clone()));
        agent
            .tasks
            .spawn_once("task", begin(agent.clone(), request, wishes));
        return;
    }
    agent.spool.put(Fact::Task(task::exited(
        &request,
        agent.id.as_str(),
        &Outcome::AgentLostIt,
        vec![],
        vec![],
        vec![],
    )));
}

impl Run {
    /// Up to the orders; fetching counts as part of the task's time.
    async fn prepare(&mut self, until: Option<Duration>) -> Result<(), Outcome> {
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
        let (sandbox, brought) = {
            // A stop ends the wait for the inputs; a begun sandbox is finished in any case.
            let timed_out = self.timed_out();
            let (agent, request, wishes) = (&self.agent, &self.request, &mut self.wishes);
            let bringing = async {
                tokio::try_join!(
                    obtain(agent, request),
                    task_files::fetch_inputs(agent, request, folder.path())
                )
            };
            let fetching = async {
                tokio::select! {
                    () = reached(until.map(|until| agent.clock.at(until))) => Err(timed_out),
                    brought = bringing => brought.map_err(failed),
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
        let (droplet, inputs) = brought?;
        if let Some(droplet) = &droplet {
            sandbox
                .mount_droplet(&droplet.folder(), HOME)
                .await
                .map_err(|error| failed(chain(&error)))?;
        }
        self.droplet = droplet;
        task_files::put_inputs(&sandbox, &self.request, inputs)
            .await
            .map_err(failed)?;
        let record = Record::Task(record_of(&self.request, self.agent.now().unix, true));
        // First, so that no agent begins it again that finds the note and not the sandbox.
        self.agent.accepted.note(&self.request.task, &record);
        sandbox
            .set_label(&record.to_text())
            .await
            .map_err(|error| failed(chain(&error)))?;
        match tokio::time::timeout(PATIENCE, sandbox.order(self.orders(&sandbox))).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(failed(chain(&error))),
            Err(_) => Err(failed(format!(
                "the sandbox did not take its orders within {PATIENCE:?}"
            ))),
        }
    }

    fn timed_out(&self) -> Outcome {
        Outcome::TimedOut {
            after: task::timeout(&self.request).unwrap_or_default(),
        }
    }

    fn orders(&self, sandbox: &Sandbox) -> Orders {
        let request = &self.request;
        let of_app = request.droplet.is_some();
        let cwd = match request.working_directory.as_str() {
            "" if of_app => "/home/vcap/app",
            "" => HOME,
            folder => folder,
        };
        let place = TaskPlace {
            host: self.agent.config.host(),
            address: sandbox.address(),
            folder: cwd,
        };
        let environment = environment::of_task(request, &place);
        Orders {
            argv: match request.command.as_slice() {
                [line] if of_app => launcher::arguments(line),
                words => words.to_vec(),
            },
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
    async fn supervise(&mut self, until: Option<Duration>) -> Pause {
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
                        until = Some(self.agent.now().uptime + GIVE_UP);
                        kill(&sandbox, &self.request.task).await;
                    }
                },
                () = reached(until.map(|until| self.agent.clock.at(until))) => match killed {
                    Some(outcome) => return Pause::Ended(outcome),
                    None => {
                        killed = Some(self.timed_out());
                        until = Some(self.agent.now().uptime + GIVE_UP);
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

/// The archive of the task's droplet, if it has one.
fn wanted(request: &RunTask) -> Option<Wanted<'_>> {
    request.droplet.as_ref().map(|droplet| Wanted {
        what: "the droplet",
        url: &droplet.url,
        sha1: &droplet.sha1,
        sha256: &droplet.sha256,
    })
}

/// Brings the droplet to this machine. The error is half a sentence.
async fn obtain(agent: &Agent, request: &RunTask) -> Result<Option<DropletUse>, String> {
    match wanted(request) {
        Some(wanted) => {
            let droplet = agent.droplets.obtain(wanted).await;
            droplet.map(Some).map_err(|error| chain(&error))
        }
        None => Ok(None),
    }
}

async fn kill(sandbox: &Sandbox, task: &str) {
    match tokio::time::timeout(PATIENCE, sandbox.signal(Signal::Kill)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(task, error = chain(&error), "a task could not be killed"),
        Err(_) => tracing::warn!(task, "a task took no signal"),
    }
}
