//! `/v3/processes`, and the same processes by app and type.

use super::apps::no_metadata;
use super::extract::{Asked, Body, Caller};
use super::organizations::MetadataChange;
use super::spaces::these;
use super::{Answer, Api, accepted_document, no_content, ok};
use crate::domain::access::Actor;
use crate::domain::observed::{IndexState, IndexStats};
use crate::domain::times::rfc3339;
use crate::ops::processes::{ProcessSettings, ProcessView};
use crate::ops::{HIDDEN_IN_LISTS, Refusal};
use crate::store::apps::App;
use crate::store::processes::Process;
use axum::Router;
use axum::extract::{Path, State};
use axum::routing::{delete, get, post};
use proto::api::{
    HealthCheck, HealthCheckData, InstancePort, InstanceStats, InstanceUsage, Link, Metadata,
    ProcessInstance, ProcessRelationships, ProcessStats, Scale, ToOne,
};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// The port an app listens on, inside its own network.
const INSIDE_PORT: u16 = 8080;

pub fn routes() -> Router<Api> {
    Router::new()
        .route("/v3/processes", get(list))
        .route("/v3/processes/{guid}", get(show).patch(update))
        .route("/v3/processes/{guid}/actions/scale", post(scale))
        .route("/v3/processes/{guid}/stats", get(stats))
        .route(
            "/v3/processes/{guid}/instances/{index}",
            delete(restart_instance),
        )
        .route("/v3/apps/{guid}/processes", get(list_of_app))
        .route(
            "/v3/apps/{guid}/processes/{kind}",
            get(show_of_app).patch(update_of_app),
        )
        .route(
            "/v3/apps/{guid}/processes/{kind}/actions/scale",
            post(scale_of_app),
        )
        .route("/v3/apps/{guid}/processes/{kind}/stats", get(stats_of_app))
        .route(
            "/v3/apps/{guid}/processes/{kind}/instances/{index}",
            delete(restart_instance_of_app),
        )
}

fn positive(number: i64) -> u64 {
    u64::try_from(number).unwrap_or_default()
}

pub(super) fn present(api: &Api, view: ProcessView) -> proto::api::Process {
    let base = format!("{}/v3", api.ops.public_url);
    let row = view.process;
    let own = format!("{base}/processes/{}", row.guid);
    let app = format!("{base}/apps/{}", row.app_guid);
    let links = BTreeMap::from([
        ("self".to_string(), Link::to(own.clone())),
        (
            "scale".to_string(),
            Link::post(format!("{own}/actions/scale")),
        ),
        ("stats".to_string(), Link::to(format!("{own}/stats"))),
        (
            "space".to_string(),
            Link::to(format!("{app}?include=space")),
        ),
        ("app".to_string(), Link::to(app)),
    ]);
    proto::api::Process {
        guid: row.guid,
        kind: row.kind,
        command: view.command,
        user: None,
        instances: u32::try_from(row.instances).unwrap_or_default(),
        memory_in_mb: positive(row.memory_mb),
        disk_in_mb: positive(row.disk_mb),
        log_rate_limit_in_bytes_per_second: Some(-1),
        health_check: HealthCheck {
            kind: row.health_check_type,
            data: HealthCheckData {
                timeout: row.health_check_timeout.map(positive),
                invocation_timeout: row.health_check_invocation_timeout.map(positive),
                interval: row.health_check_interval.map(positive),
                endpoint: row.health_check_endpoint,
            },
        },
        readiness_health_check: HealthCheck::default(),
        version: Some(row.version),
        created_at: rfc3339(row.created_at),
        updated_at: rfc3339(row.updated_at),
        metadata: Metadata::default(),
        relationships: ProcessRelationships {
            app: ToOne::new(row.app_guid),
            revision: row.revision_guid.map(ToOne::new),
        },
        process_instances: None,
        yard_sleep_after_in_seconds: row.sleep_after.map(positive),
        yard_asleep_since: row.asleep_since.map(rfc3339),
        links,
    }
}

/// In lists nobody sees the commands: they may hold passwords.
fn present_listed(api: &Api, view: ProcessView) -> proto::api::Process {
    let command = Some(HIDDEN_IN_LISTS.to_string());
    present(api, ProcessView { command, ..view })
}

/// Whole seconds, for clients that read integers only.
fn seconds(seconds: f64) -> u64 {
    if seconds.is_finite() && seconds > 0.0 {
        seconds as u64
    } else {
        0
    }
}

