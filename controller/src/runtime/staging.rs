//! Staging: chooses an agent for a build and gives it to a stager.
//!
//! Each build that is not over has one unit of work at the leader, from the request until a
//! stager has taken it; the rest comes back as `yard.staging.completed`. The request is known by
//! the build's guid to stager and agent, so a new leader simply sends it again, to the agent the
//! row names. What cannot be staged fails with the reason, not with silence: nobody to stage it, no
//! room, an agent lost, too late.

use super::completed;
use super::dispatcher::RoundError;
use super::launch::{self, lines, names};
use super::state::BuildProgress;
use super::{Shared, clock};
use crate::domain::picture::Held;
use crate::domain::placement::{Decision, PlacementRequest, Refusal};
use crate::services::{self, Unreadable};
use crate::store::apps::App;
use crate::store::buildpacks::{self, Buildpack};
use crate::store::builds::{self, Build};
use crate::store::packages::{self, Package};
use crate::store::{StoreError, processes, routes};
use daemon::BusError;
use proto::buildpacks::is_address;
use proto::bus::catalogue;
use proto::bus::staging::{
    AdminBuildpack, StagingError, StagingProperties, StagingReply, StagingRequest,
};
use proto::ids::{AppGuid, DeaId, TaskId};
use proto::log::{SOURCE_API, SOURCE_STAGING};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tracing::{info, warn};

/// The process type whose command and names a staging knows.
const WEB: &str = "web";
/// How long a stager may take to say that it takes it.
const ANSWER: Duration = Duration::from_secs(6);
/// How long a stager, or room on an agent, is waited for.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long the bus may be away before what needs it fails. A server that is restarted is back sooner.
const BUS_PATIENCE: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_secs(1);
/// How often another choice is made when the chosen agent does not take it. Longer than the
/// advertisement of an agent that died stays valid.
const REFUSALS: u32 = 12;
/// Uploads may end a while after the deadline of the staging itself.
const URL_SLACK: i64 = 600;

/// Why a build ends before a stager took it, or why its unit stops without an end.
enum Stopped {
    Failed(StagingError),
    /// Another round sees to it: the row changed, the store or the leadership is away.
    Abandoned(String),
}

impl From<StoreError> for Stopped {
    fn from(error: StoreError) -> Stopped {
        Stopped::Abandoned(format!("{error}"))
    }
}

impl From<Unreadable> for Stopped {
    fn from(error: Unreadable) -> Stopped {
        match error {
            Unreadable::Store(error) => error.into(),
            Unreadable::Sealed { service, source } => failure(
                "StagingError",
                format!("the credentials of the service {service} cannot be read: {source}"),
            ),
        }
    }
}

fn failure(kind: &str, message: impl Into<String>) -> Stopped {
    Stopped::Failed(StagingError {
        kind: kind.to_string(),
        message: message.into(),
        last_lines: Vec::new(),
    })
}

/// Fails what is overdue or lost, and begins a unit for each build that has none.
pub(super) async fn take_up(shared: &Arc<Shared>, epoch: i64) -> Result<(), RoundError> {
    let staging = {
        let mut reader = shared.store.read().await?;
        builds::staging(&mut reader).await?
    };
    let now = clock::unix_micros();
    let running: BTreeSet<&str> = staging.iter().map(|build| build.guid.as_str()).collect();
    shared
        .state()
        .builds
        .retain(|guid, _| running.contains(guid.as_str()));
    for build in staging {
        if let Some(error) = end_of(shared, &build, now) {
            fail(shared, epoch, build, &error).await?;
            continue;
        }
        let fresh = {
            let mut state = shared.state();
            let fresh = !state.builds.contains_key(&build.guid);
            if fresh {
                let progress = BuildProgress {
                    app: build.app_guid.clone(),
                    phase: "requested".to_string(),
                    since: build.created_at,
                };
                state.builds.insert(build.guid.clone(), progress);
            }
            fresh
        };
        if fresh {
            let shared = shared.clone();
            shared
                .tasks
                .clone()
                .spawn_once("stage", async move { stage(&shared, epoch, build).await });
        }
    }
    Ok(())
}

/// Ends a build in the leader's name.
async fn fail(
    shared: &Shared,
    epoch: i64,
    build: Build,
    error: &StagingError,
) -> Result<(), StoreError> {
    shared.state().picture.pool.withdrawn(&build.guid);
    match completed::failed(shared, build, error, Some(epoch)).await {
        Err(StoreError::Stale { .. }) => Ok(()),
        other => other,
    }
}

