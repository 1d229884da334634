//! Carries out what a round has decided: places and starts instances, stops others, tells the
//! agents their names and the health manager what to read again.
//!
//! Nothing is decided here but the agent of a start, by `domain::placement`. A command that could
//! not be sent ends the round; what it reserved is given back first.

use super::decisions::{self, Index};
use super::dispatcher::RoundError;
use super::launch::{self, LaunchPlan, NoLaunch};
use super::{Shared, clock};
use crate::domain::dispatch::Action;
use crate::domain::picture::Candidate;
use crate::domain::placement::{Decision, PlacementRequest};
use crate::store::Json;
use crate::store::desired::DesiredRow;
use crate::store::facts::{Fact, Kind};
use crate::store::process_versions::{self, ProcessVersion, VersionSettings};
use daemon::BusError;
use proto::bus::Empty;
use proto::bus::catalogue;
use proto::bus::dea::{Discover, Hello, Limits, StopInstances, UpdateInstances};
use proto::bus::health::{ControllerEvent, Updated};
use proto::ids::{InstanceId, ProcessGuid};
use proto::log::SOURCE_API;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tracing::{debug, info, warn};

/// How long answers to `dea.discover` are gathered.
const DISCOVER: Duration = Duration::from_millis(500);

/// Does what was decided, in order.
pub(super) async fn carry_out(
    shared: &Arc<Shared>,
    epoch: i64,
    rows: &BTreeMap<ProcessGuid, DesiredRow>,
    actions: Vec<Action>,
) -> Result<(), RoundError> {
    let mut plans: BTreeMap<ProcessGuid, Option<LaunchPlan>> = BTreeMap::new();
    for action in actions {
        match action {
            Action::Stop {
                process,
                instances,
                because,
            } => {
                info!(%process, count = instances.len(), because, "stopping instances");
                let message = StopInstances {
                    droplet: process.clone(),
                    version: None,
                    instances: Some(instances.clone()),
                    indices: None,
                    states: None,
                    yard_epoch: Some(epoch),
                };
                shared.bus.publish(&catalogue::dea_stop(), &message).await?;
                metrics::counter!("controller_stops_total").increment(instances.len() as u64);
                if let Some(row) = rows.get(&process) {
                    decisions::stopped(shared, row, &instances, &because);
                }
                let now = shared.clock.now();
                shared.state().picture.stopping(&instances, now);
                event(
                    shared,
                    &format!(
                        "stopping {} instances of {process}: {because}",
                        instances.len()
                    ),
                )
                .await;
            }
            Action::Start {
                process,
                version,
                index,
                because,
            } => {
                // Planned from these rows.
                let Some(row) = rows.get(&process) else {
                    continue;
                };
                if !plans.contains_key(&process) {
                    let plan = load(shared, epoch, row, index, &because).await?;
                    plans.insert(process.clone(), plan);
                }
                if let Some(Some(plan)) = plans.get(&process)
                    && plan.version == version
                {
                    start(shared, epoch, rows, plan, index, &because).await?;
                }
            }
        }
    }
    Ok(())
}

/// Reads what starts of this process need; what makes them impossible is shown as its waiting.
async fn load(
    shared: &Shared,
    epoch: i64,
    row: &DesiredRow,
    index: u32,
    because: &str,
) -> Result<Option<LaunchPlan>, RoundError> {
    let process = &row.process;
    let mut reader = shared.store.read().await?;
    match launch::load(shared, &mut reader, process).await {
        Ok(plan) => Ok(Some(plan)),
        Err(NoLaunch::Store(error)) => Err(error.into()),
        Err(NoLaunch::Told(reason)) => {
            let now = shared.clock.now();
            let news = shared.state().picture.waits(process, index, &reason, now);
            if news {
                warn!(%process, index, reason, "a process cannot be started");
                let line = format!("Process {} cannot be started: {reason}", row.kind);
                shared.log(&row.app, SOURCE_API, true, &line);
                decisions::not_placed(shared, epoch, Index::of(row, index), because, &reason);
            }
            Ok(None)
        }
    }
}

