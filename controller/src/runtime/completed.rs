//! A staging's end is committed, once: the droplet's archive gets its place, the rows change, and
//! only then is the stager told that it may forget.
//!
//! Any controller may be told, and told again. The archive is moved before the rows are written: a
//! crash in between leaves the archive at its place, where the next report finds it.

use super::{LEADERSHIP, Shared, clock};
use crate::blobs::{BlobError, hex};
use crate::domain::times::rfc3339_micros;
use crate::store::apps::App;
use crate::store::audit_events::{self, By, On};
use crate::store::builds::{self, Build};
use crate::store::droplets::{self, Droplet};
use crate::store::sql::Connection;
use crate::store::{Json, StoreError, leadership, platform_events};
use automation::triggers::yard::{AppPlace, AppStaged, AppStagingFailed};
use daemon::Received;
use futures_util::StreamExt;
use proto::bus::staging::{
    Acknowledged, StagedDroplet, StagingCompleted, StagingError, StagingOutcome,
};
use proto::log::SOURCE_STAGING;
use sha2::Digest;
use tracing::{info, warn};

/// Why a report was not committed: it comes again.
#[derive(Debug, thiserror::Error)]
enum CommitError {
    #[error("the store did not take it")]
    Store(#[from] StoreError),
    #[error("the droplet could not be put in its place")]
    Blob(#[from] BlobError),
    #[error("the droplet could not be read")]
    Read(#[source] object_store::Error),
}

pub(super) async fn handle(shared: &Shared, received: Received<StagingCompleted>) {
    let build = received.message.task_id.clone();
    match commit(shared, &received.message).await {
        Ok(is_known) => {
            if !is_known {
                received.ignore("of no build", format_args!("the end of build {build}"));
            }
            shared.state().picture.pool.withdrawn(build.as_str());
            if let Err(error) = received.respond(&Acknowledged { ok: true }).await {
                warn!(%build, error = &error as &dyn std::error::Error, "the end of a staging could not be acknowledged");
            }
        }
        Err(error) => {
            warn!(%build, error = &error as &dyn std::error::Error, "the end of a staging could not be committed; it is told again");
        }
    }
}

/// Whether there was something to commit.
async fn commit(shared: &Shared, completed: &StagingCompleted) -> Result<bool, CommitError> {
    let guid = completed.task_id.as_str();
    let build = {
        let mut reader = shared.store.read().await?;
        Build::find(&mut reader, guid).await?
    };
    // Deleted with its app, or ended before: nothing left to say.
    let Some(build) = build.filter(Build::is_staging) else {
        return Ok(false);
    };
    let written = match &completed.outcome {
        StagingOutcome::Failed(error) => failed(shared, build, error, None).await,
        StagingOutcome::Staged(staged) => match place(shared, guid, staged).await? {
            Ok(()) => succeeded(shared, build, staged).await,
            Err(error) => failed(shared, build, &error, None).await,
        },
    };
    match written {
        // Somebody else ended it in this moment: the next report finds out.
        Err(StoreError::Stale { .. }) => Ok(true),
        other => Ok(other.map(|()| true)?),
    }
}

/// Moves the uploaded archive to its checksum's place, if it is what the stager says.
async fn place(
    shared: &Shared,
    build: &str,
    staged: &StagedDroplet,
) -> Result<Result<(), StagingError>, CommitError> {
    let upload = format!("uploads/{build}/droplet.tgz");
    let refused = |message: String| StagingError {
        kind: "StagerError".to_string(),
        message,
        last_lines: Vec::new(),
    };
    if staged.sha256.len() != 64 || !staged.sha256.chars().all(|c| c.is_ascii_hexdigit()) {
        return Ok(Err(refused(
            "the stager reported no checksum of the droplet".to_string(),
        )));
    }
    let target = format!("droplets/{}", staged.sha256);
    let Some((_, mut stream)) = shared.blobs.get(&upload).await? else {
        return Ok(match shared.blobs.size(&target).await? {
            Some(_) => Ok(()),
            None => Err(refused("the droplet was not uploaded".to_string())),
        });
    };
    let mut sum = sha2::Sha256::new();
    while let Some(piece) = stream.next().await {
        sum.update(&piece.map_err(CommitError::Read)?);
    }
    drop(stream);
    if hex(&sum.finalize()) != staged.sha256 {
        shared.blobs.delete(&upload).await?;
        return Ok(Err(refused("the droplet arrived damaged".to_string())));
    }
    shared.blobs.rename(&upload, &target).await?;
    Ok(Ok(()))
}

async fn succeeded(
    shared: &Shared,
    mut build: Build,
    staged: &StagedDroplet,
) -> Result<(), StoreError> {
    let now = clock::unix_micros();
    let droplet = Droplet {
        guid: uuid::Uuid::new_v4().to_string(),
        app_guid: build.app_guid.clone(),
        package_guid: Some(build.package_guid.clone()),
        build_guid: Some(build.guid.clone()),
        state: droplets::STAGED.to_string(),
        sha1: staged.sha1.clone(),
        sha256: staged.sha256.clone(),
        size_bytes: i64::try_from(staged.size_bytes).unwrap_or(i64::MAX),
        process_types: Json(staged.process_types.clone()),
        detected_buildpack: staged.detected_buildpack.clone(),
        buildpacks: Json(staged.buildpacks.clone()),
        stack: build.stack.clone(),
        created_at: now,
        updated_at: now,
    };
    let mut tx = shared.store.write("commit a droplet").await?;
    build.state = builds::STAGED.to_string();
    build.droplet_guid = Some(droplet.guid.clone());
    build.update(&mut tx, now).await?;
    droplet.insert(&mut tx).await?;
    audit(
        &mut tx,
        &build,
        "audit.app.build.staged",
        serde_json::json!({"droplet_guid": droplet.guid}),
        now,
    )
    .await?;
    if let Some(place) = place_of(&mut tx, &build).await? {
        let event = AppStaged {
            at: rfc3339_micros(now),
            place,
            build: build.guid.clone(),
            package: build.package_guid.clone(),
            droplet: droplet.guid.clone(),
            buildpack: Some(droplet.detected_buildpack.clone()).filter(|name| !name.is_empty()),
            duration_ms: duration_ms(build.created_at, now),
        };
        platform_events::tell(&mut tx, event, &build.app_guid, now).await?;
    }
    tx.commit().await?;
    metrics::counter!("controller_builds_total", "outcome" => "staged").increment(1);
    info!(
        build = build.guid,
        app = build.app_guid,
        droplet = droplet.guid,
        "a droplet is staged"
    );
    shared.log(&build.app_guid, SOURCE_STAGING, false, "Staging complete");
    Ok(())
}

/// Ends a build as failed, in rows and for the pusher. `epoch`: in the name of this leader; None: as
/// its stager told, which any controller may write down.
pub(super) async fn failed(
    shared: &Shared,
    mut build: Build,
    error: &StagingError,
    epoch: Option<i64>,
) -> Result<(), StoreError> {
    let now = clock::unix_micros();
    let mut tx = shared.store.write("record a failed build").await?;
    if let Some(epoch) = epoch {
        leadership::fence(&mut tx, LEADERSHIP, epoch).await?;
    }
    build.fail(&error.kind, &error.message);
    build.update(&mut tx, now).await?;
    let data = serde_json::json!({"error_type": error.kind, "error": error.message, "last_lines": error.last_lines});
    audit(&mut tx, &build, "audit.app.build.failed", data, now).await?;
    if let Some(place) = place_of(&mut tx, &build).await? {
        let event = AppStagingFailed {
            at: rfc3339_micros(now),
            place,
            build: build.guid.clone(),
            package: build.package_guid.clone(),
            error: error.message.clone(),
            duration_ms: duration_ms(build.created_at, now),
        };
        platform_events::tell(&mut tx, event, &build.app_guid, now).await?;
    }
    tx.commit().await?;
    metrics::counter!("controller_builds_total", "outcome" => "failed").increment(1);
    warn!(
        build = build.guid,
        app = build.app_guid,
        kind = error.kind,
        reason = error.message,
        "a build failed"
    );
    shared.log(
        &build.app_guid,
        SOURCE_STAGING,
        true,
        &format!("Staging failed: {}", error.message),
    );
    Ok(())
}

/// Milliseconds between two times in microseconds.
pub(super) fn duration_ms(from: i64, to: i64) -> u64 {
    u64::try_from(to.saturating_sub(from) / 1000).unwrap_or_default()
}

async fn place_of(
    connection: &mut Connection,
    build: &Build,
) -> Result<Option<AppPlace>, StoreError> {
    match App::find(connection, &build.app_guid).await? {
        Some(app) => platform_events::place(connection, &app).await,
        None => Ok(None),
    }
}

async fn audit(
    connection: &mut Connection,
    build: &Build,
    kind: &str,
    mut data: serde_json::Value,
    now: i64,
) -> Result<(), StoreError> {
    let Some(app) = App::find(connection, &build.app_guid).await? else {
        return Ok(());
    };
    let organization = super::launch::names(connection, &app)
        .await?
        .organization_guid;
    data["build_guid"] = build.guid.clone().into();
    data["package_guid"] = build.package_guid.clone().into();
    let by = By {
        guid: &build.created_by_guid,
        kind: "user",
        name: &build.created_by_name,
    };
    let on = On {
        guid: &app.guid,
        kind: "app",
        name: &app.name,
        space: Some(&app.space_guid),
        organization: Some(&organization),
    };
    audit_events::record(connection, kind, by, on, data, now).await
}
