//! `/v3/apps`: apps, their actions, environment, features and current droplet. What else belongs to an
//! app is served beside its own noun: `/v3/apps/:guid/processes` in `processes.rs`.

use super::extract::{Asked, Body, Caller};
use super::organizations::MetadataChange;
use super::processes::nullable;
use super::spaces::{One, included, places, with_included};
use super::variable_groups;
use super::{Answer, Api, accepted_job, created, ok};
use crate::domain::access::{Action, Actor};
use crate::domain::times::rfc3339;
use crate::ops::apps::{AppSettings, app_for};
use crate::ops::list::{ListQuery, Listing};
use crate::ops::{Refusal, STACKS};
use crate::store::apps::App;
use crate::store::spaces::Space;
use axum::Router;
use axum::extract::{Path, State};
use axum::routing::{get, post};
use proto::api::{AppEnvironment, AppFeature, AppRelationships, Lifecycle, Link, Metadata, ToOne};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

pub fn routes() -> Router<Api> {
    Router::new()
        .route("/v3/apps", get(list).post(create))
        .route("/v3/apps/{guid}", get(show).patch(update).delete(remove))
        .route("/v3/apps/{guid}/actions/start", post(start))
        .route("/v3/apps/{guid}/actions/stop", post(stop))
        .route("/v3/apps/{guid}/actions/restart", post(restart))
        .route(
            "/v3/apps/{guid}/actions/clear_buildpack_cache",
            post(clear_cache),
        )
        .route("/v3/apps/{guid}/env", get(environment))
        .route(
            "/v3/apps/{guid}/environment_variables",
            get(variables).patch(change_variables),
        )
        .route("/v3/apps/{guid}/features", get(features))
        .route(
            "/v3/apps/{guid}/features/{name}",
            get(feature).patch(change_feature),
        )
        .route("/v3/apps/{guid}/ssh_enabled", get(ssh_enabled))
        .route(
            "/v3/apps/{guid}/relationships/current_droplet",
            get(current_droplet).patch(set_current_droplet),
        )
}

pub(super) fn present(api: &Api, row: App) -> proto::api::App {
    let base = format!("{}/v3", api.ops.public_url);
    let own = format!("{base}/apps/{}", row.guid);
    let mut links = BTreeMap::from([
        ("self".to_string(), Link::to(own.clone())),
        (
            "space".to_string(),
            Link::to(format!("{base}/spaces/{}", row.space_guid)),
        ),
    ]);
    for name in [
        "environment_variables",
        "processes",
        "packages",
        "droplets",
        "tasks",
        "revisions",
        "features",
    ] {
        links.insert(name.to_string(), Link::to(format!("{own}/{name}")));
    }
    links.insert(
        "current_droplet".to_string(),
        Link::to(format!("{own}/droplets/current")),
    );
    links.insert(
        "deployed_revisions".to_string(),
        Link::to(format!("{own}/revisions/deployed")),
    );
    for name in ["start", "stop", "restart", "clear_buildpack_cache"] {
        links.insert(
            name.to_string(),
            Link::post(format!("{own}/actions/{name}")),
        );
    }
    proto::api::App {
        guid: row.guid,
        name: row.name,
        state: row.state,
        lifecycle: Lifecycle::buildpack(row.buildpacks.0, row.stack),
        created_at: rfc3339(row.created_at),
        updated_at: rfc3339(row.updated_at),
        metadata: Metadata {
            labels: row.labels.0,
            annotations: row.annotations.0,
        },
        relationships: AppRelationships {
            space: ToOne::new(row.space_guid),
            current_droplet: row.current_droplet_guid.map(ToOne::new).unwrap_or_default(),
        },
        links,
    }
}

