//! What the agent is told to do with instances: `dea.{id}.start`, `dea.stop`, `dea.update`, and the
//! nudges that ask for a beat or a registration.

use super::agent::{Agent, Wish};
use super::life::Life;
use super::spool::Fact;
use super::voice::Voice;
use crate::domain::capacity::{self, Resources};
use crate::domain::crash::{CrashCause, Ending, Exit, fact};
use crate::domain::epoch::Command;
use crate::domain::instance::{Instance, StopCause, Terms};
use crate::domain::probe::Check;
use crate::domain::record::{InstanceRecord, Record, SavedState};
use crate::domain::selection::Selection;
use daemon::Received;
use proto::bus::dea::{StartInstance, StopInstances, UpdateInstances};
use proto::bus::health::ExitReason;
use proto::bus::{Filter, Payload, catalogue};
use proto::ids::InstanceId;
use std::sync::Arc;
use std::time::Duration;

/// Why a command of a leader that is none any more is not followed.
pub const OUTDATED: &str = "outdated";
/// Longest time an app may ask for to become healthy.
const LONGEST_START: u64 = 3600;

impl Agent {
    /// Handles every message of a filter in turn, by a function that does not wait.
    pub async fn answer<M: Payload>(
        self: &Arc<Self>,
        name: &'static str,
        filter: Filter<M>,
        handle: fn(&Arc<Agent>, Received<M>),
    ) {
        let agent = self.clone();
        daemon::follow(&self.bus, &self.tasks, name, filter, move |message| {
            handle(&agent, message)
        })
        .await;
    }

    /// Returns when all of it is on the connection: the hello that follows makes controllers send
    /// work here at once.
    pub async fn listen(self: &Arc<Self>) {
        let starts = catalogue::dea_start_instance(&self.id).filter();
        self.answer("start", starts, start).await;
        self.answer("stop", catalogue::dea_stop().filter(), stop)
            .await;
        self.answer("update", catalogue::dea_update().filter(), update)
            .await;
        self.answer("locate", catalogue::dea_locate().filter(), |agent, _| {
            agent.nudges.advertise.notify_one();
            // A controller that just came up also wants to know what runs.
            agent.nudges.beat.notify_one();
        })
        .await;
        self.answer(
            "healthmanager-start",
            catalogue::healthmanager_start().filter(),
            |agent, _| agent.nudges.beat.notify_one(),
        )
        .await;
        self.answer(
            "router-start",
            catalogue::router_start().filter(),
            |agent, _| agent.nudges.register.notify_one(),
        )
        .await;
    }

    /// The terms of an instance, as the settings are now.
    pub fn terms(&self, start: &StartInstance) -> Terms {
        let settings = self.setting();
        let start_timeout = match start.health_check_timeout {
            Some(seconds) if seconds > 0 => Duration::from_secs(seconds.min(LONGEST_START)),
            Some(_) | None => settings.duration("dea/instance/start_timeout"),
        };
        Terms {
            check: Check::of(start),
            start_timeout,
            pace: self.pace(),
            crash_retention: settings.duration("dea/instance/crash_retention"),
            memory_mb: start.limits.mem,
            index: start.index,
        }
    }
}

