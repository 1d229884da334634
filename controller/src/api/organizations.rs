//! `/v3/organizations`

use super::extract::{Asked, Body, Caller};
use super::{Answer, Api, accepted_job, created, ok};
use crate::domain::times::rfc3339;
use crate::ops::Refusal;
use crate::ops::organizations::PlaceSettings;
use crate::store::organizations::Organization;
use axum::Router;
use axum::extract::{Path, State};
use axum::routing::{delete, get};
use proto::api::{Link, Metadata};
use serde::Deserialize;
use serde_json::json;
use std::collections::BTreeMap;

pub fn routes() -> Router<Api> {
    Router::new()
        .route("/v3/organizations", get(list).post(create))
        .route(
            "/v3/organizations/{guid}",
            get(show).patch(update).delete(remove),
        )
        // Some clients write the slash.
        .route("/v3/organizations/{guid}/", delete(remove).patch(update))
        .route(
            "/v3/organizations/{guid}/relationships/default_isolation_segment",
            get(isolation_segment).patch(set_isolation_segment),
        )
}

pub(super) fn present(api: &Api, row: Organization) -> proto::api::Organization {
    let own = format!("{}/v3/organizations/{}", api.ops.public_url, row.guid);
    proto::api::Organization {
        links: BTreeMap::from([
            ("self".to_string(), Link::to(own.clone())),
            ("domains".to_string(), Link::to(format!("{own}/domains"))),
            (
                "default_domain".to_string(),
                Link::to(format!("{own}/domains/default")),
            ),
        ]),
        guid: row.guid,
        name: row.name,
        suspended: row.suspended,
        created_at: rfc3339(row.created_at),
        updated_at: rfc3339(row.updated_at),
        metadata: Metadata {
            labels: row.labels.0,
            annotations: row.annotations.0,
        },
        relationships: json!({"quota": {"data": {"guid": row.quota_guid}}}),
    }
}

/// Changes of labels and annotations; null takes one away.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct MetadataChange {
    pub labels: BTreeMap<String, Option<String>>,
    pub annotations: BTreeMap<String, Option<String>>,
}

/// The change of a thing of which nothing else changes.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OnlyMetadata {
    pub metadata: Option<MetadataChange>,
}

/// A relationship to nothing or to one thing that must not be there.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MaybeOne {
    pub data: Option<Guid>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Guid {
    pub guid: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    name: Option<String>,
    suspended: Option<bool>,
    metadata: Option<MetadataChange>,
}

impl Wanted {
    fn settings(self) -> Result<PlaceSettings, Refusal> {
        if self.suspended == Some(true) {
            return Refusal::unprocessable("Suspending an organization is not supported");
        }
        let metadata = self.metadata.unwrap_or_default();
        Ok(PlaceSettings {
            name: self.name,
            labels: metadata.labels,
            annotations: metadata.annotations,
        })
    }
}

async fn list(State(api): State<Api>, Caller(actor): Caller, asked: Asked) -> Answer {
    let listing = api.ops.list_organizations(&actor, &asked.query).await?;
    Ok(asked.page(listing, |row| present(&api, row)))
}

async fn show(State(api): State<Api>, Caller(actor): Caller, Path(guid): Path<String>) -> Answer {
    Ok(ok(present(
        &api,
        api.ops.organization(&actor, &guid).await?,
    )))
}

async fn create(
    State(api): State<Api>,
    Caller(actor): Caller,
    Body(wanted): Body<Wanted>,
) -> Answer {
    Ok(created(present(
        &api,
        api.ops
            .create_organization(&actor, &wanted.settings()?)
            .await?,
    )))
}

async fn update(
    State(api): State<Api>,
    Caller(actor): Caller,
    Path(guid): Path<String>,
    Body(wanted): Body<Wanted>,
) -> Answer {
    Ok(ok(present(
        &api,
        api.ops
            .update_organization(&actor, &guid, &wanted.settings()?)
            .await?,
    )))
}

async fn remove(State(api): State<Api>, Caller(actor): Caller, Path(guid): Path<String>) -> Answer {
    api.ops.delete_organization(&actor, &guid).await?;
    Ok(accepted_job(
        &api,
        &api.ops.record_job("organization.delete", None).await?,
    ))
}

async fn isolation_segment(
    State(api): State<Api>,
    Caller(actor): Caller,
    Path(guid): Path<String>,
) -> Answer {
    api.ops.organization(&actor, &guid).await?;
    Ok(ok(json!({"data": null})))
}

async fn set_isolation_segment(
    State(api): State<Api>,
    Caller(actor): Caller,
    Path(guid): Path<String>,
    Body(wanted): Body<MaybeOne>,
) -> Answer {
    api.ops.organization(&actor, &guid).await?;
    no_isolation_segment(&wanted)
}

/// Taking the segment away changes nothing; giving one is refused.
pub(super) fn no_isolation_segment(wanted: &MaybeOne) -> Answer {
    match &wanted.data {
        None => Ok(ok(json!({"data": null}))),
        Some(segment) => Refusal::unprocessable(format!(
            "Isolation segments are not supported: there is no segment '{}'",
            segment.guid
        )),
    }
}
