//! `/v3/droplets`, and the droplets of an app or a package.

use super::extract::{Asked, Body, Caller};
use super::spaces::One;
use super::uploads::{self, Bits, copied_from};
use super::{Answer, Api, accepted_job_with, created, downloads, ok};
use crate::domain::manifest::is_process_type;
use crate::domain::times::rfc3339;
use crate::ops::droplets::{Archive, Of, SeenDroplet};
use crate::ops::{HIDDEN, HIDDEN_IN_LISTS, Refusal};
use crate::store::droplets::{AWAITING_UPLOAD, Droplet};
use axum::Router;
use axum::extract::multipart::MultipartRejection;
use axum::extract::{DefaultBodyLimit, Multipart, Path, RawQuery, State};
use axum::routing::{get, post};
use proto::api::{
    Checksum, DropletBuildpack, DropletRelationships, Lifecycle, Link, Metadata, ToOne,
};
use serde::Deserialize;
use std::collections::BTreeMap;

const BITS: Bits = Bits {
    noun: "droplet",
    // As it bounds what a staging makes.
    setting: "staging/disk",
    operation: "receiving a droplet",
    fits: |_| Ok(()),
};

pub fn routes() -> Router<Api> {
    // The bits go to disk and are bounded by a setting while they are received.
    let upload = post(upload).layer(DefaultBodyLimit::disable());
    Router::new()
        .route("/v3/droplets", get(list).post(create))
        .route("/v3/droplets/{guid}", get(show))
        .route("/v3/droplets/{guid}/upload", upload)
        .route("/v3/droplets/{guid}/download", get(download))
        .route("/v3/apps/{guid}/droplets", get(list_of_app))
        .route("/v3/apps/{guid}/droplets/current", get(current))
        .route("/v3/packages/{guid}/droplets", get(list_of_package))
}

pub(super) fn present(api: &Api, row: Droplet) -> proto::api::Droplet {
    let base = format!("{}/v3", api.ops.public_url);
    let app = format!("{base}/apps/{}", row.app_guid);
    let mut links = BTreeMap::from([
        (
            "self".to_string(),
            Link::to(format!("{base}/droplets/{}", row.guid)),
        ),
        (
            "assign_current_droplet".to_string(),
            Link {
                method: Some("PATCH".into()),
                ..Link::to(format!("{app}/relationships/current_droplet"))
            },
        ),
        ("app".to_string(), Link::to(app)),
    ]);
    let own = format!("{base}/droplets/{}", row.guid);
    match row.state.as_str() {
        AWAITING_UPLOAD => links.insert("upload".to_string(), Link::post(format!("{own}/upload"))),
        _ => links.insert("download".to_string(), Link::to(format!("{own}/download"))),
    };
    if let Some(package) = &row.package_guid {
        links.insert(
            "package".to_string(),
            Link::to(format!("{base}/packages/{package}")),
        );
    }
    let buildpacks: Vec<DropletBuildpack> = row
        .buildpacks
        .0
        .into_iter()
        .map(|used| DropletBuildpack {
            buildpack_name: Some(used.name.clone()),
            name: used.name,
            detect_output: Some(used.detect_output).filter(|text| !text.is_empty()),
            version: Some(used.version).filter(|text| !text.is_empty()),
        })
        .collect();
    proto::api::Droplet {
        guid: row.guid,
        state: row.state,
        error: None,
        lifecycle: Lifecycle::buildpack(
            buildpacks.iter().map(|used| used.name.clone()).collect(),
            row.stack.clone(),
        ),
        execution_metadata: String::new(),
        process_types: row.process_types.0,
        checksum: Checksum {
            kind: "sha256".into(),
            value: Some(row.sha256).filter(|sum| !sum.is_empty()),
        },
        buildpacks,
        stack: Some(row.stack),
        image: None,
        created_at: rfc3339(row.created_at),
        updated_at: rfc3339(row.updated_at),
        metadata: Metadata::default(),
        relationships: DropletRelationships {
            app: ToOne::new(row.app_guid),
        },
        links,
    }
}

