//! `/v3/tasks`, and the tasks of an app.

use super::extract::{Asked, Body, Caller};
use super::organizations::{Guid, MetadataChange, OnlyMetadata};
use super::{Answer, Api, accepted_document, ok};
use crate::domain::times::rfc3339;
use crate::ops::Refusal;
use crate::ops::tasks::{SeenTask, TaskSettings};
use axum::Router;
use axum::extract::{Path, State};
use axum::routing::{get, post, put};
use proto::api::{Link, Metadata, TaskRelationships, TaskResult, ToOne};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

pub fn routes() -> Router<Api> {
    Router::new()
        .route("/v3/tasks", get(list))
        .route("/v3/tasks/{guid}", get(show).patch(update))
        .route("/v3/tasks/{guid}/actions/cancel", post(cancel))
        // As clients of older days write it.
        .route("/v3/tasks/{guid}/cancel", put(cancel))
        .route("/v3/apps/{guid}/tasks", get(list_of_app).post(create))
}

pub(super) fn present(api: &Api, seen: SeenTask) -> proto::api::Task {
    let SeenTask { task, with_command } = seen;
    let base = format!("{}/v3", api.ops.public_url);
    let own = format!("{base}/tasks/{}", task.guid);
    let links = BTreeMap::from([
        ("self".to_string(), Link::to(own.clone())),
        (
            "app".to_string(),
            Link::to(format!("{base}/apps/{}", task.app_guid)),
        ),
        (
            "droplet".to_string(),
            Link::to(format!("{base}/droplets/{}", task.droplet_guid)),
        ),
        (
            "cancel".to_string(),
            Link::post(format!("{own}/actions/cancel")),
        ),
    ]);
    proto::api::Task {
        guid: task.guid,
        sequence_id: u64::try_from(task.sequence_id).unwrap_or_default(),
        name: task.name,
        command: with_command.then_some(task.command),
        user: None,
        state: task.state,
        memory_in_mb: u64::try_from(task.memory_mb).unwrap_or_default(),
        disk_in_mb: u64::try_from(task.disk_mb).unwrap_or_default(),
        log_rate_limit_in_bytes_per_second: Some(-1),
        result: TaskResult {
            failure_reason: task.failure_reason,
            yard_exit_status: task
                .exit_status
                .and_then(|status| i32::try_from(status).ok()),
            yard_signal: task.exit_signal,
        },
        droplet_guid: task.droplet_guid,
        yard_waits_for: task.waits_for,
        yard_agent: task.dea,
        created_at: rfc3339(task.created_at),
        updated_at: rfc3339(task.updated_at),
        metadata: Metadata {
            labels: task.labels.0,
            annotations: task.annotations.0,
        },
        relationships: TaskRelationships {
            app: ToOne::new(task.app_guid),
        },
        links,
    }
}

/// Clients send null for what they do not mean.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct New {
    name: Option<String>,
    command: Option<String>,
    template: Option<Template>,
    memory_in_mb: Option<u64>,
    disk_in_mb: Option<u64>,
    log_rate_limit_in_bytes_per_second: Option<i64>,
    droplet_guid: Option<String>,
    user: Option<Value>,
    metadata: Option<MetadataChange>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Template {
    process: Guid,
}

impl New {
    fn settings(self) -> Result<TaskSettings, Refusal> {
        if self
            .log_rate_limit_in_bytes_per_second
            .is_some_and(|limit| limit != -1)
        {
            return Refusal::unprocessable(
                "Log rate limit in bytes per second other than -1 (unlimited) is not supported",
            );
        }
        if self.user.is_some() {
            return Refusal::unprocessable("User is not supported: tasks run as vcap");
        }
        let metadata = self.metadata.unwrap_or_default();
        Ok(TaskSettings {
            name: self.name,
            command: self.command,
            template: self.template.map(|template| template.process.guid),
            droplet: self.droplet_guid,
            memory_mb: self.memory_in_mb,
            disk_mb: self.disk_in_mb,
            labels: metadata.labels,
            annotations: metadata.annotations,
        })
    }
}

async fn create(
    State(api): State<Api>,
    Caller(actor): Caller,
    Path(app): Path<String>,
    Body(wanted): Body<New>,
) -> Answer {
    let task = api
        .ops
        .create_task(&actor, &app, &wanted.settings()?)
        .await?;
    // Who may create it wrote the command.
    let seen = SeenTask {
        task,
        with_command: true,
    };
    Ok(accepted_document(present(&api, seen)))
}

async fn show(State(api): State<Api>, Caller(actor): Caller, Path(guid): Path<String>) -> Answer {
    Ok(ok(present(&api, api.ops.task(&actor, &guid).await?)))
}

async fn list(State(api): State<Api>, Caller(actor): Caller, asked: Asked) -> Answer {
    let listing = api.ops.list_tasks(&actor, None, &asked.query).await?;
    Ok(asked.page(listing, |seen| present(&api, seen)))
}

async fn list_of_app(
    State(api): State<Api>,
    Caller(actor): Caller,
    Path(app): Path<String>,
    asked: Asked,
) -> Answer {
    let listing = api.ops.list_tasks(&actor, Some(&app), &asked.query).await?;
    Ok(asked.page(listing, |seen| present(&api, seen)))
}

async fn update(
    State(api): State<Api>,
    Caller(actor): Caller,
    Path(guid): Path<String>,
    Body(wanted): Body<OnlyMetadata>,
) -> Answer {
    let metadata = wanted.metadata.unwrap_or_default();
    let seen = api
        .ops
        .update_task(&actor, &guid, &metadata.labels, &metadata.annotations)
        .await?;
    Ok(ok(present(&api, seen)))
}

async fn cancel(State(api): State<Api>, Caller(actor): Caller, Path(guid): Path<String>) -> Answer {
    let seen = api.ops.cancel_task(&actor, &guid).await?;
    Ok(accepted_document(present(&api, seen)))
}
