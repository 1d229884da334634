//! `/yard/v1/config`: the live configuration of the cluster.
//!
//! Keys have two words at least, so that the words beside them (`history`, `changes`…) can be none.

use super::extract::{Body, Caller, queried};
use super::{Answer, Api, no_content, ok};
use crate::domain::access::Actor;
use crate::domain::config::{KEPT, Stock};
use crate::ops::{Refusal, config};
use axum::Router;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::response::IntoResponse;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::routing::{get, post};
use daemon::{Cluster, Shutdown, Stored};
use futures_util::Stream;
use proto::api::{ConfigChange, ConfigChanges, ConfigImport, ConfigList, ConfigRollback};
use proto::config::{KEYS, Key, Place};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;
use tokio::sync::mpsc;

const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// How often a stream asks whether its reader may still read, and reads without a hint.
const RECHECK: Duration = Duration::from_secs(30);

pub fn routes() -> Router<Api> {
    Router::new()
        .route("/yard/v1/config", get(list))
        .route("/yard/v1/config/watch", get(watch))
        .route("/yard/v1/config/history", get(history))
        .route("/yard/v1/config/changes", post(change))
        .route("/yard/v1/config/rollback", post(rollback))
        .route("/yard/v1/config/export", get(export))
        .route("/yard/v1/config/import", post(import))
        .route("/yard/v1/config/{*path}", get(show).put(set).delete(unset))
}

/// The cluster store, for whoever needs it.
pub fn cluster(api: &Api) -> Result<&Cluster, Refusal> {
    api.cluster
        .as_ref()
        .ok_or_else(|| Refusal::Unavailable("This API has no cluster store behind it".into()))
}

async fn list(State(api): State<Api>, Caller(actor): Caller) -> Answer {
    Ok(ok(ConfigList {
        resources: api.ops.list_config(&actor, cluster(&api)?).await?,
    }))
}

async fn show(State(api): State<Api>, Caller(actor): Caller, Path(path): Path<String>) -> Answer {
    api.ops.check_config_read(&actor, &path)?;
    Ok(ok(api
        .ops
        .config_entry(&actor, cluster(&api)?, &path)
        .await?))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Of {
    component: Option<String>,
}

async fn set(
    State(api): State<Api>,
    Caller(actor): Caller,
    Path(path): Path<String>,
    query: Result<Query<Of>, QueryRejection>,
    Body(change): Body<ConfigChange>,
) -> Answer {
    let Of { component } = queried(query)?;
    // What cannot be right is told before anything is reached.
    let edit = api.ops.check_config(
        &actor,
        &path,
        component.as_deref(),
        Some(&change.value),
        change.revision,
    )?;
    Ok(ok(api
        .ops
        .change_config(&actor, cluster(&api)?, edit)
        .await?))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Unset {
    component: Option<String>,
    revision: Option<i64>,
}

async fn unset(
    State(api): State<Api>,
    Caller(actor): Caller,
    Path(path): Path<String>,
    query: Result<Query<Unset>, QueryRejection>,
) -> Answer {
    api.ops.check_config(&actor, &path, None, None, None)?;
    let Unset {
        component,
        revision,
    } = queried(query)?;
    let edit = api
        .ops
        .check_config(&actor, &path, component.as_deref(), None, revision)?;
    api.ops.change_config(&actor, cluster(&api)?, edit).await?;
    Ok(no_content())
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Which {
    path: Option<String>,
    per_page: Option<usize>,
}

async fn history(
    State(api): State<Api>,
    Caller(actor): Caller,
    query: Result<Query<Which>, QueryRejection>,
) -> Answer {
    let Which { path, per_page } = queried(query)?;
    let most = per_page.unwrap_or(50).min(KEPT);
    Ok(ok(api
        .ops
        .config_history(&actor, cluster(&api)?, path.as_deref(), most)
        .await?))
}

async fn change(
    State(api): State<Api>,
    Caller(actor): Caller,
    Body(changes): Body<ConfigChanges>,
) -> Answer {
    Ok(ok(api
        .ops
        .change_configs(&actor, cluster(&api)?, &changes)
        .await?))
}

async fn rollback(
    State(api): State<Api>,
    Caller(actor): Caller,
    Body(rollback): Body<ConfigRollback>,
) -> Answer {
    Ok(ok(api
        .ops
        .roll_config_back(&actor, cluster(&api)?, &rollback)
        .await?))
}

async fn export(State(api): State<Api>, Caller(actor): Caller) -> Answer {
    Ok(ok(api.ops.export_config(&actor, cluster(&api)?).await?))
}

async fn import(
    State(api): State<Api>,
    Caller(actor): Caller,
    Body(import): Body<ConfigImport>,
) -> Answer {
    Ok(ok(api
        .ops
        .import_config(&actor, cluster(&api)?, &import)
        .await?))
}

/// Server-sent events, one [`proto::api::ConfigEntry`] for each key that changed.
async fn watch(State(api): State<Api>, Caller(actor): Caller) -> Answer {
    let cluster = cluster(&api)?.clone();
    // Hints first: what changes while the values are read is then read again.
    let hints = api.ops.watch_config(&cluster).await?;
    let known = api.ops.stored_config(&cluster).await?;
    let shutdown = api.ops.tasks.shutdown();
    let watching = Watching {
        api,
        actor,
        cluster,
        hints,
        known,
        shutdown,
        waiting: VecDeque::new(),
    };
    Ok(Sse::new(watching.events())
        .keep_alive(KeepAlive::new().interval(KEEP_ALIVE))
        .into_response())
}

/// One reader of changes.
struct Watching {
    api: Api,
    actor: Actor,
    cluster: Cluster,
    hints: mpsc::Receiver<()>,
    known: Stock,
    shutdown: Shutdown,
    waiting: VecDeque<Value>,
}

impl Watching {
    fn events(self) -> impl Stream<Item = Result<Event, Infallible>> {
        futures_util::stream::unfold(self, async |mut watching| {
            let change = watching.next().await?;
            Some((Ok(Event::default().data(change.to_string())), watching))
        })
    }

    /// None: the stream ends, and its reader starts another.
    async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(change) = self.waiting.pop_front() {
                return Some(change);
            }
            tokio::select! {
                hint = self.hints.recv() => hint?,
                () = tokio::time::sleep(RECHECK) => {
                    let user = self.api.ops.user(&self.actor, &self.actor.guid).await;
                    match user {
                        Ok(user) if user.is_admin == self.actor.is_admin => {}
                        Ok(_) | Err(Refusal::NotFound(_)) => return None,
                        // A database that is away takes no right away.
                        Err(_) => {}
                    }
                }
                () = self.shutdown.draining() => return None,
            }
            // A store that is away is read again with the next hint.
            let Ok(now) = self.api.ops.stored_config(&self.cluster).await else {
                continue;
            };
            self.waiting = changes(&self.actor, &self.known, &now);
            self.known = now;
        }
    }
}

/// The keys of which something that is stored differs, as the reader sees them now.
fn changes(actor: &Actor, before: &Stock, now: &Stock) -> VecDeque<Value> {
    let of = |stock: &Stock, key: &Key| -> Vec<(Place, Stored)> {
        stock
            .iter()
            .filter(|(place, _)| place.path == key.path)
            .map(|(place, stored)| (place.clone(), stored.clone()))
            .collect()
    };
    KEYS.iter()
        .filter(|key| config::is_visible(actor, key) && of(before, key) != of(now, key))
        .map(|key| json!(config::entry(key, now)))
        .collect()
}
