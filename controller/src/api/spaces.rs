//! `/v3/spaces`

use super::extract::{Asked, Body, Caller};
use super::organizations::{self, Guid, MaybeOne, MetadataChange, no_isolation_segment};
use super::{Answer, Api, accepted_job, created, ok};
use crate::domain::access::Actor;
use crate::domain::times::rfc3339;
use crate::ops::Refusal;
use crate::ops::list::{ListQuery, Listing};
use crate::ops::organizations::PlaceSettings;
use crate::store::spaces::Space;
use axum::Router;
use axum::extract::{Path, State};
use axum::routing::get;
use proto::api::{GuidRef, Included, Link, Metadata, SpaceRelationships, ToOne};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

pub fn routes() -> Router<Api> {
    Router::new()
        .route("/v3/spaces", get(list).post(create))
        .route("/v3/spaces/{guid}", get(show).patch(update).delete(remove))
        .route(
            "/v3/spaces/{guid}/relationships/isolation_segment",
            get(isolation_segment).patch(set_isolation_segment),
        )
        .route(
            "/v3/spaces/{guid}/running_security_groups",
            get(security_groups),
        )
        .route(
            "/v3/spaces/{guid}/staging_security_groups",
            get(security_groups),
        )
        .route("/v3/spaces/{guid}/features", get(features))
        .route("/v3/spaces/{guid}/features/ssh", get(ssh).patch(set_ssh))
}

