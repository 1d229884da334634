//! Makes instances yield the processors as [`crate::domain::fairness`] judges: the kernel runs a control group that is
//! *idle* only when no other one of the agent wants to run, and interrupts it at once when one does.

use super::agent::Agent;
use super::chain;
use super::sampling::alive;
use crate::domain::fairness::{Fairness, Use};
use crate::domain::usage::{Reading, cpu_share};
use crate::sandbox::{Group, Sandbox};
use daemon::Shutdown;
use proto::ids::InstanceId;
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

/// What a neighbour feels of somebody who begins to burn, it feels this long.
const PERIOD: Duration = Duration::from_millis(100);

pub async fn run(agent: Arc<Agent>, shutdown: Shutdown) -> anyhow::Result<()> {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let mut fairness = Fairness::new(processors);
    let mut readings = BTreeMap::new();
    let mut of_all = None;
    let parent = agent.engine.group();
    // What a former agent of this place left.
    for (instance, sandbox) in alive(&agent) {
        set(&instance, &sandbox, false);
    }
    loop {
        tokio::select! {
            () = tokio::time::sleep(PERIOD) => {}
            () = shutdown.cancelled() => return Ok(()),
        }
        let Some(now) = read(&agent, &parent) else {
            continue;
        };
        let took = cpu_share(of_all.replace(now), now);
        if !fairness.matters(took) {
            readings.clear();
            continue;
        }
        let sandboxes: BTreeMap<InstanceId, Sandbox> = alive(&agent).into_iter().collect();
        let uses = uses(&agent, &sandboxes, &mut readings);
        for (instance, yields) in fairness.judge(agent.now().uptime, &uses) {
            if let Some(sandbox) = sandboxes.get(&instance) {
                set(&instance, sandbox, yields);
            }
        }
        metrics::gauge!("dea_instances_yielding").set(fairness.count() as f64);
    }
}

fn read(agent: &Agent, group: &Group) -> Option<Reading> {
    Some(Reading {
        at: agent.now().uptime,
        cpu_seconds: group.cpu_seconds().ok()?,
    })
}

/// What each took since the last look; of who was not looked at before nothing is known.
fn uses(
    agent: &Agent,
    sandboxes: &BTreeMap<InstanceId, Sandbox>,
    readings: &mut BTreeMap<InstanceId, Reading>,
) -> BTreeMap<InstanceId, Use> {
    let mut uses = BTreeMap::new();
    let before = std::mem::take(readings);
    for (instance, sandbox) in sandboxes {
        let Some(now) = read(agent, &sandbox.group()) else {
            continue;
        };
        readings.insert(instance.clone(), now);
        let one = Use {
            shares: sandbox.limits().cpu_shares,
            took: cpu_share(before.get(instance).copied(), now),
        };
        uses.insert(instance.clone(), one);
    }
    uses
}

fn set(instance: &InstanceId, sandbox: &Sandbox, yields: bool) {
    match sandbox
        .group()
        .yield_processor(yields, sandbox.limits().cpu_shares)
    {
        Ok(()) => {
            tracing::debug!(%instance, yields, "an instance yields the processors, or no more")
        }
        // It ended, or the kernel is older than 5.15: shares alone count then.
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => {
            tracing::warn!(%instance, error = chain(&error), "an instance cannot be made to yield the processors");
        }
    }
}