/// Writes down what a version runs with, before its first instance is sent anywhere: a version that
/// has no such row was never started.
async fn keep_version(shared: &Shared, epoch: i64, plan: &LaunchPlan) -> Result<(), RoundError> {
    let mut tx = shared
        .write_as_leader("keep what a version runs with", epoch)
        .await?;
    let services = (!plan.services.is_empty()).then(|| {
        let bound = serde_json::Value::Array(plan.services.clone());
        shared.config.vault.seal(&bound)
    });
    let kept = ProcessVersion {
        version: plan.row.version.clone(),
        process_guid: plan.row.guid.clone(),
        settings: Json(VersionSettings::of(&plan.row, &plan.app, services)),
        created_at: clock::unix_micros(),
    };
    process_versions::keep(&mut tx, &kept).await?;
    tx.commit().await?;
    Ok(())
}

async fn start(
    shared: &Arc<Shared>,
    epoch: i64,
    rows: &BTreeMap<ProcessGuid, DesiredRow>,
    plan: &LaunchPlan,
    index: u32,
    because: &str,
) -> Result<(), RoundError> {
    let siblings = rows
        .values()
        .filter(|row| row.app == plan.row.app_guid && row.kind == plan.row.kind)
        .map(|row| row.process.clone())
        .collect();
    let request = PlacementRequest {
        stack: plan.droplet.stack.clone(),
        memory_mb: plan.memory_mb(),
        disk_mb: plan.disk_mb(),
        siblings,
    };
    let instance = InstanceId::new(uuid::Uuid::new_v4().simple().to_string())
        .expect("32 hex digits are an identifier");
    let now = shared.clock.now();
    let candidate = Candidate {
        instance: instance.clone(),
        process: plan.process.clone(),
        version: plan.version.clone(),
        index,
        give_up_at: now + plan.start_timeout(shared),
    };
    let fresh = shared.advertisement_ttl();
    let decision = shared
        .state()
        .picture
        .place(candidate, &request, fresh, now, rand::random());
    match decision {
        Decision::Place {
            dea,
            because: chosen,
        } => {
            let message = plan.command_for(shared, index, &instance, epoch);
            let sending = async {
                if plan.is_first {
                    keep_version(shared, epoch, plan).await?;
                }
                let topic = catalogue::dea_start_instance(&dea);
                Ok::<(), RoundError>(shared.bus.publish(&topic, &message).await?)
            };
            if let Err(error) = sending.await {
                shared.state().picture.withdraw(&instance);
                return Err(error);
            }
            info!(process = %plan.process, index, %instance, %dea, because, chosen, "starting an instance");
            decisions::started(shared, plan.index(index), &instance, &dea, because, &chosen);
            metrics::counter!("controller_starts_total").increment(1);
            event(
                shared,
                &format!(
                    "starting index {index} of {} on {dea}: {because}",
                    plan.process
                ),
            )
            .await;
        }
        Decision::Refuse(refusal) => {
            let reason = refusal.to_string();
            let news = shared
                .state()
                .picture
                .waits(&plan.process, index, &reason, now);
            if news {
                metrics::counter!("controller_placements_refused_total").increment(1);
                warn!(process = %plan.process, index, reason, "an instance is not placed");
                let line = format!(
                    "Instance {index} of process {} waits: {reason}",
                    plan.row.kind
                );
                shared.log(&plan.app.guid, SOURCE_API, true, &line);
                decisions::not_placed(shared, epoch, plan.index(index), because, &reason);
                discover(shared, &request);
            }
        }
    }
    Ok(())
}

/// Nobody known has room: asks everybody. An agent with room that we do not know of (it advertised
/// while we were away) is made to advertise, which brings the next round.
fn discover(shared: &Arc<Shared>, request: &PlacementRequest) {
    let shared = shared.clone();
    let question = Discover {
        droplet: None,
        limits: Limits {
            mem: request.memory_mb,
            disk: request.disk_mb,
            ..Limits::default()
        },
        stack: Some(request.stack.clone()),
        sha: None,
    };
    shared
        .tasks
        .clone()
        .spawn_once("discover-agents", async move {
            let answers: Result<Vec<Hello>, BusError> = shared
                .bus
                .request_many(&catalogue::dea_discover(), &question, DISCOVER)
                .await;
            let located = match answers {
                Ok(answers) if answers.is_empty() => return,
                Ok(_) => shared.bus.publish(&catalogue::dea_locate(), &Empty).await,
                Err(error) => Err(error),
            };
            if let Err(error) = located {
                debug!(
                    error = &error as &dyn std::error::Error,
                    "agents could not be asked for room"
                );
            }
        });
}

