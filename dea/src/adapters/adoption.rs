//! A restarted agent takes over what its predecessor left running.
//!
//! Each sandbox carries its record as a label. What has one goes on where it was; what has none was
//! being prepared when the agent died, ran nothing, and is removed. Work that was accepted and is
//! in no sandbox ([`super::accepted`]): an instance is reported as lost, so that it is started anew at
//! once, here or elsewhere; a task that had not begun is begun.

use super::agent::{Agent, Wish};
use super::automation::conclude::{End, conclude};
use super::automation::notes::Found;
use super::automation::{sensors, unit};
use super::chain;
use super::life::Life;
use super::spool::Fact;
use super::tasks;
use crate::domain::action::Outcome;
use crate::domain::action_output::Output;
use crate::domain::crash::{Ending, fact};
use crate::domain::epoch::Command;
use crate::domain::instance::StopCause;
use crate::domain::record::{InstanceRecord, Record, SavedState};
use crate::sandbox::Sandbox;
use proto::bus::health::ExitReason;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Adopts everything; how many instances and tasks.
pub async fn adopt_all(agent: &Arc<Agent>) -> anyhow::Result<(usize, usize)> {
    let (mut instances, mut adopted_tasks) = (0, 0);
    let mut actions = actions_by_sandbox(agent)?;
    let mut sensor_sandboxes = Vec::new();
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
            Some(Record::Pack(record)) => {
                let given = actions.remove(&Some(sandbox.id().to_string()));
                let given = given.unwrap_or_default();
                unit::adopt(agent, record, sandbox, given);
            }
            Some(Record::Sensor(record)) => sensor_sandboxes.push((record, sandbox)),
            None => remove(&sandbox).await,
        }
    }
    sensors::adopt_all(agent, sensor_sandboxes).await;
    for found in actions.into_values().flatten() {
        let agent = agent.clone();
        agent.tasks.clone().spawn_once("end-action", async move {
            end_without_sandbox(&agent, found).await
        });
    }
    agent.evict_superseded();
    for record in agent.accepted.take()? {
        match record {
            Record::Instance(record) => report_lost(agent, &record),
            Record::Task(record) => tasks::resume(agent, &record),
            // Neither is noted there.
            Record::Pack(_) | Record::Sensor(_) => {}
        }
    }
    Ok((instances, adopted_tasks))
}

/// Executions that an earlier agent had, by the sandbox they were given to; `None`: to none yet.
fn actions_by_sandbox(agent: &Agent) -> anyhow::Result<BTreeMap<Option<String>, Vec<Found>>> {
    let unacknowledged = agent.spool.actions();
    let mut actions: BTreeMap<Option<String>, Vec<Found>> = BTreeMap::new();
    for found in agent.notes.take_found() {
        let place = (found.record.execution.clone(), found.record.attempt);
        if unacknowledged.contains(&place) {
            agent.notes.settle(&found.record.id());
        } else {
            let sandbox = found.given.then(|| found.record.sandbox.clone());
            actions.entry(sandbox).or_default().push(found);
        }
    }
    Ok(actions)
}

/// An execution whose sandbox is not there any more, or that was given to none.
async fn end_without_sandbox(agent: &Arc<Agent>, found: Found) {
    let Found {
        record,
        given,
        printed,
    } = found;
    let outcome = if given {
        Outcome::Lost {
            why: "its sandbox was gone when the agent came back".to_string(),
        }
    } else {
        Outcome::NotStarted {
            why: "the agent was restarted before it began".to_string(),
        }
    };
    let output = Output::resumed(record.output_limit, printed);
    let end = End {
        record,
        outcome,
        output,
        stop_reason: None,
        started_at: 0,
    };
    conclude(agent, end).await;
}

fn adopt_instance(agent: &Arc<Agent>, record: InstanceRecord, sandbox: Sandbox) {
    let now = agent.now();
    let terms = agent.terms(&record.start);
    let stop = record.state == SavedState::Stopping;
    let (machine, effects) = record.state.adopt(terms, record.since, now);
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