/// Only apps, spaces and organizations are labelled here.
pub(super) fn no_metadata(nouns: &str, wanted: Option<&MetadataChange>) -> Result<(), Refusal> {
    if wanted.is_some_and(|wanted| !wanted.labels.is_empty() || !wanted.annotations.is_empty()) {
        return Refusal::unprocessable(format!("Metadata of {nouns} is not supported"));
    }
    Ok(())
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct LifecycleChange {
    #[serde(rename = "type")]
    kind: Option<String>,
    data: Option<LifecycleDataChange>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct LifecycleDataChange {
    #[serde(deserialize_with = "nullable")]
    buildpacks: Option<Option<Vec<String>>>,
    #[serde(deserialize_with = "nullable")]
    stack: Option<Option<String>>,
}

/// What of a lifecycle is to be changed.
pub(super) struct CheckedLifecycle {
    pub buildpacks: Option<Vec<String>>,
    pub stack: Option<String>,
}

impl LifecycleChange {
    pub(super) fn checked(self) -> Result<CheckedLifecycle, Refusal> {
        if let Some(kind) = self.kind
            && kind != "buildpack"
        {
            return Refusal::unprocessable(format!(
                "Lifecycle type '{kind}' is not supported: 'buildpack' is"
            ));
        }
        let data = self.data.unwrap_or_default();
        Ok(CheckedLifecycle {
            // null means "detect", or the default stack.
            buildpacks: data.buildpacks.map(Option::unwrap_or_default),
            stack: data
                .stack
                .map(|stack| stack.unwrap_or_else(|| STACKS[0].to_string())),
        })
    }
}

/// The value of a variable as a process sees it; null takes the variable away.
pub(super) fn variable(name: &str, value: Value) -> Result<Option<String>, Refusal> {
    match value {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text)),
        Value::Number(number) => Ok(Some(number.to_string())),
        Value::Bool(flag) => Ok(Some(flag.to_string())),
        Value::Array(_) | Value::Object(_) => Refusal::unprocessable(format!(
            "Environment variables: '{name}' must be a text, a number or a boolean; give structures as a text of JSON"
        )),
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct New {
    name: Option<String>,
    lifecycle: Option<LifecycleChange>,
    environment_variables: Option<BTreeMap<String, Value>>,
    metadata: Option<MetadataChange>,
    relationships: Relationships,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Relationships {
    space: One,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Change {
    name: Option<String>,
    lifecycle: Option<LifecycleChange>,
    metadata: Option<MetadataChange>,
}

fn settings(
    name: Option<String>,
    lifecycle: Option<LifecycleChange>,
    environment: Option<BTreeMap<String, Value>>,
    metadata: Option<MetadataChange>,
) -> Result<AppSettings, Refusal> {
    let lifecycle = lifecycle.unwrap_or_default().checked()?;
    let metadata = metadata.unwrap_or_default();
    let mut variables = BTreeMap::new();
    for (name, value) in environment.unwrap_or_default() {
        if let Some(value) = variable(&name, value)? {
            variables.insert(name, value);
        }
    }
    Ok(AppSettings {
        name,
        buildpacks: lifecycle.buildpacks,
        stack: lifecycle.stack,
        environment: (!variables.is_empty()).then_some(variables),
        labels: metadata.labels,
        annotations: metadata.annotations,
    })
}

const INCLUDES: &[&str] = &["space", "space.organization"];

/// Whether spaces, and their organizations, are asked for: the latter bring the former.
fn wanted_places(include: &[String]) -> (bool, bool) {
    let wants_organizations = include.iter().any(|name| name == "space.organization");
    (!include.is_empty(), wants_organizations)
}

async fn list(State(api): State<Api>, Caller(actor): Caller, mut asked: Asked) -> Answer {
    let include = included(&mut asked, INCLUDES)?;
    let listing = api.ops.list_apps(&actor, &asked.query).await?;
    let guids: BTreeSet<String> = listing
        .rows
        .iter()
        .map(|row| row.space_guid.clone())
        .collect();
    let mut page = asked.document(listing, |row| present(&api, row));
    page.included = places(&api, &actor, wanted_places(&include), &guids).await?;
    Ok(ok(page))
}

async fn show(
    State(api): State<Api>,
    Caller(actor): Caller,
    Path(guid): Path<String>,
    mut asked: Asked,
) -> Answer {
    let include = included(&mut asked, INCLUDES)?;
    let (row, _) = api.ops.app(&actor, &guid).await?;
    let guids = BTreeSet::from([row.space_guid.clone()]);
    let found = places(&api, &actor, wanted_places(&include), &guids).await?;
    with_included(present(&api, row), found)
}

async fn create(State(api): State<Api>, Caller(actor): Caller, Body(wanted): Body<New>) -> Answer {
    let settings = settings(
        wanted.name,
        wanted.lifecycle,
        wanted.environment_variables,
        wanted.metadata,
    )?;
    let row = api
        .ops
        .create_app(&actor, &wanted.relationships.space.data.guid, &settings)
        .await?;
    Ok(created(present(&api, row)))
}

async fn update(
    State(api): State<Api>,
    Caller(actor): Caller,
    Path(guid): Path<String>,
    Body(wanted): Body<Change>,
) -> Answer {
    let settings = settings(wanted.name, wanted.lifecycle, None, wanted.metadata)?;
    Ok(ok(present(
        &api,
        api.ops.update_app(&actor, &guid, &settings).await?,
    )))
}

async fn remove(State(api): State<Api>, Caller(actor): Caller, Path(guid): Path<String>) -> Answer {
    api.ops.delete_app(&actor, &guid).await?;
    Ok(accepted_job(
        &api,
        &api.ops.record_job("app.delete", None).await?,
    ))
}

async fn start(State(api): State<Api>, Caller(actor): Caller, Path(guid): Path<String>) -> Answer {
    Ok(ok(present(&api, api.ops.start_app(&actor, &guid).await?)))
}

async fn stop(State(api): State<Api>, Caller(actor): Caller, Path(guid): Path<String>) -> Answer {
    Ok(ok(present(&api, api.ops.stop_app(&actor, &guid).await?)))
}

async fn restart(
    State(api): State<Api>,
    Caller(actor): Caller,
    Path(guid): Path<String>,
) -> Answer {
    Ok(ok(present(&api, api.ops.restart_app(&actor, &guid).await?)))
}

async fn clear_cache(
    State(api): State<Api>,
    Caller(actor): Caller,
    Path(guid): Path<String>,
) -> Answer {
    let (app, _) = app_for(
        &mut *api.ops.store.read().await?,
        &actor,
        Action::Develop,
        &guid,
    )
    .await?;
    for stack in STACKS {
        api.ops
            .blobs
            .delete(&format!("caches/{}-{stack}.tgz", app.guid))
            .await?;
    }
    Ok(accepted_job(
        &api,
        &api.ops
            .record_job("app.clear_buildpack_cache", None)
            .await?,
    ))
}

/// `VCAP_APPLICATION` as far as it does not depend on the instance.
async fn application(api: &Api, actor: &Actor, app: &App, space: &Space) -> Result<Value, Refusal> {
    let routes = api
        .ops
        .list_routes(actor, Some(&app.guid), &ListQuery::all())
        .await?
        .rows;
    let uris: Vec<String> = routes.iter().map(|view| view.url()).collect();
    let organization = api
        .ops
        .organization(actor, &space.organization_guid)
        .await?;
    Ok(json!({
        "cf_api": &*api.ops.public_url,
        "application_id": app.guid,
        "application_name": app.name,
        "application_uris": uris,
        "name": app.name,
        "uris": uris,
        "space_id": space.guid,
        "space_name": space.name,
        "organization_id": organization.guid,
        "organization_name": organization.name,
        "users": null,
    }))
}

async fn environment(
    State(api): State<Api>,
    Caller(actor): Caller,
    Path(guid): Path<String>,
) -> Answer {
    let (app, space) = api
        .ops
        .show_environment(&actor, &guid, "audit.app.environment.show")
        .await?;
    let application = application(&api, &actor, &app, &space).await?;
    let services = api.ops.vcap_services(&app).await?;
    let variables = app
        .environment
        .0
        .into_iter()
        .map(|(name, value)| (name, Value::String(value)))
        .collect();
    Ok(ok(AppEnvironment {
        environment_variables: variables,
        staging_env_json: variable_groups::of(&api, variable_groups::STAGING),
        running_env_json: variable_groups::of(&api, variable_groups::RUNNING),
        system_env_json: BTreeMap::from([("VCAP_SERVICES".to_string(), services)]),
        application_env_json: BTreeMap::from([("VCAP_APPLICATION".to_string(), application)]),
    }))
}

fn present_variables(api: &Api, app: App) -> Value {
    let link =
        |path: &str| json!({"href": format!("{}/v3/apps/{}{path}", api.ops.public_url, app.guid)});
    json!({"var": app.environment.0, "links": {"self": link("/environment_variables"), "app": link("")}})
}

async fn variables(
    State(api): State<Api>,
    Caller(actor): Caller,
    Path(guid): Path<String>,
) -> Answer {
    let (app, _) = api
        .ops
        .show_environment(&actor, &guid, "audit.app.environment_variables.show")
        .await?;
    Ok(ok(present_variables(&api, app)))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Variables {
    pub var: BTreeMap<String, Value>,
}

async fn change_variables(
    State(api): State<Api>,
    Caller(actor): Caller,
    Path(guid): Path<String>,
    Body(wanted): Body<Variables>,
) -> Answer {
    let mut changes = BTreeMap::new();
    for (name, value) in wanted.var {
        let value = variable(&name, value)?;
        changes.insert(name, value);
    }
    let app = api.ops.change_environment(&actor, &guid, &changes).await?;
    Ok(ok(present_variables(&api, app)))
}

const SSH: &str = "ssh";
/// Name and what it is.
const FEATURES: &[(&str, &str)] = &[
    (SSH, "Enable SSHing into the app."),
    ("revisions", "Enable versioning of an application"),
];

/// Revisions are always kept.
fn present_feature(app: &App, (name, description): &(&str, &str)) -> AppFeature {
    AppFeature {
        name: name.to_string(),
        description: description.to_string(),
        enabled: *name != SSH || app.ssh_enabled,
    }
}

async fn features(
    State(api): State<Api>,
    Caller(actor): Caller,
    Path(guid): Path<String>,
    asked: Asked,
) -> Answer {
    let (app, _) = api.ops.app(&actor, &guid).await?;
    let (rows, total) = (FEATURES.iter().collect(), FEATURES.len() as u64);
    Ok(asked.page(Listing { rows, total }, |feature| {
        present_feature(&app, feature)
    }))
}

fn find_feature(app: &App, name: &str) -> Result<AppFeature, Refusal> {
    FEATURES
        .iter()
        .find(|(known, _)| *known == name)
        .map(|feature| present_feature(app, feature))
        .ok_or(Refusal::NotFound("Feature"))
}

async fn feature(
    State(api): State<Api>,
    Caller(actor): Caller,
    Path((guid, name)): Path<(String, String)>,
) -> Answer {
    let (app, _) = api.ops.app(&actor, &guid).await?;
    Ok(ok(find_feature(&app, &name)?))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Switch {
    enabled: bool,
}

async fn change_feature(
    State(api): State<Api>,
    Caller(actor): Caller,
    Path((guid, name)): Path<(String, String)>,
    Body(wanted): Body<Switch>,
) -> Answer {
    if name == SSH {
        let app = api
            .ops
            .switch_ssh_of_app(&actor, &guid, wanted.enabled)
            .await?;
        return Ok(ok(find_feature(&app, &name)?));
    }
    let (app, _) = app_for(
        &mut *api.ops.store.read().await?,
        &actor,
        Action::Develop,
        &guid,
    )
    .await?;
    let feature = find_feature(&app, &name)?;
    if !wanted.enabled {
        return Refusal::unprocessable(format!(
            "The feature '{name}' cannot be disabled: it is on for every app"
        ));
    }
    Ok(ok(feature))
}

async fn ssh_enabled(
    State(api): State<Api>,
    Caller(actor): Caller,
    Path(guid): Path<String>,
) -> Answer {
    let off = api.ops.ssh_switched_off(&actor, &guid).await?;
    Ok(ok(
        json!({"enabled": off.is_none(), "reason": off.unwrap_or_default()}),
    ))
}

fn present_current_droplet(api: &Api, app: &str, droplet: &str) -> Value {
    let own = format!("{}/v3/apps/{app}", api.ops.public_url);
    json!({
        "data": {"guid": droplet},
        "links": {
            "self": {"href": format!("{own}/relationships/current_droplet")},
            "related": {"href": format!("{own}/droplets/current")},
        },
    })
}

async fn current_droplet(
    State(api): State<Api>,
    Caller(actor): Caller,
    Path(guid): Path<String>,
) -> Answer {
    let droplet = api.ops.current_droplet(&actor, &guid).await?;
    Ok(ok(present_current_droplet(
        &api,
        &guid,
        &droplet.droplet.guid,
    )))
}

async fn set_current_droplet(
    State(api): State<Api>,
    Caller(actor): Caller,
    Path(guid): Path<String>,
    Body(wanted): Body<One>,
) -> Answer {
    api.ops
        .set_current_droplet(&actor, &guid, &wanted.data.guid)
        .await?;
    Ok(ok(present_current_droplet(&api, &guid, &wanted.data.guid)))
}