/// Tells the agents the names of processes whose routes changed, or all after an absence.
pub(super) async fn tell_names(
    shared: &Shared,
    epoch: i64,
    rows: &BTreeMap<ProcessGuid, DesiredRow>,
    facts: &[Fact],
) -> Result<(), RoundError> {
    let all = std::mem::take(&mut shared.state().resend_uris);
    let changed: BTreeSet<&str> = facts
        .iter()
        .filter(|fact| fact.kind == Kind::RoutesChanged)
        .map(|fact| fact.object.as_str())
        .collect();
    if !all && changed.is_empty() {
        return Ok(());
    }
    let told = tell_names_of(shared, epoch, rows, |row| {
        all || changed.contains(row.app.as_str())
    })
    .await;
    if told.is_err() && all {
        shared.state().resend_uris = true;
    }
    told
}

async fn tell_names_of(
    shared: &Shared,
    epoch: i64,
    rows: &BTreeMap<ProcessGuid, DesiredRow>,
    concerned: impl Fn(&DesiredRow) -> bool,
) -> Result<(), RoundError> {
    for row in rows.values().filter(|row| row.runs() && concerned(row)) {
        let there = {
            let state = shared.state();
            state
                .picture
                .observed
                .of_process(&row.process)
                .next()
                .is_some()
                || state
                    .picture
                    .ledger
                    .launches()
                    .any(|(_, launch)| launch.process == row.process)
        };
        if !there {
            continue;
        }
        let names = {
            let mut reader = shared.store.read().await?;
            crate::store::routes::names(&mut reader, &row.app, &row.kind).await?
        };
        let message = UpdateInstances {
            droplet: row.process.clone(),
            uris: names.uris,
            version: Some(row.version.clone()),
            yard_epoch: Some(epoch),
            yard_routes: names.terms,
        };
        shared
            .bus
            .publish(&catalogue::dea_update(), &message)
            .await?;
    }
    Ok(())
}

/// `droplet.updated`: the health manager reads these again.
pub(super) async fn tell_health_manager(shared: &Shared, facts: &[Fact]) -> Result<(), RoundError> {
    let changed: BTreeSet<&str> = facts
        .iter()
        .filter(|fact| matches!(fact.kind, Kind::ProcessChanged | Kind::ProcessRemoved))
        .map(|fact| fact.object.as_str())
        .collect();
    for process in changed {
        let Ok(droplet) = ProcessGuid::new(process) else {
            continue;
        };
        shared
            .bus
            .publish(
                &catalogue::droplet_updated(),
                &Updated {
                    droplet,
                    cc_partition: None,
                },
            )
            .await?;
    }
    Ok(())
}

/// Whatever agents still keep of a process that was removed, dead sandboxes too, is of no use.
pub(super) async fn clear_away(
    shared: &Shared,
    epoch: i64,
    facts: &[Fact],
) -> Result<(), RoundError> {
    for fact in facts
        .iter()
        .filter(|fact| fact.kind == Kind::ProcessRemoved)
    {
        let Ok(droplet) = ProcessGuid::new(fact.object.as_str()) else {
            continue;
        };
        let message = StopInstances {
            droplet,
            version: None,
            instances: None,
            indices: None,
            states: None,
            yard_epoch: Some(epoch),
        };
        shared.bus.publish(&catalogue::dea_stop(), &message).await?;
    }
    Ok(())
}

/// `vcap.cc.events`, for onlookers: may be missed.
pub(super) async fn event(shared: &Shared, text: &str) {
    let event = ControllerEvent(vec![
        clock::unix_seconds().into(),
        "SYSTEM".into(),
        shared.component.as_str().into(),
        text.into(),
    ]);
    if let Err(error) = shared.bus.publish(&catalogue::cc_events(), &event).await {
        debug!(
            error = &error as &dyn std::error::Error,
            "an event was not told"
        );
    }
}
