//! `/v3/deployments`

use super::apps::no_metadata;
use super::extract::{Asked, Body, Caller};
use super::organizations::{Guid, MetadataChange};
use super::spaces::One;
use super::{Answer, Api, created, ok};
use crate::domain::times::rfc3339;
use crate::ops::Refusal;
use crate::store::deployments::Deployment;
use axum::Router;
use axum::extract::{Path, State};
use axum::routing::{get, post};
use proto::api::{
    DeploymentDetails, DeploymentOptions, DeploymentRelationships, DeploymentStatus, GuidRef, Link,
    Metadata, NewProcess, ToOne,
};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

pub fn routes() -> Router<Api> {
    Router::new()
        .route("/v3/deployments", get(list).post(create))
        .route("/v3/deployments/{guid}", get(show))
        .route("/v3/deployments/{guid}/actions/cancel", post(cancel))
        .route("/v3/deployments/{guid}/actions/continue", post(resume))
}

pub(super) fn present(api: &Api, row: Deployment) -> proto::api::Deployment {
    let base = format!("{}/v3", api.ops.public_url);
    let own = format!("{base}/deployments/{}", row.guid);
    let mut links = BTreeMap::from([
        ("self".to_string(), Link::to(own.clone())),
        (
            "app".to_string(),
            Link::to(format!("{base}/apps/{}", row.app_guid)),
        ),
    ]);
    if row.is_active() {
        links.insert(
            "cancel".to_string(),
            Link::post(format!("{own}/actions/cancel")),
        );
    }
    proto::api::Deployment {
        guid: row.guid,
        status: DeploymentStatus {
            value: row.status,
            reason: row.reason,
            details: DeploymentDetails {
                last_healthy_at: None,
                last_status_change: Some(rfc3339(row.updated_at)),
                error: row.error,
            },
        },
        strategy: row.strategy,
        options: DeploymentOptions {
            max_in_flight: u32::try_from(row.max_in_flight).ok(),
        },
        droplet: Some(GuidRef {
            guid: row.droplet_guid,
        }),
        previous_droplet: row.previous_droplet_guid.map(|guid| GuidRef { guid }),
        new_processes: vec![NewProcess {
            guid: row.new_process_guid,
            kind: "web".to_string(),
        }],
        created_at: rfc3339(row.created_at),
        updated_at: rfc3339(row.updated_at),
        metadata: Metadata::default(),
        relationships: DeploymentRelationships {
            app: ToOne::new(row.app_guid),
        },
        links,
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct New {
    strategy: Option<String>,
    droplet: Option<Guid>,
    revision: Option<Value>,
    options: Option<Options>,
    metadata: Option<MetadataChange>,
    relationships: Relationships,
}

/// Clients send null for what they do not mean.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Options {
    max_in_flight: Option<u32>,
    canary: Option<Value>,
    web_instances: Option<Value>,
    memory_in_mb: Option<Value>,
    disk_in_mb: Option<Value>,
    log_rate_limit_in_bytes_per_second: Option<Value>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Relationships {
    app: One,
}

/// How many instances may start at once; refuses what we cannot do.
fn check(wanted: &New, options: &Options) -> Result<u32, Refusal> {
    no_metadata("deployments", wanted.metadata.as_ref())?;
    if let Some(strategy) = wanted.strategy.as_deref()
        && strategy != "rolling"
    {
        return Refusal::unprocessable(format!(
            "Strategy '{strategy}' is not a supported deployment strategy: 'rolling' is"
        ));
    }
    if wanted.revision.is_some() {
        return Refusal::unprocessable("Revisions are not supported: name a droplet");
    }
    let given = [
        ("canary", &options.canary),
        ("web_instances", &options.web_instances),
        ("memory_in_mb", &options.memory_in_mb),
        ("disk_in_mb", &options.disk_in_mb),
        (
            "log_rate_limit_in_bytes_per_second",
            &options.log_rate_limit_in_bytes_per_second,
        ),
    ];
    if let Some((name, _)) = given.iter().find(|(_, value)| value.is_some()) {
        return Refusal::unprocessable(format!(
            "Options '{name}' is not supported: 'max_in_flight' is"
        ));
    }
    match options.max_in_flight.unwrap_or(1) {
        0 => Refusal::unprocessable("Options max in flight must be an integer greater than 0"),
        number => Ok(number),
    }
}

async fn create(
    State(api): State<Api>,
    Caller(actor): Caller,
    Body(mut wanted): Body<New>,
) -> Answer {
    let options = wanted.options.take().unwrap_or_default();
    let max_in_flight = check(&wanted, &options)?;
    let droplet = wanted.droplet.as_ref().map(|droplet| droplet.guid.as_str());
    let app = &wanted.relationships.app.data.guid;
    let row = api
        .ops
        .create_deployment(&actor, app, droplet, max_in_flight)
        .await?;
    Ok(created(present(&api, row)))
}

async fn list(State(api): State<Api>, Caller(actor): Caller, asked: Asked) -> Answer {
    let listing = api.ops.list_deployments(&actor, &asked.query).await?;
    Ok(asked.page(listing, |row| present(&api, row)))
}

async fn show(State(api): State<Api>, Caller(actor): Caller, Path(guid): Path<String>) -> Answer {
    Ok(ok(present(&api, api.ops.deployment(&actor, &guid).await?)))
}

async fn cancel(State(api): State<Api>, Caller(actor): Caller, Path(guid): Path<String>) -> Answer {
    Ok(ok(present(
        &api,
        api.ops.cancel_deployment(&actor, &guid).await?,
    )))
}

/// Only deployments that pause could be continued, and ours do not.
async fn resume(State(api): State<Api>, Caller(actor): Caller, Path(guid): Path<String>) -> Answer {
    let row = api.ops.deployment(&actor, &guid).await?;
    Refusal::unprocessable(format!(
        "Cannot continue a {} deployment: deployments here never pause",
        row.reason
    ))
}
