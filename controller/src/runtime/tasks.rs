//! One-off tasks: places those that wait, tells their agents, and writes down how they end.
//!
//! ```text
//!   row PENDING ─ place ─► row names the agent ─ order ─► taken: RUNNING ── yard.task.app.exited ─► over
//!                    ▲                            └ not taken ─┐
//!                    └─────────────────────────────────────────┘
//! ```
//! What to do about each is decided by [`crate::domain::tasks`]; here it is carried out, in each full round of
//! the leader and when a task changed. An order is sent again until its agent answers: the agent knows a task
//! by its id and begins it once. Each order waits for its answer in a unit of its own, so that a silent agent
//! holds up nobody.
//!
//! Agents name the tasks they have in their heartbeats. One that is missing there for long is over, one that no
//! row wants (its app was deleted, its agent was thought lost) is told to stop.

use super::dispatcher::RoundError;
use super::launch::{self, lines, names};
use super::{LEADERSHIP, Shared, clock};
use crate::domain::picture::Held;
use crate::domain::placement::{Decision, PlacementRequest};
use crate::domain::tasks::{self as domain, Action, Event, Exit, Holder, Verdict};
use crate::services::{self as bound, Unreadable};
use crate::store::apps::App;
use crate::store::droplets::Droplet;
use crate::store::facts::{Fact, Kind};
use crate::store::tasks::{self, Task};
use crate::store::{StoreError, leadership, processes, routes};
use daemon::BusError;
use proto::bus::catalogue;
use proto::bus::stream::{
    RunTask, RunTaskReply, StopTask, TaskDroplet, TaskEnd, TaskExited, TaskInput, task_input,
};
use proto::ids::{DeaId, TaskId};
use proto::log::{SOURCE_API, source_of_task};
use proto::services;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tracing::{debug, info, warn};

/// The kind of these tasks, for agents.
pub(crate) const KIND: &str = "app";
const WEB: &str = "web";
/// How long an agent may take to say that it has it.
const ANSWER: Duration = Duration::from_secs(6);
/// How long room is held for a task that its agent does not show.
const RESERVED: Duration = Duration::from_secs(60);
/// How long the address of a droplet is good: an agent fetches at once or not at all.
const URL_LIFETIME: i64 = 3600;

/// What is known in memory of the tasks that are not over.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// What each agent told last, and when.
    told: BTreeMap<DeaId, (Duration, BTreeSet<TaskId>)>,
    /// The leader's: when a task was last known to be where its row says.
    there: BTreeMap<String, Duration>,
    /// The leader's: orders that wait for their answer.
    ordering: BTreeSet<String>,
    /// The leader's: some wait for room.
    pub waiting: bool,
}

impl Seen {
    /// A complete heartbeat of an agent that names its tasks.
    pub fn told(&mut self, dea: &DeaId, tasks: BTreeSet<TaskId>, now: Duration) {
        self.told.insert(dea.clone(), (now, tasks));
    }

    /// It is over, or about to be: an agent that still has it tells so with its next heartbeat.
    fn over(&mut self, task: &str) {
        for (_, tasks) in self.told.values_mut() {
            tasks.retain(|one| one.as_str() != task);
        }
    }

    /// Nothing is heard of this agent any more.
    pub fn lost(&mut self, dea: &DeaId) {
        self.told.remove(dea);
    }

    /// What was sent before counts no more.
    pub fn forget_term(&mut self) {
        self.there.clear();
        self.ordering.clear();
        self.waiting = false;
    }

    /// Whether this agent has told for longer than `patience` that it does not have the task.
    fn is_without(&mut self, guid: &str, dea: &DeaId, now: Duration, patience: Duration) -> bool {
        let since = *self.there.entry(guid.to_string()).or_insert(now);
        let Some((at, tasks)) = self.told.get(dea) else {
            return false;
        };
        if tasks.iter().any(|task| task.as_str() == guid) {
            self.there.insert(guid.to_string(), since.max(*at));
            return false;
        }
        at.saturating_sub(since) > patience
    }

    /// Tasks that an agent has and none of `wanted` is.
    fn strays(&self, wanted: &BTreeSet<&str>) -> Vec<(DeaId, TaskId)> {
        let all = self.told.iter().flat_map(|(dea, (_, tasks))| {
            tasks
                .iter()
                .filter(|task| !wanted.contains(task.as_str()))
                .map(|task| (dea.clone(), task.clone()))
        });
        all.collect()
    }
}