fn present_instance(process: &Process, seen: IndexStats) -> InstanceStats {
    let mebibytes = |number: i64| Some(positive(number) << 20);
    let mut document = InstanceStats {
        kind: process.kind.clone(),
        index: seen.index,
        state: seen.state.name().to_string(),
        // Clients take false for "not ready"; of the others it is not known.
        routable: (seen.state == IndexState::Running).then_some(true),
        instance_guid: seen.instance.map(|id| id.to_string()).unwrap_or_default(),
        uptime: seconds(seen.uptime),
        mem_quota: mebibytes(process.memory_mb),
        disk_quota: mebibytes(process.disk_mb),
        log_rate_limit: Some(-1),
        details: seen.details,
        ..InstanceStats::default()
    };
    if let Some(measured) = seen.stats {
        document.mem_quota = Some(measured.mem_quota);
        document.disk_quota = Some(measured.disk_quota);
        document.fds_quota = measured.fds_quota;
        document.instance_ports = vec![InstancePort {
            external: Some(measured.port),
            internal: INSIDE_PORT,
            ..InstancePort::default()
        }];
        document.host = measured.host;
        document.usage = InstanceUsage {
            time: (measured.usage.time > 0.0).then(|| rfc3339((measured.usage.time * 1e6) as i64)),
            cpu: Some(measured.usage.cpu),
            mem: Some(measured.usage.mem),
            disk: Some(measured.usage.disk),
            log_rate: Some(0),
        };
    }
    document
}

async fn list(State(api): State<Api>, Caller(actor): Caller, mut asked: Asked) -> Answer {
    let embed = asked.take("embed").unwrap_or_default();
    if let Some(other) = embed.iter().find(|name| *name != "process_instances") {
        return Err(Refusal::BadQuery(format!(
            "Invalid embed: '{other}'. Valid values are: 'process_instances'"
        )));
    }
    let listing = api.ops.list_processes(&actor, None, &asked.query).await?;
    if embed.is_empty() {
        return Ok(asked.page(listing, |view| present_listed(&api, view)));
    }
    let apps: BTreeSet<String> = listing
        .rows
        .iter()
        .map(|view| view.process.app_guid.clone())
        .collect();
    let apps = api.ops.list_apps(&actor, &these(&apps)).await?.rows;
    let apps: BTreeMap<String, App> = apps
        .into_iter()
        .map(|app| (app.guid.clone(), app))
        .collect();
    Ok(asked.page(listing, |view| {
        let app = apps.get(&view.process.app_guid);
        let seen = app.map_or_else(Vec::new, |app| api.ops.stats_of(app, &view.process));
        let mut document = present_listed(&api, view);
        document.process_instances = Some(seen.into_iter().map(embedded).collect());
        document
    }))
}

fn embedded(seen: IndexStats) -> ProcessInstance {
    ProcessInstance {
        index: seen.index,
        state: seen.state.name().to_string(),
        since: seconds(seen.uptime),
    }
}

async fn list_of_app(
    State(api): State<Api>,
    Caller(actor): Caller,
    Path(app): Path<String>,
    asked: Asked,
) -> Answer {
    let listing = api
        .ops
        .list_processes(&actor, Some(&app), &asked.query)
        .await?;
    Ok(asked.page(listing, |view| present_listed(&api, view)))
}

async fn show(State(api): State<Api>, Caller(actor): Caller, Path(guid): Path<String>) -> Answer {
    Ok(ok(present(&api, api.ops.process(&actor, &guid).await?)))
}

async fn show_of_app(
    State(api): State<Api>,
    Caller(actor): Caller,
    Path((app, kind)): Path<(String, String)>,
) -> Answer {
    let guid = api.ops.process_of_type(&actor, &app, &kind).await?;
    Ok(ok(present(&api, api.ops.process(&actor, &guid).await?)))
}

