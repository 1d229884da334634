//! `/v3/service_instances`: services that users provide themselves. Those of brokers (`managed`) there are
//! none, nor plans to make them of.

use super::extract::{Asked, Body, Caller};
use super::organizations::MetadataChange;
use super::processes::nullable;
use super::spaces::{One, places, these, with_included};
use super::{Answer, Api, created, no_content, ok};
use crate::domain::access::{Action, Actor};
use crate::domain::times::rfc3339;
use crate::ops::service_instances::ServiceSettings;
use crate::ops::{Refusal, sees_secrets, space_for};
use crate::store::service_instances::ServiceInstance;
use axum::Router;
use axum::extract::{Path, State};
use axum::routing::get;
use proto::api::{LastOperation, Link, Metadata, ServiceInstanceRelationships, ToOne};
use proto::services::USER_PROVIDED;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

pub fn routes() -> Router<Api> {
    Router::new()
        .route("/v3/service_instances", get(list).post(create))
        .route(
            "/v3/service_instances/{guid}",
            get(show).patch(update).delete(remove),
        )
        .route("/v3/service_instances/{guid}/credentials", get(credentials))
        .route("/v3/service_instances/{guid}/parameters", get(parameters))
        .route("/v3/service_instances/{guid}/permissions", get(permissions))
        .route(
            "/v3/service_instances/{guid}/relationships/shared_spaces",
            get(shared_spaces).post(share),
        )
        .route(
            "/v3/service_instances/{guid}/relationships/shared_spaces/usage_summary",
            get(usage_of_shared_spaces),
        )
}

/// Nothing of a user-provided service takes time.
pub(super) fn last_operation(created_at: i64, updated_at: i64, row_version: i64) -> LastOperation {
    let kind = if row_version > 1 { "update" } else { "create" };
    LastOperation {
        kind: kind.to_string(),
        state: "succeeded".to_string(),
        description: Some("Operation succeeded".to_string()),
        created_at: rfc3339(created_at),
        updated_at: rfc3339(updated_at),
    }
}