/// One look at every task that is not over.
pub(super) async fn take_up(shared: &Arc<Shared>, epoch: i64) -> Result<(), RoundError> {
    // Before the rows: what an agent tells later may be newer than they are.
    let told = shared.state().tasks.told.clone();
    let open = {
        let mut reader = shared.store.read().await?;
        tasks::open(&mut reader).await?
    };
    let wanted: BTreeSet<&str> = open.iter().map(|task| task.guid.as_str()).collect();
    let strays = {
        let mut state = shared.state();
        state
            .tasks
            .there
            .retain(|guid, _| wanted.contains(guid.as_str()));
        state.tasks.waiting = false;
        let seen = Seen {
            told,
            ..Seen::default()
        };
        seen.strays(&wanted)
    };
    for (dea, task) in strays {
        stop(shared, &dea, task.as_str(), "nobody waits for it any more").await?;
        shared.state().tasks.over(task.as_str());
    }
    let now = clock::unix_micros();
    for task in open {
        let dea = task.dea.as_ref().and_then(|dea| DeaId::new(dea).ok());
        let holder = dea
            .as_ref()
            .map(|dea| (dea, holder(shared, &task.guid, dea)));
        let action = domain::plan(
            task.stage(),
            holder,
            task.waits_for.as_deref(),
            task.deadline <= now,
        );
        match (action, dea) {
            (None, _) => {}
            (Some(Action::Place), _) => place(shared, epoch, task).await?,
            (Some(Action::Order), Some(dea)) => order(shared, epoch, task, dea, false),
            (Some(Action::Stop), Some(dea)) => {
                stop(shared, &dea, &task.guid, "it was cancelled").await?
            }
            (Some(Action::Record(event)), _) => record(shared, &task.guid, event, Some(epoch))
                .await
                .map(drop)
                .or_else(unless_stale)?,
            (Some(Action::Order | Action::Stop), None) => {
                debug!(task = task.guid, "the agent of a task has no valid name");
            }
        }
    }
    Ok(())
}

/// What is known of the agent of a task.
fn holder(shared: &Shared, task: &str, dea: &DeaId) -> Holder {
    if shared.is_lost(dea) {
        return Holder::Lost;
    }
    let now = shared.clock.now();
    let is_without = shared
        .state()
        .tasks
        .is_without(task, dea, now, shared.lost_after());
    if is_without {
        Holder::Without
    } else {
        Holder::There
    }
}

/// Whether these facts want a look at the tasks.
pub(super) fn concern(facts: &[Fact]) -> bool {
    facts.iter().any(|fact| fact.kind == Kind::TaskChanged)
}

/// Tasks whose rows are gone are ended where they run.
pub(super) async fn clear_away(shared: &Shared, facts: &[Fact]) -> Result<(), RoundError> {
    for fact in facts.iter().filter(|fact| fact.kind == Kind::TaskRemoved) {
        let dea = fact.payload.get("dea").and_then(serde_json::Value::as_str);
        shared.state().picture.pool.withdrawn(&fact.object);
        if let Some(dea) = dea.and_then(|dea| DeaId::new(dea).ok()) {
            stop(shared, &dea, &fact.object, "its app was deleted").await?;
        }
    }
    Ok(())
}

async fn stop(shared: &Shared, dea: &DeaId, task: &str, reason: &str) -> Result<(), RoundError> {
    info!(task, %dea, reason, "stopping a task");
    let message = StopTask {
        task: task.to_string(),
        reason: reason.to_string(),
    };
    let topic = catalogue::dea_task_stop(dea);
    Ok(shared.bus.publish(&topic, &message).await?)
}

