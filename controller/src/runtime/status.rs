//! The status document: what the controller sees, who leads, and what waits for what.

use super::{LEADERSHIP, Shared, clock};
use crate::domain::placement::AgentView;
use proto::bus::dea::Drain;
use proto::bus::health::InstanceState;
use serde_json::{Value, json};
use std::time::Duration;

pub(super) async fn document(shared: &Shared) -> Value {
    let leader = leader(shared).await;
    let components = super::components::seen(shared).await;
    let deployments = super::rolling::waiting(shared).await;
    let leads = *shared.epoch.borrow();
    let bus = shared.bus.status().borrow().clone();
    let ttl = shared.advertisement_ttl();
    let now = shared.clock.now();
    let state = shared.state();
    let agents: Vec<Value> = state
        .picture
        .pool
        .view(now)
        .into_iter()
        .map(|agent| {
            let beat = state
                .picture
                .observed
                .agent(&agent.id)
                .map(|seen| now.saturating_sub(seen.last_beat).as_secs_f64());
            json!({
                "id": agent.id,
                "zone": agent.zone,
                "stacks": agent.stacks,
                "memory_free_mb": agent.free_memory_mb,
                "memory_total_mb": agent.total_memory_mb,
                "disk_free_mb": agent.free_disk_mb,
                "disk_total_mb": agent.total_disk_mb,
                "instances": agent.instances.values().sum::<u32>(),
                "advertised_seconds_ago": agent.age.as_secs_f64(),
                "heartbeat_seconds_ago": beat,
                "state": state_of(&agent, state.picture.pool.drain(&agent.id), ttl),
                "drain": state.picture.pool.drain(&agent.id),
            })
        })
        .collect();
    let waiting: Vec<Value> = state
        .picture
        .waiting
        .iter()
        .map(|(process, indices)| {
            let reasons: Vec<Value> = indices
                .iter()
                .map(|(index, wait)| {
                    let since = now.saturating_sub(wait.since).as_secs_f64();
                    json!({"index": index, "reason": wait.reason, "since": since})
                })
                .collect();
            json!({"process": process, "instances": reasons})
        })
        .collect();
    let builds: Vec<Value> = state
        .builds
        .iter()
        .map(|(guid, build)| {
            let since = clock::unix_micros().saturating_sub(build.since) as f64 / 1e6;
            json!({"build": guid, "app": build.app, "phase": build.phase, "since": since.max(0.0)})
        })
        .collect();
    let crashing: Vec<Value> = state
        .picture
        .observed
        .crashing()
        .map(|(process, version, crashes)| {
            json!({
                "process": process,
                "version": version,
                "crashes": crashes.count,
                "last": crashes.last,
                "last_seconds_ago": now.saturating_sub(crashes.last_at).as_secs_f64(),
            })
        })
        .collect();
    let planning = if !bus.connected {
        "nothing is planned: the bus is away"
    } else if leads.is_none() && leader.is_none() {
        "nothing is planned: no controller leads"
    } else if leads.is_none() {
        "another controller plans"
    } else if !state.picture.is_warm(now, ttl) {
        "waits until every agent has told what it runs"
    } else {
        "planning"
    };
    json!({
        "controller": shared.component,
        "leader": leader.as_ref().map(|(name, _)| name),
        "leads": leads.is_some(),
        "epoch": leader.as_ref().map(|(_, epoch)| epoch),
        "bus": {"connected": bus.connected, "seconds": bus.since.elapsed().as_secs_f64(), "reconnects": bus.reconnects},
        "planning": planning,
        "starts_in_flight": state.picture.ledger.launches().count(),
        "components": components,
        "agents": agents,
        "waiting": waiting,
        "crashing": crashing,
        "builds": builds,
        "deployments": deployments,
    })
}

fn state_of(agent: &AgentView, drain: Option<Drain>, ttl: Duration) -> &'static str {
    // Who says goodbye falls silent: that is no news.
    let is_silent = agent.age > ttl;
    match drain {
        None if agent.leaving => "leaving",
        _ if agent.lost => "lost",
        _ if is_silent => "silent",
        None => "ready",
        Some(Drain { left: 0, .. }) => "drained",
        Some(_) => "draining",
    }
}

/// For `/varz`.
pub(super) fn counters(shared: &Shared) -> Value {
    let state = shared.state();
    let count = |what| state.picture.observed.count(what);
    json!({
        "leads": shared.epoch.borrow().is_some(),
        "agents": state.picture.pool.view(shared.clock.now()).len(),
        "instances_running": count(InstanceState::Running),
        "instances_starting": count(InstanceState::Starting),
        "instances_crashed": count(InstanceState::Crashed),
        "processes_waiting": state.picture.waiting.len(),
        "starts_in_flight": state.picture.ledger.launches().count(),
        "builds": state.builds.len(),
    })
}

/// Who leads, since which epoch; None when the cluster store does not say.
async fn leader(shared: &Shared) -> Option<(String, i64)> {
    if let Some(epoch) = *shared.epoch.borrow() {
        return Some((shared.component.to_string(), epoch));
    }
    let key = format!("{}{LEADERSHIP}", daemon::cluster::LEADERS);
    match shared.cluster.get(&key).await {
        // The key is written once in a term: its revision is the one it was created at.
        Ok(stored) => stored.map(|stored| (stored.value, stored.revision)),
        Err(error) => {
            tracing::debug!(
                error = &error as &dyn std::error::Error,
                "the leader could not be read"
            );
            None
        }
    }
}
