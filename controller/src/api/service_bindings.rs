//! `/v3/service_credential_bindings`: which apps get the credentials of which services.

use super::extract::{Asked, Body, Caller};
use super::organizations::{MetadataChange, OnlyMetadata};
use super::service_instances::{self, last_operation};
use super::spaces::{One, included, these, with_included};
use super::{Answer, Api, apps, created, no_content, ok};
use crate::domain::access::Actor;
use crate::domain::times::rfc3339;
use crate::ops::Refusal;
use crate::ops::service_bindings::NewBinding;
use crate::store::service_bindings::ServiceBinding;
use axum::Router;
use axum::extract::{Path, State};
use axum::routing::get;
use proto::api::{
    Included, Link, Metadata, ServiceCredentialBinding, ServiceCredentialBindingDetails,
    ServiceCredentialBindingRelationships, ToOne,
};
use serde::Deserialize;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

pub fn routes() -> Router<Api> {
    Router::new()
        .route("/v3/service_credential_bindings", get(list).post(create))
        .route(
            "/v3/service_credential_bindings/{guid}",
            get(show).patch(update).delete(remove),
        )
        .route(
            "/v3/service_credential_bindings/{guid}/details",
            get(details),
        )
        .route(
            "/v3/service_credential_bindings/{guid}/parameters",
            get(parameters),
        )
}

fn present(api: &Api, row: ServiceBinding) -> ServiceCredentialBinding {
    let base = format!("{}/v3", api.ops.public_url);
    let own = format!("{base}/service_credential_bindings/{}", row.guid);
    let instance = format!("{base}/service_instances/{}", row.service_instance_guid);
    ServiceCredentialBinding {
        links: BTreeMap::from([
            ("self".to_string(), Link::to(own.clone())),
            ("details".to_string(), Link::to(format!("{own}/details"))),
            ("service_instance".to_string(), Link::to(instance)),
            (
                "app".to_string(),
                Link::to(format!("{base}/apps/{}", row.app_guid)),
            ),
        ]),
        last_operation: last_operation(row.created_at, row.updated_at, row.row_version),
        guid: row.guid,
        name: row.name,
        kind: "app".to_string(),
        created_at: rfc3339(row.created_at),
        updated_at: rfc3339(row.updated_at),
        metadata: Metadata {
            labels: row.labels.0,
            annotations: row.annotations.0,
        },
        relationships: ServiceCredentialBindingRelationships {
            app: ToOne::new(row.app_guid),
            service_instance: ToOne::new(row.service_instance_guid),
        },
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct New {
    #[serde(rename = "type")]
    kind: String,
    name: Option<String>,
    parameters: Option<Value>,
    strategy: Option<String>,
    metadata: Option<MetadataChange>,
    relationships: Relationships,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Relationships {
    service_instance: One,
    app: Option<One>,
}

impl New {
    fn binding(self) -> Result<NewBinding, Refusal> {
        match self.kind.as_str() {
            "app" => {}
            "key" => {
                return Refusal::unprocessable(
                    "Service credential bindings of type 'key' are not supported for user-provided service instances.",
                );
            }
            other => {
                return Refusal::unprocessable(format!(
                    "Type must be one of 'app', 'key', not '{other}'"
                ));
            }
        }
        let is_empty = |value: &Value| match value {
            Value::Null => true,
            Value::Object(map) => map.is_empty(),
            Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => false,
        };
        if self.parameters.is_some_and(|value| !is_empty(&value)) {
            return Refusal::unprocessable(
                "Binding parameters are not supported for user-provided service instances",
            );
        }
        if let Some(strategy) = self.strategy.filter(|strategy| strategy != "single") {
            return Refusal::unprocessable(format!(
                "Strategy '{strategy}' is not supported: an app is bound to a service once ('single')"
            ));
        }
        let Some(app) = self.relationships.app else {
            return Refusal::unprocessable("Relationships must name an app");
        };
        let metadata = self.metadata.unwrap_or_default();
        Ok(NewBinding {
            app: app.data.guid,
            instance: self.relationships.service_instance.data.guid,
            name: self.name,
            labels: metadata.labels,
            annotations: metadata.annotations,
        })
    }
}

const INCLUDES: &[&str] = &["app", "service_instance"];

async fn ends(
    api: &Api,
    actor: &Actor,
    include: &[String],
    rows: &[ServiceBinding],
) -> Result<Option<Included>, Refusal> {
    if include.is_empty() {
        return Ok(None);
    }
    let wants = |name: &str| include.iter().any(|wanted| wanted == name);
    let mut found = Included::default();
    if wants("app") {
        let guids: BTreeSet<String> = rows.iter().map(|row| row.app_guid.clone()).collect();
        let apps = api.ops.list_apps(actor, &these(&guids)).await?.rows;
        found.apps = apps
            .into_iter()
            .map(|row| apps::present(api, row))
            .collect();
    }
    if wants("service_instance") {
        let instances = rows.iter().map(|row| row.service_instance_guid.clone());
        found.service_instances = service_instances::named(api, actor, instances)
            .await?
            .into_iter()
            .map(|row| service_instances::present(api, row))
            .collect();
    }
    Ok(Some(found))
}

async fn list(State(api): State<Api>, Caller(actor): Caller, mut asked: Asked) -> Answer {
    let include = included(&mut asked, INCLUDES)?;
    let listing = api.ops.list_service_bindings(&actor, &asked.query).await?;
    let found = ends(&api, &actor, &include, &listing.rows).await?;
    let mut page = asked.document(listing, |row| present(&api, row));
    page.included = found;
    Ok(ok(page))
}

async fn show(
    State(api): State<Api>,
    Caller(actor): Caller,
    Path(guid): Path<String>,
    mut asked: Asked,
) -> Answer {
    let include = included(&mut asked, INCLUDES)?;
    let row = api.ops.service_binding(&actor, &guid).await?;
    let found = ends(&api, &actor, &include, std::slice::from_ref(&row)).await?;
    with_included(present(&api, row), found)
}

async fn create(State(api): State<Api>, Caller(actor): Caller, Body(wanted): Body<New>) -> Answer {
    let row = api
        .ops
        .create_service_binding(&actor, &wanted.binding()?)
        .await?;
    Ok(created(present(&api, row)))
}

async fn update(
    State(api): State<Api>,
    Caller(actor): Caller,
    Path(guid): Path<String>,
    Body(wanted): Body<OnlyMetadata>,
) -> Answer {
    let metadata = wanted.metadata.unwrap_or_default();
    let row = api
        .ops
        .update_service_binding(&actor, &guid, &metadata.labels, &metadata.annotations)
        .await?;
    Ok(ok(present(&api, row)))
}

async fn remove(State(api): State<Api>, Caller(actor): Caller, Path(guid): Path<String>) -> Answer {
    api.ops.delete_service_binding(&actor, &guid).await?;
    Ok(no_content())
}

async fn details(
    State(api): State<Api>,
    Caller(actor): Caller,
    Path(guid): Path<String>,
) -> Answer {
    Ok(ok(ServiceCredentialBindingDetails {
        credentials: api.ops.service_binding_credentials(&actor, &guid).await?,
        ..ServiceCredentialBindingDetails::default()
    }))
}

async fn parameters(
    State(api): State<Api>,
    Caller(actor): Caller,
    Path(guid): Path<String>,
) -> Answer {
    api.ops.service_binding(&actor, &guid).await?;
    Err(Refusal::BadRequest(
        "This service does not support fetching service binding parameters.".into(),
    ))
}
