//! Drives the active deployments: reads their rows, asks `domain::deployment`, writes its step.
//!
//! A step is one fenced transaction over the rows it was planned from; each update compares the
//! row's version, so a step planned from rows that changed meanwhile is refused as a whole and
//! planned anew in the next round.

use super::commands::event;
use super::completed::duration_ms;
use super::dispatcher::RoundError;
use super::{Shared, clock};
use crate::domain::deployment::{self, Other, Phase, Policy, Rolling, SETTLE, Seen, Step};
use crate::domain::observed::ProcessScope;
use crate::domain::times::rfc3339_micros;
use crate::store::apps::App;
use crate::store::deployments::{self, Deployment};
use crate::store::facts::{self, Kind};
use crate::store::process_versions::{self, RunSettings};
use crate::store::processes::{self, Process};
use crate::store::revisions::Revision;
use crate::store::sql::Connection;
use crate::store::{Json, StoreError, platform_events};
use automation::triggers::yard::{DeploymentFailed, DeploymentFinished, PlatformEvent};
use proto::api::WaitingThing;
use proto::ids::{ProcessGuid, Version};
use proto::log::SOURCE_API;
use std::time::Duration;
use tracing::{debug, info, warn};

/// Type of the processes that deployments replace in steps.
const WEB: &str = "web";

/// A deployment with the rows around it, as read.
struct Rows {
    deployment: Deployment,
    app: App,
    new: Option<Process>,
    /// The oldest first.
    others: Vec<Process>,
    /// Those of other types, which were started anew when the deployment began.
    beside: Vec<Process>,
}

impl Rows {
    /// How many instances the version that ends up running is to have.
    fn wanted(&self, taken_back: bool) -> i64 {
        let deployment = &self.deployment;
        deployment
            .old_process_guid
            .as_ref()
            .filter(|_| taken_back)
            .and_then(|old| deployment.previous.get(old))
            .map_or(deployment.wanted_instances, |previous| previous.instances)
    }
}

