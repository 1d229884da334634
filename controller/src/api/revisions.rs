//! `/v3/revisions`, and the revisions of an app.

use super::extract::{Asked, Body, Caller};
use super::organizations::OnlyMetadata;
use super::{Answer, Api, ok};
use crate::domain::times::rfc3339;
use crate::ops::HIDDEN;
use crate::ops::revisions::SeenRevision;
use axum::Router;
use axum::extract::{Path, State};
use axum::routing::get;
use proto::api::{GuidRef, Link, Metadata, RevisionProcess, RevisionRelationships, ToOne};
use serde_json::json;
use std::collections::BTreeMap;

pub fn routes() -> Router<Api> {
    Router::new()
        .route("/v3/apps/{guid}/revisions", get(list))
        .route("/v3/apps/{guid}/revisions/deployed", get(deployed))
        .route("/v3/revisions/{guid}", get(show).patch(update))
        .route(
            "/v3/revisions/{guid}/environment_variables",
            get(environment),
        )
}

fn present(api: &Api, seen: SeenRevision) -> proto::api::Revision {
    let base = format!("{}/v3", api.ops.public_url);
    let row = seen.revision;
    let own = format!("{base}/revisions/{}", row.guid);
    let links = BTreeMap::from([
        ("self".to_string(), Link::to(own.clone())),
        (
            "app".to_string(),
            Link::to(format!("{base}/apps/{}", row.app_guid)),
        ),
        (
            "environment_variables".to_string(),
            Link::to(format!("{own}/environment_variables")),
        ),
    ]);
    // Commands may hold passwords.
    let shown = |command: Option<String>| match command {
        Some(_) if !seen.with_commands => Some(HIDDEN.to_string()),
        command => command,
    };
    proto::api::Revision {
        guid: row.guid,
        version: u64::try_from(row.number).unwrap_or_default(),
        droplet: GuidRef {
            guid: row.droplet_guid,
        },
        processes: row
            .commands
            .0
            .into_iter()
            .map(|(kind, command)| {
                let command = shown(command);
                (kind, RevisionProcess { command })
            })
            .collect(),
        description: row.description,
        deployable: seen.deployable,
        relationships: RevisionRelationships {
            app: ToOne::new(row.app_guid),
        },
        created_at: rfc3339(row.created_at),
        updated_at: rfc3339(row.updated_at),
        metadata: Metadata {
            labels: row.labels.0,
            annotations: row.annotations.0,
        },
        links,
    }
}

async fn list(
    State(api): State<Api>,
    Caller(actor): Caller,
    Path(app): Path<String>,
    asked: Asked,
) -> Answer {
    let listing = api.ops.list_revisions(&actor, &app, &asked.query).await?;
    Ok(asked.page(listing, |row| present(&api, row)))
}

async fn deployed(
    State(api): State<Api>,
    Caller(actor): Caller,
    Path(app): Path<String>,
    asked: Asked,
) -> Answer {
    let listing = api
        .ops
        .deployed_revisions(&actor, &app, &asked.query)
        .await?;
    Ok(asked.page(listing, |row| present(&api, row)))
}

async fn show(State(api): State<Api>, Caller(actor): Caller, Path(guid): Path<String>) -> Answer {
    Ok(ok(present(&api, api.ops.revision(&actor, &guid).await?)))
}

async fn update(
    State(api): State<Api>,
    Caller(actor): Caller,
    Path(guid): Path<String>,
    Body(wanted): Body<OnlyMetadata>,
) -> Answer {
    let change = wanted.metadata.unwrap_or_default();
    let seen = api
        .ops
        .label_revision(&actor, &guid, &change.labels, &change.annotations)
        .await?;
    Ok(ok(present(&api, seen)))
}

async fn environment(
    State(api): State<Api>,
    Caller(actor): Caller,
    Path(guid): Path<String>,
) -> Answer {
    let revision = api.ops.environment_of_revision(&actor, &guid).await?;
    let own = format!("{}/v3/revisions/{guid}", api.ops.public_url);
    Ok(ok(json!({
        "var": revision.environment.0,
        "links": {
            "self": {"href": format!("{own}/environment_variables")},
            "revision": {"href": own},
            "app": {"href": format!("{}/v3/apps/{}", api.ops.public_url, revision.app_guid)},
        },
    })))
}