/// Without the start commands, which may hold passwords.
fn hidden(mut document: proto::api::Droplet, instead: &str) -> proto::api::Droplet {
    document.execution_metadata = instead.to_string();
    document.process_types =
        BTreeMap::from([("redacted_message".to_string(), instead.to_string())]);
    document
}

fn present_one(api: &Api, seen: SeenDroplet) -> proto::api::Droplet {
    let document = present(api, seen.droplet);
    if seen.with_secrets {
        document
    } else {
        hidden(document, HIDDEN)
    }
}

async fn listed(api: &Api, caller: Caller, of: Of<'_>, asked: Asked) -> Answer {
    let listing = api.ops.list_droplets(&caller.0, of, &asked.query).await?;
    Ok(asked.page(listing, |row| hidden(present(api, row), HIDDEN_IN_LISTS)))
}

async fn list(State(api): State<Api>, caller: Caller, asked: Asked) -> Answer {
    listed(&api, caller, Of::Everything, asked).await
}

async fn list_of_app(
    State(api): State<Api>,
    caller: Caller,
    Path(app): Path<String>,
    asked: Asked,
) -> Answer {
    listed(&api, caller, Of::App(&app), asked).await
}

async fn list_of_package(
    State(api): State<Api>,
    caller: Caller,
    Path(package): Path<String>,
    asked: Asked,
) -> Answer {
    listed(&api, caller, Of::Package(&package), asked).await
}

async fn show(State(api): State<Api>, Caller(actor): Caller, Path(guid): Path<String>) -> Answer {
    Ok(ok(present_one(&api, api.ops.droplet(&actor, &guid).await?)))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct New {
    relationships: Relationships,
    process_types: Option<BTreeMap<String, String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Relationships {
    app: One,
}

async fn create(
    State(api): State<Api>,
    Caller(actor): Caller,
    RawQuery(query): RawQuery,
    Body(wanted): Body<New>,
) -> Answer {
    let app = &wanted.relationships.app.data.guid;
    let processes = wanted.process_types;
    if let Some(kind) = processes
        .iter()
        .flat_map(BTreeMap::keys)
        .find(|kind| !is_process_type(kind))
    {
        return Refusal::unprocessable(format!("Process types: '{kind}' is none"));
    }
    let row = match copied_from(query.as_deref())? {
        Some(_) if processes.is_some() => {
            return Refusal::unprocessable(
                "Process types are those of the source droplet: leave them out",
            );
        }
        Some(source) => api.ops.copy_droplet(&actor, app, source).await?,
        None => {
            let processes = processes.unwrap_or_default();
            api.ops.create_droplet(&actor, app, processes).await?
        }
    };
    Ok(created(present(&api, row)))
}

async fn upload(
    State(api): State<Api>,
    Caller(actor): Caller,
    Path(guid): Path<String>,
    multipart: Result<Multipart, MultipartRejection>,
) -> Answer {
    api.ops.may_upload_droplet(&actor, &guid).await?;
    let multipart = multipart.map_err(|rejection| Refusal::BadRequest(rejection.body_text()))?;
    let received = uploads::only_bits(&api, multipart, &BITS).await?;
    let archive = Archive {
        folder: received.folder,
        path: received.path,
    };
    let ops = api.ops.clone();
    let work = async move { ops.finish_droplet_upload(&actor, &guid, archive).await };
    let (row, job) = uploads::finish(&api, work, "create a new droplet and upload again").await?;
    Ok(accepted_job_with(&api, &job, present(&api, row)))
}

async fn download(
    State(api): State<Api>,
    Caller(actor): Caller,
    Path(guid): Path<String>,
) -> Answer {
    let key = api.ops.download_droplet(&actor, &guid).await?;
    downloads::send(&api, &key, &format!("{guid}.tgz"), "Droplet bits").await
}

async fn current(State(api): State<Api>, Caller(actor): Caller, Path(app): Path<String>) -> Answer {
    Ok(ok(present_one(
        &api,
        api.ops.current_droplet(&actor, &app).await?,
    )))
}