/// Why a build is over although nobody said so.
fn end_of(shared: &Shared, build: &Build, now: i64) -> Option<StagingError> {
    let error = |kind: &str, message: String| StagingError {
        kind: kind.to_string(),
        message,
        last_lines: Vec::new(),
    };
    if build.deadline <= now {
        let took =
            u64::try_from(build.deadline.saturating_sub(build.created_at)).unwrap_or_default();
        let seconds = took.saturating_add(500_000) / 1_000_000;
        return Some(error(
            "StagingTimeExpired",
            format!("staging did not end within {seconds} s"),
        ));
    }
    let dea = build
        .dea
        .as_ref()
        .and_then(|dea| DeaId::new(dea.clone()).ok())?;
    shared.is_lost(&dea).then(|| {
        error(
            "StagerError",
            format!("the agent {dea}, on which it was staged, was lost"),
        )
    })
}

async fn stage(shared: &Shared, epoch: i64, build: Build) {
    let guid = build.guid.clone();
    match hand_over(shared, epoch, build).await {
        Ok(dea) => {
            info!(build = guid, %dea, "a stager has taken the build");
            progress(shared, &guid, &format!("staging on {dea}"));
        }
        Err(Stopped::Failed(error)) => {
            let latest = async {
                let mut reader = shared.store.read().await?;
                Build::find(&mut reader, &guid).await
            };
            let ended = match latest.await {
                Ok(Some(build)) if build.is_staging() => fail(shared, epoch, build, &error).await,
                Ok(_) => Ok(()),
                Err(error) => Err(error),
            };
            if let Err(error) = ended {
                warn!(
                    build = guid,
                    error = &error as &dyn std::error::Error,
                    "a failed build could not be recorded"
                );
                forget(shared, &guid);
            }
        }
        Err(Stopped::Abandoned(reason)) => {
            warn!(build = guid, reason, "a build is taken up again later");
            forget(shared, &guid);
        }
    }
}

/// The next full round takes it up again.
fn forget(shared: &Shared, guid: &str) {
    let mut state = shared.state();
    state.builds.remove(guid);
    state.picture.pool.withdrawn(guid);
}

fn progress(shared: &Shared, guid: &str, phase: &str) {
    if let Some(progress) = shared.state().builds.get_mut(guid) {
        progress.phase = phase.to_string();
    }
}

async fn hand_over(shared: &Shared, epoch: i64, mut build: Build) -> Result<DeaId, Stopped> {
    let (app, package) = {
        let mut reader = shared.store.read().await?;
        let app = App::find(&mut reader, &build.app_guid).await?;
        let package = Package::find(&mut reader, &build.package_guid).await?;
        (app, package)
    };
    let app = app.ok_or_else(|| failure("StagerError", "the app is gone"))?;
    let package = package.ok_or_else(|| failure("StagerError", "the package is gone"))?;
    let Some(package_sum) = package
        .sha256
        .clone()
        .filter(|_| package.state == packages::READY)
    else {
        return Err(failure(
            "StagerError",
            format!("the package is not ready: it is {}", package.state),
        ));
    };
    let resent = build.dea.is_some();
    if !resent {
        shared.log(
            &app.guid,
            SOURCE_API,
            false,
            &format!("Creating build {} of package {}", build.guid, package.guid),
        );
    }
    await_bus(shared).await?;
    let mut refusals = 0;
    loop {
        let dea = match build.dea.clone().and_then(|dea| DeaId::new(dea).ok()) {
            Some(dea) => dea,
            None => choose(shared, epoch, &mut build).await?,
        };
        let request = compose(shared, epoch, &build, &app, &package_sum, &dea).await?;
        let reply = send(shared, epoch, &build, &request).await?;
        let Some(error) = reply.error else {
            // Its next advertisement counts the staging itself.
            shared.state().picture.pool.seen(&build.guid);
            return Ok(dea);
        };
        shared.state().picture.pool.withdrawn(&build.guid);
        refusals += 1;
        if error.kind != "InsufficientResources" || refusals > REFUSALS {
            return Err(Stopped::Failed(error));
        }
        // It filled up since it advertised: choose again from what is known now.
        if refusals == 1 {
            let line = format!("{} Trying again.", error.message);
            shared.log(&app.guid, SOURCE_STAGING, true, &line);
        }
        build.dea = None;
        tokio::time::sleep(PAUSE).await;
    }
}