/// Chooses an agent, writes it down, and sends the order.
async fn place(shared: &Arc<Shared>, epoch: i64, mut task: Task) -> Result<(), RoundError> {
    let stack = {
        let mut reader = shared.store.read().await?;
        Droplet::find(&mut reader, &task.droplet_guid)
            .await?
            .map(|droplet| droplet.stack)
    };
    // Deleted with its app a moment ago.
    let Some(stack) = stack else { return Ok(()) };
    let request = PlacementRequest {
        stack,
        memory_mb: task.memory_mb.unsigned_abs(),
        disk_mb: task.disk_mb.unsigned_abs(),
        siblings: BTreeSet::new(),
    };
    let now = shared.clock.now();
    let decision = {
        let mut state = shared.state();
        let held = Held {
            key: task.guid.clone(),
            process: None,
            until: now + RESERVED,
        };
        let fresh = shared.advertisement_ttl();
        let decision = state
            .picture
            .hold_room(held, &request, fresh, now, rand::random());
        match &decision {
            Decision::Place { .. } => {
                state.tasks.there.insert(task.guid.clone(), now);
            }
            Decision::Refuse(_) => state.tasks.waiting = true,
        }
        decision
    };
    match decision {
        Decision::Place { dea, because } => {
            let event = Event::Chosen(dea.clone());
            match write(shared, &mut task, event, epoch).await {
                Ok(_) => {
                    info!(task = task.guid, app = task.app_guid, %dea, because, "a task is placed");
                    order(shared, epoch, task, dea, true);
                    Ok(())
                }
                Err(error) => {
                    shared.state().picture.pool.withdrawn(&task.guid);
                    unless_stale(error)
                }
            }
        }
        Decision::Refuse(refusal) => {
            let reason = refusal.to_string();
            if task.waits_for.as_deref() == Some(reason.as_str()) {
                return Ok(());
            }
            warn!(task = task.guid, reason, "a task is not placed");
            tell(shared, &task, true, &format!("waits: {reason}"));
            task.waits_for = Some(reason);
            let written = async {
                let mut tx = shared
                    .write_as_leader("note what a task waits for", epoch)
                    .await?;
                task.update(&mut tx, clock::unix_micros()).await?;
                tx.commit().await
            };
            written.await.or_else(unless_stale)
        }
    }
}

/// Somebody else changed it in this moment: the next round sees what.
fn unless_stale(error: StoreError) -> Result<(), RoundError> {
    match error {
        StoreError::Stale { .. } => Ok(()),
        other => Err(other.into()),
    }
}

async fn write(
    shared: &Shared,
    task: &mut Task,
    event: Event,
    epoch: i64,
) -> Result<Verdict, StoreError> {
    let mut tx = shared
        .write_as_leader("give a task to an agent", epoch)
        .await?;
    let verdict = task.step(&mut tx, event, clock::unix_micros()).await?;
    tx.commit().await?;
    Ok(verdict)
}

/// Tells the agent, unless an order of this task waits for its answer. `first`: no order was sent before.
fn order(shared: &Arc<Shared>, epoch: i64, task: Task, dea: DeaId, first: bool) {
    if !shared.state().tasks.ordering.insert(task.guid.clone()) {
        return;
    }
    let shared = shared.clone();
    shared.tasks.clone().spawn_once("order-task", async move {
        let told = send(&shared, epoch, &task, &dea, first).await;
        note(&shared, epoch, &task, &dea, told).await;
        // Not before it is on record: another round would find that nobody was told.
        shared.state().tasks.ordering.remove(&task.guid);
    });
}

/// Writes down what came of an order.
async fn note(
    shared: &Arc<Shared>,
    epoch: i64,
    task: &Task,
    dea: &DeaId,
    told: Result<Option<Event>, StoreError>,
) {
    let event = match told {
        Ok(Some(event)) => event,
        Ok(None) => return,
        Err(error) => {
            let error = &error as &dyn std::error::Error;
            warn!(
                task = task.guid,
                error, "a task could not be ordered; it is tried again"
            );
            return;
        }
    };
    if let Event::NotTaken(why) = &event {
        warn!(task = task.guid, %dea, why, "an agent did not take a task");
        shared.state().picture.pool.withdrawn(&task.guid);
    }
    if let Err(error) = record(shared, &task.guid, event, Some(epoch)).await {
        let error = &error as &dyn std::error::Error;
        warn!(
            task = task.guid,
            error, "what an agent said of a task could not be recorded"
        );
    }
}

/// What the agent's answer means; None: it is not known whether the agent has it.
async fn send(
    shared: &Shared,
    epoch: i64,
    task: &Task,
    dea: &DeaId,
    first: bool,
) -> Result<Option<Event>, StoreError> {
    let message = match compose(shared, epoch, task).await {
        Ok(Some(message)) => message,
        Ok(None) => return Ok(None),
        Err(Unreadable::Store(error)) => return Err(error),
        Err(Unreadable::Sealed { service, source }) => {
            let why = format!("the credentials of the service {service} cannot be read: {source}");
            warn!(task = task.guid, why, "a task cannot be ordered");
            // Told before, the agent may have it.
            return Ok(first.then_some(Event::NotTaken(why)));
        }
    };
    let topic = catalogue::dea_task_run(dea);
    let reply: Result<RunTaskReply, BusError> = shared.bus.request(&topic, &message, ANSWER).await;
    Ok(match reply {
        Ok(reply) if reply.accepted => Some(Event::Taken),
        Ok(reply) => Some(Event::NotTaken(format!(
            "the agent {dea} did not take it: {}",
            reply.reason
        ))),
        Err(BusError::NoResponders(_)) if first => {
            Some(Event::NotTaken(format!("the agent {dea} is gone")))
        }
        Err(error) => {
            let error = &error as &dyn std::error::Error;
            debug!(task = task.guid, %dea, error, "an agent did not say whether it has a task");
            None
        }
    })
}

