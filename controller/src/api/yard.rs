//! `/yard/v1`: the live configuration and the state of the cluster.

use super::extract::{Body, Caller};
use super::{Answer, Api, no_content, ok};
use crate::automation::ops::base_environment;
use crate::domain::access::Actor;
use crate::ops::{Refusal, config};
use axum::Router;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::response::IntoResponse;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::routing::{get, put};
use daemon::{Cluster, Shutdown, Stored};
use futures_util::Stream;
use proto::api::{
    AgentDrain, ClusterStatus, ConfigChange, ConfigList, Leader, SeenAgent, SeenComponent,
    WaitingThing,
};
use proto::bus::dea::Drain;
use proto::config::KEYS;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::{BTreeMap, VecDeque};
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
        .route("/yard/v1/config/{*path}", get(show).put(set).delete(unset))
        .route("/yard/v1/status", get(status))
        .route("/yard/v1/agents/{id}/drain", put(drain).delete(undrain))
}

fn cluster(api: &Api) -> Result<&Cluster, Refusal> {
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

async fn set(
    State(api): State<Api>,
    Caller(actor): Caller,
    Path(path): Path<String>,
    Body(change): Body<ConfigChange>,
) -> Answer {
    // What cannot be right is told before anything is reached.
    api.ops.check_config(&actor, &path, Some(&change.value))?;
    Ok(ok(api
        .ops
        .change_config(
            &actor,
            cluster(&api)?,
            &path,
            Some(&change.value),
            change.revision,
        )
        .await?))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Revision {
    revision: Option<i64>,
}

async fn unset(
    State(api): State<Api>,
    Caller(actor): Caller,
    Path(path): Path<String>,
    query: Result<Query<Revision>, QueryRejection>,
) -> Answer {
    api.ops.check_config(&actor, &path, None)?;
    let Query(Revision { revision }) =
        query.map_err(|rejection| Refusal::BadQuery(rejection.body_text()))?;
    api.ops
        .change_config(&actor, cluster(&api)?, &path, None, revision)
        .await?;
    Ok(no_content())
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
    known: BTreeMap<String, Stored>,
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

/// The keys whose stored value differs, as the reader sees them now.
fn changes(
    actor: &Actor,
    before: &BTreeMap<String, Stored>,
    now: &BTreeMap<String, Stored>,
) -> VecDeque<Value> {
    KEYS.iter()
        .filter(|key| config::is_visible(actor, key) && before.get(key.path) != now.get(key.path))
        .map(|key| json!(config::entry(key, now.get(key.path))))
        .collect()
}

async fn status(State(api): State<Api>, Caller(actor): Caller) -> Answer {
    let mut document = present_status((api.ops.live.status)().await, actor.is_admin);
    if actor.is_admin
        && let Some(missing) = base_environment::missing(&mut *api.ops.store.read().await?).await?
        && let Some(waiting) = document["waiting"].as_array_mut()
    {
        waiting.push(json!(WaitingThing {
            kind: "libraries".to_string(),
            name: "the Python libraries of all packs".to_string(),
            because: missing.because,
            since: missing.since.as_secs_f64(),
            ..WaitingThing::default()
        }));
    }
    Ok(ok(document))
}

/// The document of the running half in the words of the API. What there is no word for is passed on
/// as it is; what concerns single apps only administrators see.
fn present_status(seen: Value, is_admin: bool) -> Value {
    let Value::Object(mut seen) = seen else {
        return json!(ClusterStatus::default());
    };
    let agents = seen
        .remove("agents")
        .and_then(|agents| serde_json::from_value::<Vec<Agent>>(agents).ok())
        .unwrap_or_default();
    let components = seen
        .remove("components")
        .and_then(|components| serde_json::from_value::<Vec<SeenComponent>>(components).ok())
        .unwrap_or_default();
    let waiting = seen
        .remove("waiting")
        .and_then(|waiting| serde_json::from_value::<Vec<Waiting>>(waiting).ok())
        .unwrap_or_default();
    let builds = seen
        .get("builds")
        .and_then(|builds| serde_json::from_value::<Vec<Build>>(builds.clone()).ok())
        .unwrap_or_default();
    let leader = seen
        .remove("leader")
        .and_then(|leader| leader.as_str().map(str::to_string));
    let epoch = seen.remove("epoch").and_then(|epoch| epoch.as_i64());
    let is_me = seen
        .remove("leads")
        .and_then(|leads| leads.as_bool())
        .unwrap_or(false);
    let status = ClusterStatus {
        components,
        agents: agents.into_iter().map(Agent::present).collect(),
        leader: leader.map(|name| Leader {
            name,
            epoch: epoch.unwrap_or(0),
            is_me,
        }),
        waiting: waiting
            .into_iter()
            .map(Waiting::present)
            .chain(builds.into_iter().map(Build::present))
            .collect(),
    };
    let mut document = seen;
    if let Value::Object(known) = json!(status) {
        document.extend(known);
    }
    if !is_admin {
        for part in ["waiting", "builds", "crashing"] {
            document.insert(part.to_string(), json!([]));
        }
    }
    Value::Object(document)
}

async fn drain(State(api): State<Api>, Caller(actor): Caller, Path(id): Path<String>) -> Answer {
    let drain = api.ops.drain_agent(&actor, &id, true).await?;
    Ok(ok(drain.map(present_drain).unwrap_or_default()))
}

async fn undrain(State(api): State<Api>, Caller(actor): Caller, Path(id): Path<String>) -> Answer {
    api.ops.drain_agent(&actor, &id, false).await?;
    Ok(no_content())
}

fn present_drain(drain: Drain) -> AgentDrain {
    let now = crate::ops::now() as f64 / 1e6;
    AgentDrain {
        left: drain.left,
        begun_seconds_ago: (now - drain.since).max(0.0),
        ends_in_seconds: (drain.until - now).max(0.0),
    }
}

#[derive(Deserialize)]
struct Agent {
    id: String,
    #[serde(default)]
    zone: String,
    #[serde(default)]
    stacks: Vec<String>,
    memory_free_mb: f64,
    memory_total_mb: Option<f64>,
    disk_free_mb: f64,
    disk_total_mb: Option<f64>,
    #[serde(default)]
    instances: u64,
    advertised_seconds_ago: Option<f64>,
    heartbeat_seconds_ago: Option<f64>,
    state: String,
    #[serde(default)]
    drain: Option<Drain>,
}

impl Agent {
    fn present(self) -> SeenAgent {
        let heard = [self.advertised_seconds_ago, self.heartbeat_seconds_ago]
            .into_iter()
            .flatten()
            .fold(f64::INFINITY, f64::min);
        SeenAgent {
            id: self.id,
            zone: self.zone,
            stacks: self.stacks,
            available_memory_in_mb: self.memory_free_mb.max(0.0) as u64,
            total_memory_in_mb: self.memory_total_mb.map(|size| size.max(0.0) as u64),
            available_disk_in_mb: self.disk_free_mb.max(0.0) as u64,
            total_disk_in_mb: self.disk_total_mb.map(|size| size.max(0.0) as u64),
            instances: self.instances,
            seen_seconds_ago: if heard.is_finite() { heard } else { 0.0 },
            state: if self.state == "silent" {
                "stale".to_string()
            } else {
                self.state
            },
            drain: self.drain.map(present_drain),
        }
    }
}

#[derive(Deserialize)]
struct Waiting {
    process: String,
    #[serde(default)]
    instances: Vec<WaitingIndex>,
}

#[derive(Deserialize)]
struct WaitingIndex {
    index: u32,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    since: f64,
}

impl Waiting {
    fn present(self) -> WaitingThing {
        let since = self.instances.iter().map(|one| one.since);
        let since = since.fold(0.0, f64::max);
        let mut by_reason: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for one in self.instances {
            by_reason
                .entry(one.reason)
                .or_default()
                .push(format!("#{}", one.index));
        }
        let reasons: Vec<String> = by_reason
            .into_iter()
            .map(|(reason, indices)| format!("{}: {reason}", indices.join(" ")))
            .collect();
        WaitingThing {
            kind: "instance".into(),
            guid: self.process,
            because: reasons.join("; "),
            since,
            ..WaitingThing::default()
        }
    }
}

#[derive(Deserialize)]
struct Build {
    build: String,
    phase: Value,
    #[serde(default)]
    since: f64,
}

impl Build {
    fn present(self) -> WaitingThing {
        let because = match self.phase {
            Value::String(phase) => phase,
            other => other.to_string(),
        };
        WaitingThing {
            kind: "build".into(),
            guid: self.build,
            because,
            since: self.since,
            ..WaitingThing::default()
        }
    }
}