async fn await_bus(shared: &Shared) -> Result<(), Stopped> {
    let mut status = shared.bus.status();
    // Whoever comes late in an outage is told at once.
    let patience = {
        let now = status.borrow();
        if now.connected {
            BUS_PATIENCE
        } else {
            BUS_PATIENCE.saturating_sub(now.since.elapsed())
        }
    };
    let there = tokio::time::timeout(patience, status.wait_for(|status| status.connected)).await;
    match there {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(_)) | Err(_) => Err(failure(
            "StagerError",
            "the message bus is away: nothing can be staged now",
        )),
    }
}

/// Chooses an agent and writes it down, so that a new leader asks the same one.
async fn choose(shared: &Shared, epoch: i64, build: &mut Build) -> Result<DeaId, Stopped> {
    let request = PlacementRequest {
        stack: build.stack.clone(),
        memory_mb: u64::try_from(build.memory_mb).unwrap_or_default(),
        disk_mb: u64::try_from(build.disk_mb).unwrap_or_default(),
        siblings: BTreeSet::new(),
    };
    let started = tokio::time::Instant::now();
    let mut said = String::new();
    let dea = loop {
        let now = shared.clock.now();
        let decision = {
            let held = Held {
                key: build.guid.clone(),
                process: None,
                until: now + PATIENCE + ANSWER,
            };
            let fresh = shared.advertisement_ttl();
            let mut state = shared.state();
            state
                .picture
                .hold_room(held, &request, fresh, now, rand::random())
        };
        match decision {
            Decision::Place { dea, .. } => break dea,
            Decision::Refuse(refusal) => {
                let reason = format!("the staging {refusal}");
                let reason = match refusal {
                    Refusal::NoAgent { .. } => refusal.to_string(),
                    Refusal::NoStack { .. } | Refusal::NoRoom { .. } => reason,
                };
                if refusal.is_for_good() || started.elapsed() >= PATIENCE {
                    return Err(failure("InsufficientResources", reason));
                }
                if reason != said {
                    shared.log(
                        &build.app_guid,
                        SOURCE_STAGING,
                        true,
                        &format!("Waiting for room: {reason}"),
                    );
                    progress(shared, &build.guid, &format!("waits: {reason}"));
                    said = reason;
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
    };
    let now = clock::unix_micros();
    let mut tx = shared
        .write_as_leader("note the agent of a build", epoch)
        .await?;
    build.dea = Some(dea.to_string());
    build.update(&mut tx, now).await?;
    tx.commit().await?;
    progress(shared, &build.guid, &format!("goes to {dea}"));
    Ok(dea)
}

async fn compose(
    shared: &Shared,
    epoch: i64,
    build: &Build,
    app: &App,
    package_sum: &str,
    dea: &DeaId,
) -> Result<StagingRequest, Stopped> {
    let invalid = |error: proto::ids::InvalidId| {
        failure(
            "StagerError",
            format!("a row holds an id that is none: {error}"),
        )
    };
    let (names, web, uris, services, offered) = {
        let mut reader = shared.store.read().await?;
        (
            names(&mut reader, app).await?,
            processes::of_type(&mut reader, &app.guid, WEB).await?,
            routes::uris(&mut reader, &app.guid, WEB).await?,
            services::of_app(&shared.config.vault, &mut reader, app).await?,
            buildpacks::in_order(&mut reader).await?,
        )
    };
    let (process, version) = web
        .as_ref()
        .map(|web| (web.guid.clone(), web.version.clone()))
        .unzip();
    let now = clock::unix_micros();
    let expires = build.deadline / 1_000_000 + URL_SLACK;
    let cache = format!("caches/{}-{}.tgz", app.guid, build.stack);
    let url = |method: &http::Method, key: &str| shared.blobs.url(method, key, expires);
    // The operator's first, so that the user's may override them.
    let mut environment: BTreeMap<String, String> =
        shared.settings().environment("staging/environment");
    environment.extend(app.environment.0.clone());
    let mut application = launch::identity(
        shared,
        app,
        &names,
        &uris,
        version.as_deref(),
        (build.memory_mb, build.disk_mb),
    );
    application["process_id"] = process.into();
    application["process_type"] = WEB.into();
    environment.insert("VCAP_APPLICATION".to_string(), application.to_string());
    environment.insert("MEMORY_LIMIT".to_string(), format!("{}m", build.memory_mb));
    let seconds_left =
        u64::try_from(build.deadline.saturating_sub(now)).unwrap_or_default() / 1_000_000;
    Ok(StagingRequest {
        app_id: AppGuid::new(app.guid.clone()).map_err(invalid)?,
        task_id: TaskId::new(build.guid.clone()).map_err(invalid)?,
        stack: build.stack.clone(),
        properties: StagingProperties {
            services,
            environment: lines(&environment),
            buildpacks: build.buildpacks.0.clone(),
            start_command: web.and_then(|web| web.command),
        },
        download_uri: url(&http::Method::GET, &format!("packages/{package_sum}")),
        upload_uri: url(
            &http::Method::PUT,
            &format!("uploads/{}/droplet.tgz", build.guid),
        ),
        buildpack_cache_download_uri: Some(url(&http::Method::GET, &cache)),
        buildpack_cache_upload_uri: Some(url(&http::Method::PUT, &cache)),
        admin_buildpacks: offered_buildpacks(build, &offered, |key| url(&http::Method::GET, key))?,
        memory_limit: u64::try_from(build.memory_mb).unwrap_or_default(),
        disk_limit: u64::try_from(build.disk_mb).unwrap_or_default(),
        yard_dea: dea.clone(),
        yard_timeout: seconds_left.max(1),
        yard_package_sha256: Some(package_sum.to_string()),
        yard_epoch: Some(epoch),
    })
}

/// Those that a build may use, in the order of detection.
fn offered_buildpacks(
    build: &Build,
    rows: &[Buildpack],
    url: impl Fn(&str) -> String,
) -> Result<Vec<AdminBuildpack>, Stopped> {
    let of_stack = |row: &&Buildpack| row.stack.as_ref().is_none_or(|stack| *stack == build.stack);
    let offered: Vec<AdminBuildpack> = rows
        .iter()
        .filter(|row| row.enabled && row.is_ready())
        .filter(of_stack)
        .map(|row| AdminBuildpack {
            key: row.name.clone(),
            url: row.sha256.as_deref().map(|sum| url(&buildpacks::key(sum))),
            yard_sha256: row.sha256.clone(),
        })
        .collect();
    // None at all would mean to a stager that the controller knows nothing of buildpacks.
    let needs_one =
        build.buildpacks.is_empty() || !build.buildpacks.iter().all(|it| is_address(it));
    if offered.is_empty() && needs_one {
        return Err(failure(
            "NoAppDetectedError",
            format!(
                "An app was not successfully detected by any available buildpack: the cluster has none for the stack {} that is enabled",
                build.stack
            ),
        ));
    }
    Ok(offered)
}

/// Asks a stager; waits a while for one to be there.
async fn send(
    shared: &Shared,
    epoch: i64,
    build: &Build,
    request: &StagingRequest,
) -> Result<StagingReply, Stopped> {
    let topic = catalogue::stager(&shared.config.stager_queue);
    let started = tokio::time::Instant::now();
    let mut said = false;
    loop {
        if *shared.epoch.borrow() != Some(epoch) {
            return Err(Stopped::Abandoned(
                "another controller leads now".to_string(),
            ));
        }
        let error: BusError = match shared.bus.request(&topic, request, ANSWER).await {
            Ok(reply) => return Ok(reply),
            Err(error) => error,
        };
        let reason = match &error {
            BusError::NoResponders(_) => format!(
                "no stager is running: nobody listens on {}",
                topic.subject()
            ),
            BusError::Timeout { .. } => format!("no stager answers on {}", topic.subject()),
            BusError::Disconnected(_) => {
                "the message bus is away: nothing can be staged now".to_string()
            }
            other => format!("the stager could not be asked: {other}"),
        };
        let patience = match &error {
            BusError::Disconnected(_) => BUS_PATIENCE,
            BusError::NoResponders(_) | BusError::Timeout { .. } => PATIENCE,
            // It would fail the same way again.
            _ => Duration::ZERO,
        };
        if started.elapsed() >= patience {
            return Err(failure("StagerError", reason));
        }
        if !said {
            shared.log(
                &build.app_guid,
                SOURCE_STAGING,
                true,
                &format!("Waiting for a stager: {reason}"),
            );
            progress(shared, &build.guid, &format!("waits: {reason}"));
            said = true;
        }
        tokio::time::sleep(PAUSE).await;
    }
}