/// Tells null (`Some(None)`) from absent (`None`), together with `#[serde(default)]`.
pub(super) fn nullable<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Change {
    #[serde(deserialize_with = "nullable")]
    command: Option<Option<String>>,
    health_check: Option<HealthCheckChange>,
    readiness_health_check: Option<HealthCheckChange>,
    user: Option<Value>,
    metadata: Option<MetadataChange>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct HealthCheckChange {
    #[serde(rename = "type")]
    kind: Option<String>,
    data: Option<HealthCheckDataChange>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct HealthCheckDataChange {
    #[serde(deserialize_with = "nullable")]
    timeout: Option<Option<u32>>,
    #[serde(deserialize_with = "nullable")]
    invocation_timeout: Option<Option<u32>>,
    #[serde(deserialize_with = "nullable")]
    interval: Option<Option<u32>>,
    #[serde(deserialize_with = "nullable")]
    endpoint: Option<Option<String>>,
}

impl Change {
    fn settings(self) -> Result<ProcessSettings, Refusal> {
        no_metadata("processes", self.metadata.as_ref())?;
        if self.user.is_some() {
            return Refusal::unprocessable("User cannot be chosen: processes run as 'vcap'");
        }
        if self
            .readiness_health_check
            .is_some_and(|check| check.kind.is_some_and(|kind| kind != "process"))
        {
            return Refusal::unprocessable(
                "Readiness health check type can only be \"process\": readiness checks are not supported",
            );
        }
        let check = self.health_check.unwrap_or_default();
        let data = check.data.unwrap_or_default();
        Ok(ProcessSettings {
            command: self.command,
            health_check_type: check.kind,
            health_check_endpoint: data.endpoint,
            health_check_timeout: data.timeout,
            health_check_invocation_timeout: data.invocation_timeout,
            health_check_interval: data.interval,
        })
    }
}

async fn update(
    State(api): State<Api>,
    Caller(actor): Caller,
    Path(guid): Path<String>,
    Body(wanted): Body<Change>,
) -> Answer {
    Ok(ok(present(
        &api,
        api.ops
            .update_process(&actor, &guid, &wanted.settings()?)
            .await?,
    )))
}

async fn update_of_app(
    State(api): State<Api>,
    Caller(actor): Caller,
    Path((app, kind)): Path<(String, String)>,
    Body(wanted): Body<Change>,
) -> Answer {
    let guid = api.ops.process_of_type(&actor, &app, &kind).await?;
    Ok(ok(present(
        &api,
        api.ops
            .update_process(&actor, &guid, &wanted.settings()?)
            .await?,
    )))
}

async fn scale(
    State(api): State<Api>,
    Caller(actor): Caller,
    Path(guid): Path<String>,
    Body(wanted): Body<Scale>,
) -> Answer {
    Ok(accepted_document(present(
        &api,
        api.ops.scale_process(&actor, &guid, &wanted).await?,
    )))
}

async fn scale_of_app(
    State(api): State<Api>,
    Caller(actor): Caller,
    Path((app, kind)): Path<(String, String)>,
    Body(wanted): Body<Scale>,
) -> Answer {
    let guid = api.ops.process_of_type(&actor, &app, &kind).await?;
    Ok(accepted_document(present(
        &api,
        api.ops.scale_process(&actor, &guid, &wanted).await?,
    )))
}

async fn answer_stats(api: &Api, actor: &Actor, guid: &str) -> Answer {
    let (process, seen) = api.ops.process_stats(actor, guid).await?;
    let resources = seen
        .into_iter()
        .map(|one| present_instance(&process, one))
        .collect();
    Ok(ok(ProcessStats {
        resources,
        pagination: None,
    }))
}

async fn stats(State(api): State<Api>, Caller(actor): Caller, Path(guid): Path<String>) -> Answer {
    answer_stats(&api, &actor, &guid).await
}

async fn stats_of_app(
    State(api): State<Api>,
    Caller(actor): Caller,
    Path((app, kind)): Path<(String, String)>,
) -> Answer {
    let guid = api.ops.process_of_type(&actor, &app, &kind).await?;
    answer_stats(&api, &actor, &guid).await
}

/// What is no number is the index of no instance.
fn index(text: &str) -> Result<u32, Refusal> {
    text.parse().map_err(|_| Refusal::NotFound("Instance"))
}

async fn restart_instance(
    State(api): State<Api>,
    Caller(actor): Caller,
    Path((guid, at)): Path<(String, String)>,
) -> Answer {
    api.ops.restart_instance(&actor, &guid, index(&at)?).await?;
    Ok(no_content())
}

async fn restart_instance_of_app(
    State(api): State<Api>,
    Caller(actor): Caller,
    Path((app, kind, at)): Path<(String, String, String)>,
) -> Answer {
    let guid = api.ops.process_of_type(&actor, &app, &kind).await?;
    api.ops.restart_instance(&actor, &guid, index(&at)?).await?;
    Ok(no_content())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(text: &str) -> Result<ProcessSettings, Refusal> {
        serde_json::from_str::<Change>(text).unwrap().settings()
    }

    #[test]
    fn null_gives_back_to_the_droplet_and_absent_changes_nothing() {
        assert_eq!(change("{}").unwrap(), ProcessSettings::default());
        assert_eq!(change(r#"{"command":null}"#).unwrap().command, Some(None));
        assert_eq!(
            change(r#"{"command":"x"}"#).unwrap().command,
            Some(Some("x".into()))
        );
        let http =
            change(r#"{"health_check":{"type":"http","data":{"endpoint":"/up","timeout":null}}}"#)
                .unwrap();
        assert_eq!(http.health_check_type.as_deref(), Some("http"));
        assert_eq!(http.health_check_endpoint, Some(Some("/up".into())));
        assert_eq!(http.health_check_timeout, Some(None));
        assert_eq!(http.health_check_interval, None);
    }

    #[test]
    fn what_cannot_be_done_is_refused() {
        assert!(change(r#"{"user":"root"}"#).is_err());
        assert!(change(r#"{"readiness_health_check":{"type":"http"}}"#).is_err());
        assert!(change(r#"{"readiness_health_check":{"type":"process"},"user":null}"#).is_ok());
        assert!(serde_json::from_str::<Change>(r#"{"instances":2}"#).is_err());
    }

    #[test]
    fn uptimes_are_whole_seconds() {
        assert_eq!([seconds(1.9), seconds(-3.0), seconds(f64::NAN)], [1, 0, 0]);
    }
}
