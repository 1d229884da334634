//! What instances use, read every two seconds; beats and answers show the last reading.

use super::agent::Agent;
use crate::domain::usage::{Reading, cpu_share};
use crate::sandbox::Sandbox;
use daemon::Shutdown;
use proto::bus::dea::Usage;
use proto::bus::health::InstanceState;
use proto::ids::InstanceId;
use std::sync::Arc;
use std::time::Duration;

const PERIOD: Duration = Duration::from_secs(2);
const PATIENCE: Duration = Duration::from_secs(1);
/// Unused droplets are looked for every so many readings.
const REAP_EVERY: u64 = 15;
/// How often sandboxes that did not go are tried again.
const SWEEP_EVERY: Duration = Duration::from_secs(10);

pub async fn run(agent: Arc<Agent>, shutdown: Shutdown) -> anyhow::Result<()> {
    let mut round = 0u64;
    loop {
        tokio::select! {
            () = tokio::time::sleep(PERIOD) => {}
            () = shutdown.cancelled() => return Ok(()),
        }
        for (instance, sandbox) in alive(&agent) {
            if let Ok(Ok(usage)) = tokio::time::timeout(PATIENCE, sandbox.usage()).await {
                show(&agent, &instance, usage);
            }
        }
        gauge(&agent);
        round += 1;
        if round.is_multiple_of(REAP_EVERY) {
            let droplets = agent.droplets.clone();
            tokio::task::spawn_blocking(move || droplets.reap()).await?;
        }
    }
}

/// Removes what could not be removed before. Apart from the readings: one attempt may take minutes.
pub async fn sweep(agent: Arc<Agent>, shutdown: Shutdown) -> anyhow::Result<()> {
    loop {
        tokio::select! {
            () = tokio::time::sleep(SWEEP_EVERY) => {}
            () = shutdown.cancelled() => return Ok(()),
        }
        tokio::select! {
            () = agent.engine.sweep() => {}
            () = shutdown.cancelled() => return Ok(()),
        }
    }
}

/// Instances that run or begin to.
pub fn alive(agent: &Agent) -> Vec<(InstanceId, Sandbox)> {
    let table = agent.table();
    table
        .instances
        .iter()
        .filter(|(_, entry)| {
            matches!(
                entry.machine.beat_state(),
                Some(InstanceState::Starting | InstanceState::Running | InstanceState::Evacuating)
            )
        })
        .filter_map(|(id, entry)| Some((id.clone(), entry.sandbox.clone()?)))
        .collect()
}

fn gauge(agent: &Agent) {
    let (offered, reserved, used) = agent.memory();
    let table = agent.table();
    metrics::gauge!("dea_instances").set(table.instances.len() as f64);
    metrics::gauge!("dea_tasks").set(table.tasks.len() as f64);
    drop(table);
    metrics::gauge!("dea_memory_offered_mb").set(offered as f64);
    metrics::gauge!("dea_memory_reserved_mb").set(reserved as f64);
    metrics::gauge!("dea_memory_used_mb").set(used as f64);
    metrics::gauge!("dea_facts_unacknowledged").set(agent.spool.len() as f64);
}

fn show(agent: &Agent, instance: &InstanceId, usage: crate::sandbox::Usage) {
    let now = agent.now();
    let reading = Reading {
        at: now.uptime,
        cpu_seconds: usage.cpu_seconds,
    };
    if let Some(entry) = agent.table().instances.get_mut(instance) {
        entry.usage = Some(Usage {
            time: now.unix,
            cpu: cpu_share(entry.reading, reading),
            mem: usage.memory_bytes,
            disk: usage.disk_bytes,
        });
        entry.reading = Some(reading);
    }
}
