//! A restarted agent takes over what its predecessor left running.
//!
//! Each sandbox carries its record as a label. What has one goes on where it was; what has none was
//! being prepared when the agent died, ran nothing, and is removed. Work that was accepted and is
//! in no sandbox is reported as lost ([`super::accepted`]), so that it is started anew at once.

use super::agent::{Agent, Wish};
use super::chain;
use super::life::Life;
use super::spool::Fact;
use super::tasks;
use crate::domain::crash::{Ending, fact};
use crate::domain::epoch::Command;
use crate::domain::instance::{Instance, StopCause};
use crate::domain::record::{InstanceRecord, Record, SavedState};
use crate::sandbox::Sandbox;
use proto::bus::health::ExitReason;
use std::sync::Arc;

/// Adopts everything; how many instances and tasks.
pub async fn adopt_all(agent: &Arc<Agent>) -> anyhow::Result<(usize, usize)> {
    let (mut instances, mut adopted_tasks) = (0, 0);
    for sandbox in agent.engine.adopt_all().await? {
        match sandbox.label().as_deref().and_then(Record::of_text) {
            Some(Record::Instance(record)) => {
                adopt_instance(agent, *record, sandbox);
                instances += 1;
            }
            Some(Record::Task(record)) => {
                if tasks::adopt(agent, &record, sandbox.clone()) {
                    adopted_tasks += 1;
                } else {
                    remove(&sandbox).await;
                }
            }
            None => remove(&sandbox).await,
        }
    }
    agent.evict_superseded();
    for record in agent.accepted.take()? {
        match record {
            Record::Instance(record) => report_lost(agent, &record),
            Record::Task(record) => tasks::report_lost(agent, &record),
        }
    }
    Ok((instances, adopted_tasks))
}

fn adopt_instance(agent: &Arc<Agent>, record: InstanceRecord, sandbox: Sandbox) {
    let now = agent.now();
    let terms = agent.terms(&record.start);
    let since = record.since;
    let mut stop = false;
    let (machine, effects) = match &record.state {
        SavedState::Starting => Instance::adopted_starting(terms, since, now),
        SavedState::Running => Instance::adopted_running(terms, since, now),
        SavedState::Stopping => {
            stop = true;
            let (machine, _) = Instance::adopted_running(terms, since, now);
            (machine, vec![])
        }
        SavedState::Crashed(ending) => (
            Instance::adopted_crashed(terms, ending.clone(), now),
            vec![],
        ),
    };
    tracing::info!(instance = %record.instance, process = %record.start.droplet, state = machine.name(), "an instance was adopted");
    agent
        .table()
        .epochs
        .seen(Command::Start, record.start.yard_epoch);
    let instance = record.instance.clone();
    let life = Life::adopted(agent, record, machine, sandbox);
    agent.tasks.spawn_once("instance", life.run(effects));
    if stop {
        agent
            .table()
            .wish(&instance, Wish::Stop(StopCause::Requested));
    }
}

/// An instance that was accepted and not started before the agent died: no crash of the app.
fn report_lost(agent: &Agent, record: &InstanceRecord) {
    if agent.table().instances.contains_key(&record.instance) {
        return;
    }
    tracing::info!(instance = %record.instance, "an instance was lost before it started");
    let ending = Ending {
        reason: ExitReason::DeaShutdown,
        description: "the agent was restarted before the instance started".to_string(),
        exit_status: -1,
        signal: None,
        out_of_memory: false,
        phase: Some("starting".to_string()),
        at: agent.now().unix,
    };
    agent
        .spool
        .put(Fact::Exited(fact(&ending, record.whose(&agent.id))));
}

async fn remove(sandbox: &Sandbox) {
    tracing::info!(
        sandbox = sandbox.id(),
        "a sandbox without a record is removed"
    );
    if let Err(error) = sandbox.destroy().await {
        tracing::warn!(
            sandbox = sandbox.id(),
            error = chain(&error),
            "a sandbox without a record could not be removed"
        );
    }
}