/// The order; None if the app is gone.
async fn compose(shared: &Shared, epoch: i64, task: &Task) -> Result<Option<RunTask>, Unreadable> {
    let mut reader = shared.store.read().await?;
    let (Some(app), Some(droplet)) = (
        App::find(&mut reader, &task.app_guid).await?,
        Droplet::find(&mut reader, &task.droplet_guid).await?,
    ) else {
        return Ok(None);
    };
    let names = names(&mut reader, &app).await?;
    let uris = routes::uris(&mut reader, &app.guid, WEB).await?;
    let version = processes::of_type(&mut reader, &app.guid, WEB)
        .await?
        .map(|web| web.version);
    let services = bound::of_app(&shared.config.vault, &mut reader, &app).await?;
    drop(reader);
    let mut application = launch::identity(
        shared,
        &app,
        &names,
        &uris,
        version.as_deref(),
        (task.memory_mb, task.disk_mb),
    );
    application["process_id"] = task.guid.clone().into();
    application["process_type"] = "task".into();
    let mut environment: BTreeMap<String, String> = services::variables(&services);
    environment.extend(launch::with_everybodys(shared, app.environment.0));
    environment.insert("VCAP_APPLICATION".to_string(), application.to_string());
    environment.insert(
        "VCAP_SERVICES".to_string(),
        services::vcap_services(&services).to_string(),
    );
    let key = format!("droplets/{}", droplet.sha256);
    let expires = clock::unix_micros() / 1_000_000 + URL_LIFETIME;
    Ok(Some(RunTask {
        task: task.guid.clone(),
        kind: KIND.to_string(),
        app: app.guid,
        app_name: app.name,
        stack: droplet.stack,
        command: vec![task.command.clone()],
        environment: lines(&environment),
        working_directory: String::new(),
        memory_mb: task.memory_mb.unsigned_abs(),
        disk_mb: task.disk_mb.unsigned_abs(),
        timeout_seconds: 0,
        inputs: binding_files(&services),
        outputs: Vec::new(),
        log_source_type: source_of_task(&task.name),
        log_instance: task.sequence_id.to_string(),
        context: Vec::new(),
        result_file: String::new(),
        epoch,
        droplet: Some(TaskDroplet {
            url: shared.blobs.url(&http::Method::GET, &key, expires),
            sha1: droplet.sha1,
            sha256: droplet.sha256,
        }),
    }))
}

/// The files of what is bound.
fn binding_files(bindings: &[Value]) -> Vec<TaskInput> {
    services::files(bindings)
        .into_iter()
        .map(|file| TaskInput {
            path: file.path,
            source: Some(task_input::Source::Content(file.content)),
            sha256: String::new(),
            optional: false,
            mode: services::FILE_MODE,
        })
        .collect()
}

/// Takes in the end that an agent tells. Whoever is told writes it down; what is over stays as it is.
/// Whether there is such a task.
pub(super) async fn exited(shared: &Shared, exited: &TaskExited) -> Result<bool, StoreError> {
    record(shared, &exited.task, Event::Exited(exit_of(exited)), None).await
}

fn exit_of(exited: &TaskExited) -> Exit {
    let ran = match exited.end() {
        TaskEnd::Exited
        | TaskEnd::OutOfMemory
        | TaskEnd::DiskFull
        | TaskEnd::Timeout
        | TaskEnd::Stopped
        | TaskEnd::UploadFailed => true,
        TaskEnd::NotStarted | TaskEnd::AgentLostIt | TaskEnd::Unknown => false,
    };
    Exit {
        succeeded: exited.end() == TaskEnd::Exited && exited.exit_status == 0,
        description: exited.description.clone(),
        // The agent tells -1 where nobody saw it.
        status: Some(exited.exit_status).filter(|status| ran && *status >= 0),
        signal: Some(exited.signal.clone()).filter(|signal| !signal.is_empty()),
    }
}

