//! `/v3/deployments`

use super::apps::no_metadata;
use super::extract::{Asked, Body, Caller};
use super::organizations::{Guid, MetadataChange};
use super::spaces::One;
use super::{Answer, Api, created, ok};
use crate::domain::times::rfc3339;
use crate::ops::Refusal;
use crate::ops::deployments::{Brings, NewDeployment};
use crate::store::deployments::{self, Deployment};
use axum::Router;
use axum::extract::{Path, State};
use axum::routing::{get, post};
use proto::api::{
    CanaryOptions, CanaryProgress, CanaryStatus, CanaryStep, DeployedRevision, DeploymentDetails,
    DeploymentOptions, DeploymentRelationships, DeploymentStatus, GuidRef, Link, Metadata,
    NewProcess, Scale, ToOne,
};
use serde::Deserialize;
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
    let total = u32::try_from(row.stops().len()).unwrap_or(u32::MAX);
    if row.reason == deployments::PAUSED {
        links.insert(
            "continue".to_string(),
            Link::post(format!("{own}/actions/continue")),
        );
    }
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
            canary: (total > 0).then(|| CanaryStatus {
                steps: CanaryProgress {
                    current: u32::try_from(row.stops_passed + 1)
                        .unwrap_or(total)
                        .min(total),
                    total,
                },
            }),
        },
        strategy: row.strategy,
        options: DeploymentOptions {
            max_in_flight: u32::try_from(row.max_in_flight).ok(),
            canary: (!row.weights.is_empty()).then(|| CanaryOptions {
                steps: row
                    .weights
                    .iter()
                    .map(|weight| CanaryStep {
                        instance_weight: *weight,
                    })
                    .collect(),
            }),
            web_instances: row.options.instances,
            memory_in_mb: row.options.memory_in_mb,
            disk_in_mb: row.options.disk_in_mb,
            log_rate_limit_in_bytes_per_second: row.options.log_rate_limit_in_bytes_per_second,
        },
        revision: row
            .revision_guid
            .zip(row.revision_number)
            .map(|(guid, number)| DeployedRevision {
                guid,
                version: u64::try_from(number).unwrap_or_default(),
            }),
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
    revision: Option<Guid>,
    options: Option<Options>,
    metadata: Option<MetadataChange>,
    relationships: Relationships,
}

/// Clients send null for what they do not mean.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Options {
    max_in_flight: Option<u32>,
    canary: Option<CanaryOptions>,
    web_instances: Option<u32>,
    memory_in_mb: Option<u64>,
    disk_in_mb: Option<u64>,
    log_rate_limit_in_bytes_per_second: Option<i64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Relationships {
    app: One,
}

/// Where a canary pauses: percents that grow.
fn weights(canary: Option<CanaryOptions>) -> Result<Vec<u32>, Refusal> {
    let steps = canary.unwrap_or_default().steps;
    let weights: Vec<u32> = steps.iter().map(|step| step.instance_weight).collect();
    if weights.iter().any(|weight| !(1..=100).contains(weight)) {
        return Refusal::unprocessable(
            "Options canary steps instance weight must be an integer between 1 and 100 (inclusive)",
        );
    }
    if !weights.is_sorted() {
        return Refusal::unprocessable(
            "Options canary steps instance weight must be sorted in ascending order",
        );
    }
    Ok(weights)
}

/// Refuses what we cannot do.
fn checked(wanted: New) -> Result<(String, NewDeployment), Refusal> {
    no_metadata("deployments", wanted.metadata.as_ref())?;
    let options = wanted.options.unwrap_or_default();
    let weights = match wanted.strategy.as_deref() {
        Some(deployments::CANARY) => Some(weights(options.canary)?),
        Some(deployments::ROLLING) | None if options.canary.is_some() => {
            return Refusal::unprocessable("Options canary are only valid for Canary deployments");
        }
        Some(deployments::ROLLING) | None => None,
        Some(other) => {
            return Refusal::unprocessable(format!(
                "Strategy '{other}' is not a supported deployment strategy: 'rolling' and 'canary' are"
            ));
        }
    };
    let brings = match (wanted.droplet, wanted.revision) {
        (Some(_), Some(_)) => {
            return Refusal::unprocessable(
                "Cannot set both fields 'droplet' and 'revision': name one of them",
            );
        }
        (Some(droplet), None) => Brings::Droplet(droplet.guid),
        (None, Some(revision)) => Brings::Revision(revision.guid),
        (None, None) => Brings::Same,
    };
    let max_in_flight = match options.max_in_flight.unwrap_or(1) {
        0 => {
            return Refusal::unprocessable(
                "Options max in flight must be an integer greater than 0",
            );
        }
        number => number,
    };
    let sizes = Scale {
        instances: options.web_instances,
        memory_in_mb: options.memory_in_mb,
        disk_in_mb: options.disk_in_mb,
        log_rate_limit_in_bytes_per_second: options.log_rate_limit_in_bytes_per_second,
        ..Scale::default()
    };
    let new = NewDeployment {
        brings,
        max_in_flight,
        weights,
        sizes,
    };
    Ok((wanted.relationships.app.data.guid, new))
}

async fn create(State(api): State<Api>, Caller(actor): Caller, Body(wanted): Body<New>) -> Answer {
    let (app, new) = checked(wanted)?;
    let row = api.ops.create_deployment(&actor, &app, new).await?;
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

async fn resume(State(api): State<Api>, Caller(actor): Caller, Path(guid): Path<String>) -> Answer {
    Ok(ok(present(
        &api,
        api.ops.continue_deployment(&actor, &guid).await?,
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(text: &str) -> Result<NewDeployment, Refusal> {
        let mut document: serde_json::Value = serde_json::from_str(text).unwrap();
        document["relationships"] = serde_json::json!({"app": {"data": {"guid": "a"}}});
        checked(serde_json::from_value(document).unwrap()).map(|(_, new)| new)
    }

    #[test]
    fn a_canary_pauses_where_it_is_told() {
        assert_eq!(asked("{}").unwrap().weights, None);
        assert_eq!(
            asked(r#"{"strategy":"canary"}"#).unwrap().weights,
            Some(vec![])
        );
        let steps = r#"{"strategy":"canary","options":{"canary":{"steps":[{"instance_weight":20},{"instance_weight":60}]}}}"#;
        assert_eq!(asked(steps).unwrap().weights, Some(vec![20, 60]));
        for refused in [
            steps.replace("canary\",\"options", "rolling\",\"options"),
            steps.replace("20", "0"),
            steps.replace("60", "101"),
            steps.replace("20", "80"),
            r#"{"strategy":"blue-green"}"#.to_string(),
            r#"{"droplet":{"guid":"d"},"revision":{"guid":"r"}}"#.to_string(),
            r#"{"options":{"max_in_flight":0}}"#.to_string(),
        ] {
            assert!(asked(&refused).is_err(), "{refused}");
        }
    }

    #[test]
    fn numbers_of_the_new_version_are_taken_and_null_means_nothing() {
        let new = asked(
            r#"{"options":{"web_instances":3,"memory_in_mb":64,"disk_in_mb":null,"canary":null}}"#,
        )
        .unwrap();
        assert_eq!(
            (new.sizes.instances, new.sizes.memory_in_mb),
            (Some(3), Some(64))
        );
        assert_eq!((new.sizes.disk_in_mb, new.max_in_flight), (None, 1));
    }
}
