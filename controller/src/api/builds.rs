//! `/v3/builds`, and the builds of an app.

use super::apps::{LifecycleChange, no_metadata};
use super::extract::{Asked, Body, Caller};
use super::organizations::{Guid, MetadataChange};
use super::{Answer, Api, created, ok};
use crate::domain::times::rfc3339;
use crate::ops::builds::BuildRequest;
use crate::store::builds::Build;
use axum::Router;
use axum::extract::{Path, State};
use axum::routing::get;
use proto::api::{BuildRelationships, CreatedBy, GuidRef, Lifecycle, Link, Metadata, ToOne};
use serde::Deserialize;
use std::collections::BTreeMap;

pub fn routes() -> Router<Api> {
    Router::new()
        .route("/v3/builds", get(list).post(create))
        .route("/v3/builds/{guid}", get(show))
        .route("/v3/apps/{guid}/builds", get(list_of_app))
}

pub(super) fn present(api: &Api, row: Build) -> proto::api::Build {
    let base = format!("{}/v3", api.ops.public_url);
    let mut links = BTreeMap::from([
        (
            "self".to_string(),
            Link::to(format!("{base}/builds/{}", row.guid)),
        ),
        (
            "app".to_string(),
            Link::to(format!("{base}/apps/{}", row.app_guid)),
        ),
        (
            "package".to_string(),
            Link::to(format!("{base}/packages/{}", row.package_guid)),
        ),
    ]);
    if let Some(droplet) = &row.droplet_guid {
        links.insert(
            "droplet".to_string(),
            Link::to(format!("{base}/droplets/{droplet}")),
        );
    }
    // Clients recognise the kind at the beginning of the text.
    let error = match (row.error_type, row.error) {
        (Some(kind), Some(text)) => Some(format!("{kind} - {text}")),
        (kind, text) => kind.or(text),
    };
    proto::api::Build {
        guid: row.guid,
        state: row.state,
        error,
        staging_memory_in_mb: u64::try_from(row.memory_mb).ok(),
        staging_disk_in_mb: u64::try_from(row.disk_mb).ok(),
        lifecycle: Lifecycle::buildpack(row.buildpacks.0, row.stack),
        package: GuidRef {
            guid: row.package_guid,
        },
        droplet: row.droplet_guid.map(|guid| GuidRef { guid }),
        created_by: CreatedBy {
            guid: row.created_by_guid,
            name: row.created_by_name,
            email: String::new(),
        },
        created_at: rfc3339(row.created_at),
        updated_at: rfc3339(row.updated_at),
        metadata: Metadata::default(),
        relationships: BuildRelationships {
            app: ToOne::new(row.app_guid),
        },
        links,
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct New {
    package: Guid,
    lifecycle: Option<LifecycleChange>,
    staging_memory_in_mb: Option<u64>,
    staging_disk_in_mb: Option<u64>,
    metadata: Option<MetadataChange>,
}

async fn create(State(api): State<Api>, Caller(actor): Caller, Body(wanted): Body<New>) -> Answer {
    no_metadata("builds", wanted.metadata.as_ref())?;
    let lifecycle = wanted.lifecycle.unwrap_or_default().checked()?;
    let request = BuildRequest {
        package: wanted.package.guid,
        buildpacks: lifecycle.buildpacks,
        stack: lifecycle.stack,
        memory_mb: wanted.staging_memory_in_mb,
        disk_mb: wanted.staging_disk_in_mb,
    };
    Ok(created(present(
        &api,
        api.ops.create_build(&actor, &request).await?,
    )))
}

async fn show(State(api): State<Api>, Caller(actor): Caller, Path(guid): Path<String>) -> Answer {
    Ok(ok(present(&api, api.ops.build(&actor, &guid).await?)))
}

async fn list(State(api): State<Api>, Caller(actor): Caller, asked: Asked) -> Answer {
    let listing = api.ops.list_builds(&actor, None, &asked.query).await?;
    Ok(asked.page(listing, |row| present(&api, row)))
}

async fn list_of_app(
    State(api): State<Api>,
    Caller(actor): Caller,
    Path(app): Path<String>,
    asked: Asked,
) -> Answer {
    let listing = api
        .ops
        .list_builds(&actor, Some(&app), &asked.query)
        .await?;
    Ok(asked.page(listing, |row| present(&api, row)))
}