/// Takes a start command, or reports why not.
fn start(agent: &Arc<Agent>, received: Received<StartInstance>) {
    let (start, from) = received.open();
    let now = agent.now();
    let instance = start.yard_instance.clone().unwrap_or_else(new_instance);
    let wanted = Resources {
        memory_mb: start.limits.mem,
        disk_mb: start.limits.disk,
    };
    let offered = agent.offered();
    let record = InstanceRecord {
        instance: instance.clone(),
        private_id: new_private_id(),
        uris: start.uris.clone(),
        terms: start.yard_routes.clone(),
        state: SavedState::Starting,
        since: now.unix,
        accepted_at: now.unix,
        start,
    };
    let _admitting = agent.admitting();
    let refusal = {
        let mut table = agent.table();
        if let Err(outdated) = table.epochs.check(Command::Start, record.start.yard_epoch) {
            return from.ignore(OUTDATED, format_args!("instance {instance}: {outdated}"));
        }
        if table.knows(instance.as_str()) {
            tracing::debug!(%instance, "a start command came twice");
            return from.pass_over("came before");
        }
        if let Some(why) = table.closed() {
            let reason = if table.draining {
                ExitReason::DeaShutdown
            } else {
                ExitReason::DeaEvacuation
            };
            Some(closed(reason, why, now.unix))
        } else {
            match capacity::admit(offered, &table.claims(), wanted) {
                Ok(evicted) => {
                    table.evict(evicted);
                    None
                }
                Err(refused) => {
                    tracing::warn!(%instance, resource = %refused.resource, needed_mb = refused.needed_mb, free_mb = refused.free_mb, "an instance was refused");
                    Some(CrashCause::Refused(refused.to_string()).ending(
                        Exit::Unknown,
                        "starting",
                        now.unix,
                    ))
                }
            }
        }
    };
    if let Some(ending) = refusal {
        return refuse(agent, &record, &ending);
    }
    tracing::info!(%instance, process = %record.start.droplet, index = record.start.index, "an instance is started");
    agent.accepted.note(
        instance.as_str(),
        &Record::Instance(Box::new(record.clone())),
    );
    let (machine, effects) = Instance::born(agent.terms(&record.start), now);
    let life = Life::born(agent, record, machine);
    agent.nudges.advertise.notify_one();
    agent.tasks.spawn_once("instance", life.run(effects));
}

/// Reports an instance that never was.
fn refuse(agent: &Arc<Agent>, record: &InstanceRecord, ending: &Ending) {
    let index = record.start.index;
    let source_type = proto::log::source_of_process(record.process_type());
    let voice = Voice::new(
        agent.logs.clone(),
        record.app(),
        index.to_string(),
        source_type,
        record.tags(),
    );
    voice.say(&format!(
        "Instance {index} was not started: {}",
        ending.description
    ));
    agent.table().ended(record.instance.as_str());
    agent
        .spool
        .put(Fact::Exited(fact(ending, record.whose(&agent.id))));
    agent.nudges.advertise.notify_one();
}

/// No crash of the app: it is to be started elsewhere.
fn closed(reason: ExitReason, why: &str, at: f64) -> Ending {
    Ending {
        reason,
        description: why.to_string(),
        exit_status: -1,
        signal: None,
        out_of_memory: false,
        phase: Some("starting".to_string()),
        at,
    }
}

fn stop(agent: &Arc<Agent>, received: Received<StopInstances>) {
    let (message, from) = received.open();
    let known = agent
        .table()
        .epochs
        .check(Command::Stop, message.yard_epoch);
    if let Err(outdated) = known {
        return from.ignore(
            OUTDATED,
            format_args!("process {}: {outdated}", message.droplet),
        );
    }
    let selection = Selection::from(message);
    let selected = agent.selected(&selection);
    if selected.is_empty() {
        from.pass_over("nothing of it is here");
    }
    for instance in selected {
        tracing::info!(%instance, "an instance is to stop");
        agent
            .table()
            .wish(&instance, Wish::Stop(StopCause::Requested));
    }
}

fn update(agent: &Arc<Agent>, received: Received<UpdateInstances>) {
    let (message, from) = received.open();
    let known = agent
        .table()
        .epochs
        .check(Command::Update, message.yard_epoch);
    if let Err(outdated) = known {
        return from.ignore(
            OUTDATED,
            format_args!("process {}: {outdated}", message.droplet),
        );
    }
    let table = agent.table();
    for entry in table
        .instances
        .values()
        .filter(|entry| entry.record.start.droplet == message.droplet)
    {
        if entry.record.uris != message.uris || entry.record.terms != message.yard_routes {
            let renamed = Wish::Rename(message.uris.clone(), message.yard_routes.clone());
            table.wish(&entry.record.instance, renamed);
        }
    }
}

/// 32 hex digits.
fn new_instance() -> InstanceId {
    InstanceId::new(uuid::Uuid::new_v4().simple().to_string()).expect("hex digits make an id")
}

fn new_private_id() -> String {
    format!(
        "{}{}",
        uuid::Uuid::new_v4().simple(),
        uuid::Uuid::new_v4().simple()
    )
}