/// Takes one step of each active deployment. True while there are any. `seeing_since` (Unix
/// microseconds): the time before, when nobody saw and acted, counts against no deployment.
pub(super) async fn drive(
    shared: &Shared,
    epoch: i64,
    seeing_since: i64,
) -> Result<bool, RoundError> {
    let mut reader = shared.store.read().await?;
    let active = deployments::active(&mut reader).await?;
    let mut all = Vec::new();
    for deployment in active {
        if let Some(rows) = read(&mut reader, deployment).await? {
            all.push(rows);
        }
    }
    drop(reader);
    metrics::gauge!("controller_deployments_active").set(all.len() as f64);
    let some = !all.is_empty();
    for rows in all {
        let guid = rows.deployment.guid.clone();
        match advance(shared, epoch, rows, seeing_since).await {
            Ok(()) => {}
            Err(StoreError::Stale { .. }) => {
                debug!(deployment = guid, "its rows changed meanwhile")
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(some)
}

/// For what each active deployment waits, as this controller sees it.
pub(super) async fn waiting(shared: &Shared) -> Vec<WaitingThing> {
    match try_waiting(shared).await {
        Ok(waiting) => waiting,
        Err(error) => {
            debug!(
                error = &error as &dyn std::error::Error,
                "what deployments wait for could not be read"
            );
            Vec::new()
        }
    }
}

async fn try_waiting(shared: &Shared) -> Result<Vec<WaitingThing>, StoreError> {
    let mut reader = shared.store.read().await?;
    let (now, policy) = (clock::unix_micros(), policy(shared));
    let mut found = Vec::new();
    for deployment in deployments::active(&mut reader).await? {
        let Some(rows) = read(&mut reader, deployment).await? else {
            continue;
        };
        let seen = rows
            .new
            .as_ref()
            .and_then(|new| picture(shared, &rows, new));
        let because = match seen
            .map(|(rolling, seen)| deployment::step(&rolling, &seen, &policy, micros(now)))
        {
            Some(Step::Wait { because }) => because,
            Some(
                Step::Scale { because, .. } | Step::Finish { because } | Step::Removed { because },
            ) => {
                format!("its next step is due: {because}")
            }
            Some(Step::Pause { because }) => format!("it is about to pause: {because}"),
            Some(Step::TakeBack { error }) => format!("it is about to be taken back: {error}"),
            None => "it is about to be ended: its process is gone".to_string(),
        };
        let since = now.saturating_sub(rows.deployment.step_since) as f64 / 1e6;
        found.push(WaitingThing {
            kind: "deployment".to_string(),
            guid: rows.deployment.guid,
            name: rows.app.name,
            because,
            since: since.max(0.0),
        });
    }
    Ok(found)
}

fn policy(shared: &Shared) -> Policy {
    let settings = shared.settings();
    Policy {
        start_timeout: settings.duration("controller/deployment/start_timeout"),
        max_crashes: u32::try_from(settings.integer("controller/deployment/max_crashes"))
            .unwrap_or(1),
    }
}

async fn read(
    connection: &mut Connection,
    deployment: Deployment,
) -> Result<Option<Rows>, StoreError> {
    let Some(app) = App::find(connection, &deployment.app_guid).await? else {
        return Ok(None);
    };
    let (mut new, mut others, mut beside) = (None, Vec::new(), Vec::new());
    for process in processes::of_app(connection, &app.guid).await? {
        if process.guid == deployment.new_process_guid {
            new = Some(process);
        } else if process.kind == WEB {
            others.push(process);
        } else {
            beside.push(process);
        }
    }
    Ok(Some(Rows {
        deployment,
        app,
        new,
        others,
        beside,
    }))
}

async fn advance(
    shared: &Shared,
    epoch: i64,
    rows: Rows,
    seeing_since: i64,
) -> Result<(), StoreError> {
    let now = clock::unix_micros();
    let Some(new) = &rows.new else {
        return finalize(shared, epoch, rows, Ending::Canceled("its process is gone")).await;
    };
    let Some((mut rolling, seen)) = picture(shared, &rows, new) else {
        return finalize(
            shared,
            epoch,
            rows,
            Ending::Canceled("a row holds an id that is none"),
        )
        .await;
    };
    rolling.step_since = rolling.step_since.max(micros(seeing_since));
    match deployment::step(&rolling, &seen, &policy(shared), micros(now)) {
        Step::Wait { because } => {
            debug!(
                deployment = rows.deployment.guid,
                because, "a deployment waits"
            );
            Ok(())
        }
        Step::Scale {
            new,
            others,
            because,
        } => scale(shared, epoch, rows, new, &others, &because).await,
        Step::Pause { because } => pause(shared, epoch, rows, &because).await,
        Step::TakeBack { error } => take_back(shared, epoch, rows, error).await,
        Step::Finish { because } => {
            info!(
                deployment = rows.deployment.guid,
                because, "a deployment is done"
            );
            finalize(shared, epoch, rows, Ending::Deployed).await
        }
        Step::Removed { because } => {
            info!(
                deployment = rows.deployment.guid,
                because, "a deployment is taken back"
            );
            finalize(shared, epoch, rows, Ending::Canceled("")).await
        }
    }
}

fn micros(time: i64) -> Duration {
    Duration::from_micros(u64::try_from(time).unwrap_or_default())
}

fn count(number: i64) -> u32 {
    u32::try_from(number).unwrap_or_default()
}

/// What the planner looks at: rows and what is seen of them.
fn picture(shared: &Shared, rows: &Rows, new: &Process) -> Option<(Rolling, Seen)> {
    let now = shared.clock.now();
    let state = shared.state();
    let running = |process: &Process| -> Option<u32> {
        let (guid, version) = ids(process)?;
        let scope = ProcessScope {
            process: &guid,
            version: &version,
            instances: count(process.instances),
        };
        Some(
            u32::try_from(
                state
                    .picture
                    .observed
                    .running_indices(&scope, SETTLE, now)
                    .len(),
            )
            .unwrap_or(u32::MAX),
        )
    };
    let (guid, version) = ids(new)?;
    let crashes = state.picture.observed.crashes(&guid, &version);
    let seen = Seen {
        running: running(new)?,
        crashes: crashes.map(|crashes| crashes.count).unwrap_or_default(),
        last_crash: crashes.map(|crashes| crashes.last.clone()),
        waiting: state.picture.waiting_reason(&guid),
    };
    let mut others = Vec::new();
    for other in &rows.others {
        let process = ProcessGuid::new(other.guid.clone()).ok()?;
        let live = state
            .picture
            .observed
            .of_process(&process)
            .filter(|one| one.is_live())
            .count();
        others.push(Other {
            process,
            instances: count(other.instances),
            running: running(other)?,
            live: u32::try_from(live).unwrap_or(u32::MAX),
        });
    }
    let deployment = &rows.deployment;
    let canceling = deployment.reason == deployments::CANCELING;
    let rolling = Rolling {
        phase: match deployment.reason.as_str() {
            deployments::CANCELING => Phase::Canceling,
            deployments::PAUSED => Phase::Paused,
            _ => Phase::Deploying,
        },
        wanted: count(rows.wanted(canceling)),
        max_in_flight: count(deployment.max_in_flight).max(1),
        stop_at: deployment.next_stop(),
        new_instances: count(new.instances),
        others,
        previous: deployment
            .old_process_guid
            .clone()
            .and_then(|guid| ProcessGuid::new(guid).ok()),
        step_since: micros(deployment.step_since),
        app_started: rows.app.is_started(),
    };
    Some((rolling, seen))
}

fn ids(process: &Process) -> Option<(ProcessGuid, Version)> {
    Some((
        ProcessGuid::new(process.guid.clone()).ok()?,
        Version::new(process.version.clone()).ok()?,
    ))
}

async fn scale(
    shared: &Shared,
    epoch: i64,
    mut rows: Rows,
    new_count: u32,
    others: &[(ProcessGuid, u32)],
    because: &str,
) -> Result<(), StoreError> {
    let now = clock::unix_micros();
    let mut tx = shared.write_as_leader("scale a deployment", epoch).await?;
    rows.deployment.step_since = now;
    rows.deployment.update(&mut tx, now).await?;
    if let Some(new) = rows
        .new
        .as_mut()
        .filter(|new| count(new.instances) != new_count)
    {
        resize(&mut tx, new, new_count, now).await?;
    }
    for (guid, wanted) in others {
        if let Some(other) = rows
            .others
            .iter_mut()
            .find(|other| other.guid == guid.as_str())
        {
            resize(&mut tx, other, *wanted, now).await?;
        }
    }
    tx.commit().await?;
    info!(
        deployment = rows.deployment.guid,
        new = new_count,
        because,
        "a deployment takes a step"
    );
    shared.nudge();
    Ok(())
}

async fn resize(
    connection: &mut Connection,
    process: &mut Process,
    instances: u32,
    now: i64,
) -> Result<(), StoreError> {
    process.instances = i64::from(instances);
    process.update(connection, now).await?;
    facts::append(
        connection,
        Kind::ProcessChanged,
        &process.guid,
        serde_json::json!({}),
        now,
    )
    .await?;
    Ok(())
}

/// From now on somebody has to say how it goes on.
async fn pause(
    shared: &Shared,
    epoch: i64,
    mut rows: Rows,
    because: &str,
) -> Result<(), StoreError> {
    let now = clock::unix_micros();
    let mut tx = shared.write_as_leader("pause a deployment", epoch).await?;
    let deployment = &mut rows.deployment;
    deployment.reason = deployments::PAUSED.to_string();
    deployment.step_since = now;
    deployment.update(&mut tx, now).await?;
    let changed = Kind::DeploymentChanged;
    facts::append(
        &mut tx,
        changed,
        &deployment.guid,
        serde_json::json!({}),
        now,
    )
    .await?;
    tx.commit().await?;
    let line = format!(
        "The deployment pauses: {because}. Continue it or cancel it (deployment {})",
        deployment.guid
    );
    shared.log(&rows.app.guid, SOURCE_API, false, &line);
    info!(deployment = deployment.guid, because, "a deployment pauses");
    Ok(())
}

async fn take_back(
    shared: &Shared,
    epoch: i64,
    mut rows: Rows,
    error: String,
) -> Result<(), StoreError> {
    let now = clock::unix_micros();
    let mut tx = shared
        .write_as_leader("take a deployment back", epoch)
        .await?;
    rows.deployment.reason = deployments::CANCELING.to_string();
    rows.deployment.error = Some(error.clone());
    rows.deployment.step_since = now;
    rows.deployment.update(&mut tx, now).await?;
    facts::append(
        &mut tx,
        Kind::DeploymentChanged,
        &rows.deployment.guid,
        serde_json::json!({}),
        now,
    )
    .await?;
    tx.commit().await?;
    warn!(
        deployment = rows.deployment.guid,
        app = rows.app.guid,
        error,
        "a deployment failed and is taken back"
    );
    shared.log(
        &rows.app.guid,
        SOURCE_API,
        true,
        &format!("The deployment is taken back: {error}"),
    );
    shared.nudge();
    Ok(())
}

enum Ending {
    Deployed,
    /// With a reason, where the row has none.
    Canceled(&'static str),
}

/// Ends a deployment: one web process is left.
async fn finalize(
    shared: &Shared,
    epoch: i64,
    mut rows: Rows,
    ending: Ending,
) -> Result<(), StoreError> {
    let now = clock::unix_micros();
    let deployed = matches!(ending, Ending::Deployed);
    let keep = match ending {
        Ending::Deployed => rows.deployment.new_process_guid.clone(),
        Ending::Canceled(_) => {
            let previous = rows.deployment.old_process_guid.as_ref();
            let found = rows
                .others
                .iter()
                .find(|other| Some(&other.guid) == previous)
                .or_else(|| rows.others.last());
            // Nothing to go back to: an app keeps its web process.
            found.map_or_else(
                || rows.deployment.new_process_guid.clone(),
                |other| other.guid.clone(),
            )
        }
    };
    let wanted = rows.wanted(!deployed);
    let mut tx = shared.write_as_leader("end a deployment", epoch).await?;
    let deployment = &mut rows.deployment;
    deployment.status = deployments::FINALIZED.to_string();
    deployment.reason = if deployed {
        deployments::DEPLOYED
    } else {
        deployments::CANCELED
    }
    .to_string();
    if let Ending::Canceled(why) = ending
        && deployment.error.is_none()
        && !why.is_empty()
    {
        deployment.error = Some(why.to_string());
    }
    deployment.update(&mut tx, now).await?;
    for mut process in rows.others.into_iter().chain(rows.new) {
        if process.guid == keep {
            process.deployment_guid = None;
            process.scaled_from = None;
            if !deployed {
                let droplet = deployment
                    .previous_droplet_guid
                    .clone()
                    .or_else(|| process.droplet_guid.clone());
                let settings = deployment
                    .previous
                    .get(&process.guid)
                    .and_then(|previous| previous.settings.clone());
                put_back(&mut tx, &mut process, droplet, settings).await?;
            }
            resize(&mut tx, &mut process, count(wanted), now).await?;
        } else {
            Process::delete(&mut tx, &process.guid).await?;
            facts::append(
                &mut tx,
                Kind::ProcessRemoved,
                &process.guid,
                serde_json::json!({}),
                now,
            )
            .await?;
        }
    }
    for mut process in rows.beside {
        let before = process.clone();
        let scaled_from = process.scaled_from.take();
        if let Some(previous) = deployment.previous.get(&process.guid)
            && !deployed
        {
            let (droplet, settings) = (previous.droplet_guid.clone(), previous.settings.clone());
            process.revision_guid = previous.revision.clone();
            put_back(&mut tx, &mut process, droplet, settings).await?;
            // Not what it had before: a user may have scaled it since.
            process.instances = scaled_from.unwrap_or(process.instances);
        }
        if process != before {
            let instances = count(process.instances);
            resize(&mut tx, &mut process, instances, now).await?;
        }
    }
    let droplet = if deployed {
        Some(deployment.droplet_guid.clone())
    } else {
        deployment.previous_droplet_guid.clone()
    };
    let before = rows.app.clone();
    if droplet.is_some() {
        rows.app.current_droplet_guid = droplet;
    }
    if let Some(environment) = deployment.environment_before.0.take()
        && let Some(brought) = &deployment.revision_guid
        && !deployed
    {
        // What a user has changed since stays.
        let brought = Revision::find(&mut tx, brought).await?;
        if brought.is_some_and(|brought| brought.environment == rows.app.environment) {
            rows.app.environment = Json(environment);
        }
    }
    if rows.app != before {
        rows.app.update(&mut tx, now).await?;
    }
    facts::append(
        &mut tx,
        Kind::DeploymentChanged,
        &deployment.guid,
        serde_json::json!({}),
        now,
    )
    .await?;
    tell_rules(&mut tx, &rows.app, deployment, now).await?;
    tx.commit().await?;
    let outcome = if deployed { "deployed" } else { "taken back" };
    metrics::counter!("controller_deployments_total", "outcome" => outcome).increment(1);
    event(
        shared,
        &format!(
            "deployment {} of {}: {outcome}",
            deployment.guid, rows.app.guid
        ),
    )
    .await;
    shared.nudge();
    Ok(())
}

/// Tells how a deployment ended.
async fn tell_rules(
    connection: &mut Connection,
    app: &App,
    deployment: &Deployment,
    now: i64,
) -> Result<(), StoreError> {
    let Some(place) = platform_events::place(connection, app).await? else {
        return Ok(());
    };
    let (at, strategy) = (rfc3339_micros(now), deployment.strategy.clone());
    let event: PlatformEvent = if deployment.reason == deployments::DEPLOYED {
        DeploymentFinished {
            at,
            place,
            deployment: deployment.guid.clone(),
            strategy,
            droplet: deployment.droplet_guid.clone(),
            duration_ms: duration_ms(deployment.created_at, now),
        }
        .into()
    } else {
        DeploymentFailed {
            at,
            place,
            deployment: deployment.guid.clone(),
            strategy,
            droplet: deployment.droplet_guid.clone(),
            previous_droplet: deployment.previous_droplet_guid.clone(),
            reason: deployment
                .error
                .clone()
                .unwrap_or_else(|| "it was canceled".to_string()),
        }
        .into()
    };
    platform_events::tell(connection, event, &app.guid, now).await
}

/// Gives a process the droplet and the settings it had before a deployment, and a version of its own
/// if instances were started with others meanwhile: the restart of another type, or by a user.
async fn put_back(
    connection: &mut Connection,
    process: &mut Process,
    droplet: Option<String>,
    settings: Option<RunSettings>,
) -> Result<(), StoreError> {
    let mut renew = process.droplet_guid != droplet;
    process.droplet_guid = droplet;
    if let Some(settings) = settings {
        let runs_with = process_versions::run_settings(connection, &process.version).await?;
        renew |= runs_with.is_some_and(|runs_with| runs_with != settings);
        settings.lay_over(process);
    }
    if renew {
        process.version = uuid::Uuid::new_v4().to_string();
    }
    Ok(())
}
