//! `/v3/buildpacks`, and the upload of their archives.

use super::extract::{Asked, Body, Caller};
use super::organizations::MetadataChange;
use super::uploads::{self, Bits};
use super::{Answer, Api, accepted_job, accepted_job_with, created, ok};
use crate::domain::times::rfc3339;
use crate::ops::Refusal;
use crate::ops::buildpacks::{Archive, BuildpackSettings, LARGEST};
use crate::store::buildpacks::Buildpack;
use axum::Router;
use axum::extract::multipart::MultipartRejection;
use axum::extract::{DefaultBodyLimit, Multipart, Path, State};
use axum::routing::{get, post};
use proto::api::{Link, Metadata};
use serde::Deserialize;
use std::collections::BTreeMap;

const LIFECYCLE: &str = "buildpack";

const BITS: Bits = Bits {
    noun: "buildpack",
    setting: LARGEST,
    operation: "receiving a buildpack",
    fits: is_zip,
};

/// By its name: what is in it is looked at when it is there.
fn is_zip(name: &str) -> Result<(), Refusal> {
    if name.len() <= 255 && name.to_ascii_lowercase().ends_with(".zip") {
        return Ok(());
    }
    let shown: String = name.chars().take(80).collect();
    Refusal::unprocessable(format!(
        "Buildpacks are uploaded as .zip archives: '{shown}' is none by its name"
    ))
}

pub fn routes() -> Router<Api> {
    // The archive goes to disk and is bounded by a setting while it is received.
    let upload = post(upload).layer(DefaultBodyLimit::disable());
    Router::new()
        .route("/v3/buildpacks", get(list).post(create))
        .route("/v3/buildpacks/", post(create))
        .route(
            "/v3/buildpacks/{guid}",
            get(show).patch(update).delete(remove),
        )
        .route("/v3/buildpacks/{guid}/upload", upload)
}

fn present(api: &Api, row: Buildpack) -> proto::api::Buildpack {
    let own = format!("{}/v3/buildpacks/{}", api.ops.public_url, row.guid);
    let upload = Link::post(format!("{own}/upload"));
    proto::api::Buildpack {
        links: BTreeMap::from([
            ("self".to_string(), Link::to(own)),
            ("upload".to_string(), upload),
        ]),
        state: row.state().to_string(),
        guid: row.guid,
        created_at: rfc3339(row.created_at),
        updated_at: rfc3339(row.updated_at),
        name: row.name,
        stack: row.stack,
        position: row.position,
        lifecycle: LIFECYCLE.to_string(),
        enabled: row.enabled,
        locked: row.locked,
        filename: row.filename,
        metadata: Metadata {
            labels: row.labels.0,
            annotations: row.annotations.0,
        },
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    name: Option<String>,
    stack: Option<String>,
    position: Option<i64>,
    enabled: Option<bool>,
    locked: Option<bool>,
    lifecycle: Option<String>,
    metadata: Option<MetadataChange>,
}

impl Wanted {
    fn settings(self) -> Result<BuildpackSettings, Refusal> {
        if let Some(kind) = self.lifecycle.filter(|kind| kind != LIFECYCLE) {
            return Refusal::unprocessable(format!(
                "Lifecycle '{kind}' is not supported: '{LIFECYCLE}' is"
            ));
        }
        let metadata = self.metadata.unwrap_or_default();
        Ok(BuildpackSettings {
            name: self.name,
            stack: self.stack,
            position: self.position,
            enabled: self.enabled,
            locked: self.locked,
            labels: metadata.labels,
            annotations: metadata.annotations,
        })
    }
}

async fn list(State(api): State<Api>, _: Caller, asked: Asked) -> Answer {
    let listing = api.ops.list_buildpacks(&asked.query).await?;
    Ok(asked.page(listing, |row| present(&api, row)))
}

async fn show(State(api): State<Api>, _: Caller, Path(guid): Path<String>) -> Answer {
    Ok(ok(present(&api, api.ops.buildpack(&guid).await?)))
}

async fn create(
    State(api): State<Api>,
    Caller(actor): Caller,
    Body(wanted): Body<Wanted>,
) -> Answer {
    let settings = wanted.settings()?;
    let row = api.ops.create_buildpack(&actor, &settings).await?;
    Ok(created(present(&api, row)))
}

async fn update(
    State(api): State<Api>,
    Caller(actor): Caller,
    Path(guid): Path<String>,
    Body(wanted): Body<Wanted>,
) -> Answer {
    let settings = wanted.settings()?;
    let row = api.ops.update_buildpack(&actor, &guid, &settings).await?;
    Ok(ok(present(&api, row)))
}

async fn remove(State(api): State<Api>, Caller(actor): Caller, Path(guid): Path<String>) -> Answer {
    api.ops.delete_buildpack(&actor, &guid).await?;
    let job = api.ops.record_job("buildpack.delete", None).await?;
    Ok(accepted_job(&api, &job))
}

async fn upload(
    State(api): State<Api>,
    Caller(actor): Caller,
    Path(guid): Path<String>,
    multipart: Result<Multipart, MultipartRejection>,
) -> Answer {
    api.ops.may_upload_buildpack(&actor, &guid).await?;
    let multipart = multipart.map_err(|rejection| Refusal::BadRequest(rejection.body_text()))?;
    let received = uploads::only_bits(&api, multipart, &BITS).await?;
    let archive = Archive {
        folder: received.folder,
        zip: received.path,
        filename: received.name,
    };
    let ops = api.ops.clone();
    let work = async move { ops.finish_buildpack_upload(&actor, &guid, archive).await };
    let (row, job) = uploads::finish(&api, work, "upload the buildpack again").await?;
    Ok(accepted_job_with(&api, &job, present(&api, row)))
}