/// Lays an event over the row. `epoch`: in the name of this leader; None: as an agent told, which any controller
/// may write down. Whether there is such a task: it may have been deleted with its app.
async fn record(
    shared: &Shared,
    guid: &str,
    event: Event,
    epoch: Option<i64>,
) -> Result<bool, StoreError> {
    let mut tx = shared.store.write("record what became of a task").await?;
    if let Some(epoch) = epoch {
        leadership::fence(&mut tx, LEADERSHIP, epoch).await?;
    }
    let Some(mut task) = Task::find(&mut tx, guid).await? else {
        return Ok(false);
    };
    match task.step(&mut tx, event, clock::unix_micros()).await? {
        Verdict::Stays(because) => {
            debug!(task = guid, because, "news of a task changes nothing");
        }
        Verdict::Becomes(stage) => {
            tx.commit().await?;
            debug!(task = guid, ?stage, "a task went on");
        }
        Verdict::WaitsAgain(_) => {
            tx.commit().await?;
            shared.state().tasks.waiting = true;
        }
        Verdict::Ends(end) => {
            tx.commit().await?;
            shared.committed.notify_one();
            {
                let mut state = shared.state();
                state.picture.pool.withdrawn(guid);
                state.tasks.over(guid);
            }
            let outcome = if end.failure.is_none() {
                "succeeded"
            } else {
                "failed"
            };
            metrics::counter!("controller_tasks_total", "outcome" => outcome).increment(1);
            info!(
                task = guid,
                app = task.app_guid,
                outcome,
                failure = end.failure,
                "a task is over"
            );
            let failed = end.failure.is_some();
            let how = match end.failure {
                None => "ended: it succeeded".to_string(),
                Some(why) => format!("ended: {why}"),
            };
            tell(shared, &task, failed, &how);
        }
    }
    Ok(true)
}

/// A line into the log of its app: `Task 3 (migrate) ended: it succeeded`. It comes after all lines of the task,
/// for its agent sends them before it tells the end.
fn tell(shared: &Shared, task: &Task, is_bad: bool, what: &str) {
    let line = format!("Task {} ({}) {what}", task.sequence_id, task.name);
    shared.log(&task.app_guid, SOURCE_API, is_bad, &line);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dea(name: &str) -> DeaId {
        DeaId::new(name).expect("an id")
    }

    fn tasks(names: &[&str]) -> BTreeSet<TaskId> {
        let ids = names.iter().map(|name| TaskId::new(*name).expect("an id"));
        ids.collect()
    }

    const PATIENCE: Duration = Duration::from_secs(30);

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_task_is_missed_only_when_its_agent_has_told_so_for_long() {
        let mut seen = Seen::default();
        let one = dea("dea-1");
        assert!(!seen.is_without("t", &one, at(100), PATIENCE));
        assert!(
            !seen.is_without("t", &one, at(900), PATIENCE),
            "its agent says nothing: that is another matter"
        );
        seen.told(&one, tasks(&["t"]), at(905));
        assert!(!seen.is_without("t", &one, at(906), PATIENCE));
        seen.told(&one, tasks(&[]), at(915));
        assert!(!seen.is_without("t", &one, at(990), PATIENCE), "told once");
        seen.told(&one, tasks(&[]), at(936));
        assert!(seen.is_without("t", &one, at(936), PATIENCE));
    }

    #[test]
    fn what_no_row_wants_is_a_stray() {
        let mut seen = Seen::default();
        seen.told(&dea("dea-1"), tasks(&["a", "b"]), at(1));
        seen.told(&dea("dea-2"), tasks(&["c"]), at(1));
        let strays = seen.strays(&BTreeSet::from(["a", "c"]));
        assert_eq!(strays, [(dea("dea-1"), TaskId::new("b").expect("an id"))]);
        seen.over("b");
        assert!(seen.strays(&BTreeSet::from(["a", "c"])).is_empty());
    }

    #[test]
    fn only_a_command_that_ran_has_a_status() {
        let told = |end: TaskEnd, exit_status| {
            exit_of(&TaskExited {
                end: end.into(),
                exit_status,
                signal: if exit_status > 128 {
                    "SIGKILL".into()
                } else {
                    String::new()
                },
                description: "as it was".into(),
                ..TaskExited::default()
            })
        };
        assert!(told(TaskEnd::Exited, 0).succeeded);
        assert_eq!(told(TaskEnd::Exited, 4).status, Some(4));
        let killed = told(TaskEnd::OutOfMemory, 137);
        assert_eq!((killed.succeeded, killed.status), (false, Some(137)));
        assert_eq!(killed.signal.as_deref(), Some("SIGKILL"));
        assert_eq!(told(TaskEnd::NotStarted, -1).status, None);
        assert_eq!(told(TaskEnd::Exited, -1).status, None);
        assert!(!told(TaskEnd::UploadFailed, 0).succeeded);
    }
}
