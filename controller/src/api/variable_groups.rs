//! `/v3/environment_variable_groups`: variables of every staging and of every instance. They are configuration.

use super::apps::{Variables, variable};
use super::config::cluster;
use super::extract::{Body, Caller};
use super::{Answer, Api, ok};
use crate::ops::Refusal;
use axum::Router;
use axum::extract::{Path, State};
use axum::routing::get;
use proto::api::{ConfigChanges, ConfigEdit};
use serde_json::{Value, json};
use std::collections::BTreeMap;

pub const STAGING: &str = "staging/environment";
pub const RUNNING: &str = "controller/apps/environment";

pub fn routes() -> Router<Api> {
    Router::new().route(
        "/v3/environment_variable_groups/{name}",
        get(show).patch(update),
    )
}

/// The key of the configuration that a group is.
fn key(name: &str) -> Result<&'static str, Refusal> {
    match name {
        "staging" => Ok(STAGING),
        "running" => Ok(RUNNING),
        _ => Err(Refusal::UnknownRequest),
    }
}

/// The variables of a group, as this controller knows them.
pub fn of(api: &Api, key: &str) -> BTreeMap<String, Value> {
    let variables: BTreeMap<String, String> = api.ops.settings().environment(key);
    variables
        .into_iter()
        .map(|(name, value)| (name, Value::String(value)))
        .collect()
}

fn present(api: &Api, name: &str, variables: &BTreeMap<String, Value>) -> Value {
    let own = format!(
        "{}/v3/environment_variable_groups/{name}",
        api.ops.public_url
    );
    json!({"name": name, "var": variables, "updated_at": null, "links": {"self": {"href": own}}})
}

async fn show(State(api): State<Api>, _: Caller, Path(name): Path<String>) -> Answer {
    let variables = of(&api, key(&name)?);
    Ok(ok(present(&api, &name, &variables)))
}

async fn update(
    State(api): State<Api>,
    Caller(actor): Caller,
    Path(name): Path<String>,
    Body(change): Body<Variables>,
) -> Answer {
    let path = key(&name)?;
    let edit = || ConfigEdit {
        path: path.to_string(),
        ..ConfigEdit::default()
    };
    let mut after = of(&api, path);
    let (mut add, mut remove) = (Vec::new(), Vec::new());
    for (name, value) in change.var {
        match variable(&name, value)? {
            Some(value) => {
                add.push(format!("{name}={value}"));
                after.insert(name, Value::String(value));
            }
            None if after.remove(&name).is_some() => remove.push(name),
            None => {}
        }
    }
    let edits = [
        ConfigEdit { add, ..edit() },
        ConfigEdit { remove, ..edit() },
    ]
    .into_iter()
    .filter(|edit| !(edit.add.is_empty() && edit.remove.is_empty()))
    .collect();
    let changes = ConfigChanges {
        edits,
        dry_run: false,
    };
    api.ops
        .change_configs(&actor, cluster(&api)?, &changes)
        .await?;
    Ok(ok(present(&api, &name, &after)))
}