pub(super) fn present(api: &Api, row: Space) -> proto::api::Space {
    let base = format!("{}/v3", api.ops.public_url);
    let own = format!("{base}/spaces/{}", row.guid);
    proto::api::Space {
        links: BTreeMap::from([
            ("self".to_string(), Link::to(own.clone())),
            (
                "organization".to_string(),
                Link::to(format!("{base}/organizations/{}", row.organization_guid)),
            ),
            ("features".to_string(), Link::to(format!("{own}/features"))),
            (
                "apply_manifest".to_string(),
                Link::post(format!("{own}/actions/apply_manifest")),
            ),
        ]),
        guid: row.guid,
        name: row.name,
        created_at: rfc3339(row.created_at),
        updated_at: rfc3339(row.updated_at),
        metadata: Metadata {
            labels: row.labels.0,
            annotations: row.annotations.0,
        },
        relationships: SpaceRelationships {
            organization: ToOne::new(row.organization_guid),
            quota: ToOne {
                data: row.quota_guid.map(|guid| GuidRef { guid }),
            },
        },
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct New {
    name: Option<String>,
    relationships: Relationships,
    metadata: Option<MetadataChange>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Relationships {
    organization: One,
}

/// A relationship that must lead to something.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct One {
    pub data: Guid,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Change {
    name: Option<String>,
    metadata: Option<MetadataChange>,
}

fn settings(name: Option<String>, metadata: Option<MetadataChange>) -> PlaceSettings {
    let metadata = metadata.unwrap_or_default();
    PlaceSettings {
        name,
        labels: metadata.labels,
        annotations: metadata.annotations,
    }
}

/// The values of `include`, all of them among the known ones.
pub(super) fn included(asked: &mut Asked, known: &[&str]) -> Result<Vec<String>, Refusal> {
    let wanted = asked.take("include").unwrap_or_default();
    match wanted.iter().find(|name| !known.contains(&name.as_str())) {
        None => Ok(wanted),
        Some(other) => Err(Refusal::BadQuery(format!(
            "Invalid included resource: '{other}'. Valid included resources are: '{}'",
            known.join("', '")
        ))),
    }
}

/// Lists the rows of these guids that the actor sees.
pub(super) fn these(guids: &BTreeSet<String>) -> ListQuery {
    let guids: Vec<&str> = guids.iter().map(String::as_str).collect();
    ListQuery::all().with("guids", &guids)
}

/// The spaces of these guids, and their organizations, as far as asked for; whole, which is no harm to who wants
/// a part.
pub(super) async fn places(
    api: &Api,
    actor: &Actor,
    (wants_spaces, wants_organizations): (bool, bool),
    guids: &BTreeSet<String>,
) -> Result<Option<Included>, Refusal> {
    if !wants_spaces && !wants_organizations {
        return Ok(None);
    }
    let rows = api.ops.list_spaces(actor, &these(guids)).await?.rows;
    let mut found = Included::default();
    if wants_organizations {
        let guids = rows
            .iter()
            .map(|row| row.organization_guid.clone())
            .collect();
        found = with_organizations(api, actor, &guids).await?;
    }
    if wants_spaces {
        found.spaces = rows.into_iter().map(|row| present(api, row)).collect();
    }
    Ok(Some(found))
}

/// 200 with a document, and what was asked for beside it.
pub(super) fn with_included<T: serde::Serialize>(document: T, found: Option<Included>) -> Answer {
    let Some(found) = found else {
        return Ok(ok(document));
    };
    const PRESENTING: &str = "presenting what is included";
    let mut document = serde_json::to_value(document).map_err(Refusal::internal(PRESENTING))?;
    document["included"] = serde_json::to_value(found).map_err(Refusal::internal(PRESENTING))?;
    Ok(ok(document))
}

async fn list(State(api): State<Api>, Caller(actor): Caller, mut asked: Asked) -> Answer {
    let include = included(&mut asked, &["organization"])?;
    let listing = api.ops.list_spaces(&actor, &asked.query).await?;
    let guids: BTreeSet<String> = listing
        .rows
        .iter()
        .map(|row| row.organization_guid.clone())
        .collect();
    let mut page = asked.document(listing, |row| present(&api, row));
    if !include.is_empty() {
        page.included = Some(with_organizations(&api, &actor, &guids).await?);
    }
    Ok(ok(page))
}

async fn with_organizations(
    api: &Api,
    actor: &Actor,
    guids: &BTreeSet<String>,
) -> Result<Included, Refusal> {
    let rows = api.ops.list_organizations(actor, &these(guids)).await?.rows;
    let organizations = rows
        .into_iter()
        .map(|row| organizations::present(api, row))
        .collect();
    Ok(Included {
        organizations,
        ..Included::default()
    })
}

async fn show(State(api): State<Api>, Caller(actor): Caller, Path(guid): Path<String>) -> Answer {
    Ok(ok(present(&api, api.ops.space(&actor, &guid).await?)))
}

async fn create(State(api): State<Api>, Caller(actor): Caller, Body(new): Body<New>) -> Answer {
    let organization = new.relationships.organization.data.guid;
    let space = api
        .ops
        .create_space(&actor, &organization, &settings(new.name, new.metadata))
        .await?;
    Ok(created(present(&api, space)))
}

async fn update(
    State(api): State<Api>,
    Caller(actor): Caller,
    Path(guid): Path<String>,
    Body(change): Body<Change>,
) -> Answer {
    let space = api
        .ops
        .update_space(&actor, &guid, &settings(change.name, change.metadata))
        .await?;
    Ok(ok(present(&api, space)))
}

async fn remove(State(api): State<Api>, Caller(actor): Caller, Path(guid): Path<String>) -> Answer {
    api.ops.delete_space(&actor, &guid).await?;
    Ok(accepted_job(
        &api,
        &api.ops.record_job("space.delete", None).await?,
    ))
}

async fn isolation_segment(
    State(api): State<Api>,
    Caller(actor): Caller,
    Path(guid): Path<String>,
) -> Answer {
    api.ops.space(&actor, &guid).await?;
    Ok(ok(json!({"data": null})))
}

async fn set_isolation_segment(
    State(api): State<Api>,
    Caller(actor): Caller,
    Path(guid): Path<String>,
    Body(wanted): Body<MaybeOne>,
) -> Answer {
    api.ops.space(&actor, &guid).await?;
    no_isolation_segment(&wanted)
}

async fn security_groups(
    State(api): State<Api>,
    Caller(actor): Caller,
    Path(guid): Path<String>,
    asked: Asked,
) -> Answer {
    api.ops.space(&actor, &guid).await?;
    Ok(asked.page(
        Listing {
            rows: Vec::<Value>::new(),
            total: 0,
        },
        |row| row,
    ))
}

fn ssh_feature(space: &Space) -> Value {
    json!({
        "name": "ssh",
        "description": "Enable SSHing into apps in the space.",
        "enabled": space.ssh_allowed,
    })
}

async fn features(
    State(api): State<Api>,
    Caller(actor): Caller,
    Path(guid): Path<String>,
) -> Answer {
    let space = api.ops.space(&actor, &guid).await?;
    Ok(ok(json!({"features": [ssh_feature(&space)]})))
}

async fn ssh(State(api): State<Api>, Caller(actor): Caller, Path(guid): Path<String>) -> Answer {
    let space = api.ops.space(&actor, &guid).await?;
    Ok(ok(ssh_feature(&space)))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Feature {
    enabled: bool,
}

async fn set_ssh(
    State(api): State<Api>,
    Caller(actor): Caller,
    Path(guid): Path<String>,
    Body(feature): Body<Feature>,
) -> Answer {
    let space = api
        .ops
        .switch_ssh_of_space(&actor, &guid, feature.enabled)
        .await?;
    Ok(ok(ssh_feature(&space)))
}