pub(super) fn present(api: &Api, row: ServiceInstance) -> proto::api::ServiceInstance {
    let base = format!("{}/v3", api.ops.public_url);
    let own = format!("{base}/service_instances/{}", row.guid);
    let bindings = format!(
        "{base}/service_credential_bindings?service_instance_guids={}",
        row.guid
    );
    proto::api::ServiceInstance {
        links: BTreeMap::from([
            ("self".to_string(), Link::to(own.clone())),
            (
                "space".to_string(),
                Link::to(format!("{base}/spaces/{}", row.space_guid)),
            ),
            (
                "credentials".to_string(),
                Link::to(format!("{own}/credentials")),
            ),
            (
                "service_credential_bindings".to_string(),
                Link::to(bindings),
            ),
            (
                "service_route_bindings".to_string(),
                Link::to(format!(
                    "{base}/service_route_bindings?service_instance_guids={}",
                    row.guid
                )),
            ),
        ]),
        last_operation: last_operation(row.created_at, row.updated_at, row.row_version),
        guid: row.guid,
        name: row.name,
        kind: USER_PROVIDED.to_string(),
        tags: row.tags.0,
        syslog_drain_url: None,
        route_service_url: row.route_service_url,
        created_at: rfc3339(row.created_at),
        updated_at: rfc3339(row.updated_at),
        metadata: Metadata {
            labels: row.labels.0,
            annotations: row.annotations.0,
        },
        relationships: ServiceInstanceRelationships {
            space: ToOne::new(row.space_guid),
        },
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct New {
    #[serde(rename = "type")]
    kind: String,
    name: Option<String>,
    credentials: Option<Map<String, Value>>,
    syslog_drain_url: Option<String>,
    route_service_url: Option<String>,
    tags: Option<Vec<String>>,
    parameters: Option<Value>,
    metadata: Option<MetadataChange>,
    relationships: Relationships,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Relationships {
    space: One,
    service_plan: Option<One>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Change {
    name: Option<String>,
    /// Null takes all of them away.
    #[serde(deserialize_with = "nullable")]
    credentials: Option<Option<Map<String, Value>>>,
    syslog_drain_url: Option<String>,
    route_service_url: Option<String>,
    tags: Option<Vec<String>>,
    metadata: Option<MetadataChange>,
}

/// Those of these guids that the actor sees.
pub(super) async fn named(
    api: &Api,
    actor: &Actor,
    guids: impl Iterator<Item = String>,
) -> Result<Vec<ServiceInstance>, Refusal> {
    let guids: BTreeSet<String> = guids.collect();
    if guids.is_empty() {
        return Ok(Vec::new());
    }
    let query = these(&guids);
    Ok(api.ops.list_service_instances(actor, &query).await?.rows)
}

/// What a service could do beyond what it does. Empty means that it does not.
fn no_drain(url: Option<&str>) -> Result<(), Refusal> {
    match url {
        None | Some("") => Ok(()),
        Some(_) => Refusal::unprocessable("Syslog drain url is not supported yet"),
    }
}

/// Empty is none.
fn route_service(url: Option<String>) -> Option<Option<String>> {
    url.map(|url| Some(url).filter(|url| !url.is_empty()))
}

impl New {
    fn settings(self) -> Result<ServiceSettings, Refusal> {
        match self.kind.as_str() {
            USER_PROVIDED => {}
            "managed" => {
                return Refusal::unprocessable(
                    "Invalid service plan. Ensure that the service plan exists, is available, and you have access to it.",
                );
            }
            other => {
                return Refusal::unprocessable(format!(
                    "Type must be one of 'managed', 'user-provided', not '{other}'"
                ));
            }
        }
        if self.parameters.is_some_and(|value| !value.is_null())
            || self.relationships.service_plan.is_some()
        {
            return Refusal::unprocessable(
                "Parameters and service plan are of managed services: a user-provided one has credentials",
            );
        }
        no_drain(self.syslog_drain_url.as_deref())?;
        let metadata = self.metadata.unwrap_or_default();
        Ok(ServiceSettings {
            name: self.name,
            credentials: self.credentials,
            tags: self.tags,
            route_service_url: route_service(self.route_service_url),
            labels: metadata.labels,
            annotations: metadata.annotations,
        })
    }
}

/// What `fields[…]` may ask for. Plans and offerings are of managed services: nothing of them is found.
const FIELDS: [&str; 5] = [
    "fields[space]",
    "fields[space.organization]",
    "fields[service_plan]",
    "fields[service_plan.service_offering]",
    "fields[service_plan.service_offering.service_broker]",
];

/// Whether spaces, and organizations, are to be included.
fn wanted_places(asked: &mut Asked) -> (bool, bool) {
    let [spaces, organizations, ..] = FIELDS.map(|name| asked.take(name).is_some());
    (spaces, organizations)
}

async fn list(State(api): State<Api>, Caller(actor): Caller, mut asked: Asked) -> Answer {
    let wanted = wanted_places(&mut asked);
    let listing = api.ops.list_service_instances(&actor, &asked.query).await?;
    let guids = listing
        .rows
        .iter()
        .map(|row| row.space_guid.clone())
        .collect();
    let mut page = asked.document(listing, |row| present(&api, row));
    page.included = places(&api, &actor, wanted, &guids).await?;
    Ok(ok(page))
}

async fn show(
    State(api): State<Api>,
    Caller(actor): Caller,
    Path(guid): Path<String>,
    mut asked: Asked,
) -> Answer {
    let wanted = wanted_places(&mut asked);
    let (row, space) = api.ops.service_instance(&actor, &guid).await?;
    let found = places(&api, &actor, wanted, &BTreeSet::from([space.guid])).await?;
    with_included(present(&api, row), found)
}

async fn create(State(api): State<Api>, Caller(actor): Caller, Body(wanted): Body<New>) -> Answer {
    let space = wanted.relationships.space.data.guid.clone();
    let row = api
        .ops
        .create_service_instance(&actor, &space, &wanted.settings()?)
        .await?;
    Ok(created(present(&api, row)))
}

async fn update(
    State(api): State<Api>,
    Caller(actor): Caller,
    Path(guid): Path<String>,
    Body(wanted): Body<Change>,
) -> Answer {
    no_drain(wanted.syslog_drain_url.as_deref())?;
    let metadata = wanted.metadata.unwrap_or_default();
    let settings = ServiceSettings {
        name: wanted.name,
        credentials: wanted.credentials.map(Option::unwrap_or_default),
        tags: wanted.tags,
        route_service_url: route_service(wanted.route_service_url),
        labels: metadata.labels,
        annotations: metadata.annotations,
    };
    let row = api
        .ops
        .update_service_instance(&actor, &guid, &settings)
        .await?;
    Ok(ok(present(&api, row)))
}

async fn remove(State(api): State<Api>, Caller(actor): Caller, Path(guid): Path<String>) -> Answer {
    api.ops.delete_service_instance(&actor, &guid).await?;
    Ok(no_content())
}

async fn credentials(
    State(api): State<Api>,
    Caller(actor): Caller,
    Path(guid): Path<String>,
) -> Answer {
    Ok(ok(api.ops.service_credentials(&actor, &guid).await?))
}

async fn parameters(
    State(api): State<Api>,
    Caller(actor): Caller,
    Path(guid): Path<String>,
) -> Answer {
    api.ops.service_instance(&actor, &guid).await?;
    Err(Refusal::BadRequest(
        "This service does not support fetching service instance parameters.".into(),
    ))
}

async fn permissions(
    State(api): State<Api>,
    Caller(actor): Caller,
    Path(guid): Path<String>,
) -> Answer {
    let (_, space) = api.ops.service_instance(&actor, &guid).await?;
    let sees = sees_secrets(&actor, &space);
    Ok(ok(json!({"read": true, "manage": sees})))
}

async fn shared_spaces(
    State(api): State<Api>,
    Caller(actor): Caller,
    Path(guid): Path<String>,
) -> Answer {
    api.ops.service_instance(&actor, &guid).await?;
    let own = format!(
        "{}/v3/service_instances/{guid}/relationships/shared_spaces",
        api.ops.public_url
    );
    Ok(ok(json!({"data": [], "links": {"self": {"href": own}}})))
}

async fn usage_of_shared_spaces(
    State(api): State<Api>,
    Caller(actor): Caller,
    Path(guid): Path<String>,
) -> Answer {
    api.ops.service_instance(&actor, &guid).await?;
    Ok(ok(json!({"usage_summary": [], "links": {}})))
}

async fn share(State(api): State<Api>, Caller(actor): Caller, Path(guid): Path<String>) -> Answer {
    let (row, _) = api.ops.service_instance(&actor, &guid).await?;
    let mut reader = api.ops.store.read().await?;
    space_for(
        &mut reader,
        &actor,
        Action::Develop,
        &row.space_guid,
        "Service instance",
    )
    .await?;
    Refusal::unprocessable("User-provided services cannot be shared")
}
