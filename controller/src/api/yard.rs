//! `/yard/v1/status`: the state of the cluster.

use super::extract::Caller;
use super::{Answer, Api, no_content, ok};
use axum::Router;
use axum::extract::{Path, State};
use axum::routing::{get, put};
use proto::api::{AgentDrain, ClusterStatus, Leader, SeenAgent, SeenComponent, WaitingThing};
use proto::bus::dea::Drain;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

pub fn routes() -> Router<Api> {
    Router::new()
        .route("/yard/v1/status", get(status))
        .route("/yard/v1/agents/{id}/drain", put(drain).delete(undrain))
}

async fn status(State(api): State<Api>, Caller(actor): Caller) -> Answer {
    let mut status = read_status((api.ops.live.status)().await);
    if actor.is_admin {
        api.ops.waiting(&mut status.known.waiting).await?;
    }
    Ok(ok(present_status(status, actor.is_admin)))
}

/// The document of the running half, in the words of the API as far as there are any.
#[derive(Default)]
struct Status {
    known: ClusterStatus,
    /// Passed on as it is.
    rest: Map<String, Value>,
}

fn read_status(seen: Value) -> Status {
    let Value::Object(mut seen) = seen else {
        return Status::default();
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
    let deployments = seen
        .remove("deployments")
        .and_then(|deployments| serde_json::from_value::<Vec<WaitingThing>>(deployments).ok())
        .unwrap_or_default();
    let drains: Vec<WaitingThing> = agents.iter().filter_map(Agent::waits).collect();
    let leader = seen
        .remove("leader")
        .and_then(|leader| leader.as_str().map(str::to_string));
    let epoch = seen.remove("epoch").and_then(|epoch| epoch.as_i64());
    let is_me = seen
        .remove("leads")
        .and_then(|leads| leads.as_bool())
        .unwrap_or(false);
    let known = ClusterStatus {
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
            .chain(deployments)
            .chain(drains)
            .collect(),
    };
    Status { known, rest: seen }
}

/// What concerns single apps only administrators see.
fn present_status(mut status: Status, is_admin: bool) -> Value {
    let mut document = status.rest;
    if !is_admin {
        status.known.waiting.retain(|it| it.kind == DRAIN);
        for component in &mut status.known.components {
            component.problems.clear();
        }
        for part in ["builds", "crashing"] {
            document.insert(part.to_string(), json!([]));
        }
    }
    if let Value::Object(known) = json!(status.known) {
        document.extend(known);
    }
    Value::Object(document)
}

/// The kind of what waits where an agent is emptied.
const DRAIN: &str = "drain";

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
    /// For what the agent's emptying waits; None: it is not emptied, or is empty.
    fn waits(&self) -> Option<WaitingThing> {
        let drain = present_drain(self.drain?);
        if drain.left == 0 {
            return None;
        }
        Some(WaitingThing {
            kind: DRAIN.to_string(),
            guid: self.id.clone(),
            name: self.id.clone(),
            because: format!(
                "{} left of what it has (instances, tasks, actions, sensors): instances go once they run elsewhere, \
                 the rest when it ends; what is left in {:.0} s is stopped",
                drain.left, drain.ends_in_seconds
            ),
            since: drain.begun_seconds_ago,
        })
    }

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
