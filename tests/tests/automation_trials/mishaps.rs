//! Webhooks are called, rules run shell actions, and meanwhile one part of the cluster is killed again and
//! again, at moments that a seed decides.

use crate::account::{Effects, Outcome, balance, ended};
use crate::effects;
use crate::load::Calls;
use crate::{Trial, World};
use anyhow::{bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use proto::node::ComponentState;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::json;
use std::time::Duration;
use tests::{Cluster, eventually};

/// Everything has an end by then: an action's own limit (60 s), what its agent may take to tell (30 s), and
/// a busy machine.
const ENDED_WITHIN: Duration = Duration::from_secs(180);
/// Together so many a second that a slow machine keeps up as well: what matters is what is under way when
/// something is killed, not how much.
const CALLERS: usize = 5;
const PAUSE: Duration = Duration::from_millis(400);

/// A component that is killed so many times, at random moments of its life, its start included.
async fn killed(
    cluster: &Cluster,
    component: &str,
    kills: u32,
    dice: &mut StdRng,
) -> anyhow::Result<()> {
    for _ in 0..kills {
        tokio::time::sleep(Duration::from_millis(dice.random_range(200..4000))).await;
        eventually(
            &format!("{component} has a process"),
            Duration::from_secs(60),
            || async { cluster.kill(component).map(drop) },
        )
        .await?;
    }
    ready(cluster, component).await
}

async fn ready(cluster: &Cluster, component: &str) -> anyhow::Result<()> {
    eventually(
        &format!("{component} is ready"),
        Duration::from_secs(90),
        || async {
            let status = cluster.node_status()?;
            let entry = status.components.iter().find(|one| one.name == component);
            match entry {
                Some(entry) if entry.state == ComponentState::Ready && entry.pid.is_some() => {
                    Ok(())
                }
                other => bail!("{other:?}"),
            }
        },
    )
    .await
}

/// A component that stands still for a while, its connections open.
async fn suspended(cluster: &Cluster, component: &str, time: Duration) -> anyhow::Result<()> {
    let pid = Pid::from_raw(cluster.pid(component)?);
    kill(pid, Signal::SIGSTOP)?;
    tokio::time::sleep(time).await;
    // It may have been taken for dead and replaced; then this one is gone.
    match kill(pid, Signal::SIGCONT) {
        Ok(()) | Err(nix::errno::Errno::ESRCH) => {}
        Err(error) => return Err(error.into()),
    }
    ready(cluster, component).await
}

enum Mishap {
    Killed(&'static str),
    Suspended(&'static str, Duration),
}

async fn trial(world: &World, hook: &str, mishap: Mishap) -> anyhow::Result<Outcome> {
    let mut dice = StdRng::seed_from_u64(world.seed);
    let command = effects::command(&world.cluster);
    world
        .api
        .rule(hook, "core.local", json!({ "cmd": command }))
        .await?;
    let calls = Calls::start(&world.api, hook, CALLERS, PAUSE);
    let mut done = Ok(());
    for _ in 0..world.rounds {
        done = match mishap {
            Mishap::Killed(component) => killed(&world.cluster, component, 3, &mut dice).await,
            Mishap::Suspended(component, time) => suspended(&world.cluster, component, time).await,
        };
        if done.is_err() {
            break;
        }
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    let promised = calls.stop().await;
    done?;
    ensure!(
        promised.acknowledged.len() >= 20,
        "only {} calls were acknowledged: {:?}",
        promised.acknowledged.len(),
        promised.last_failure
    );
    ended(world, hook, ENDED_WITHIN).await?;
    let outcome = balance(world, hook, &promised, Effects::Counted).await?;
    let succeeded = outcome.ends.get("succeeded").copied().unwrap_or(0);
    ensure!(
        succeeded * 2 > outcome.acknowledged,
        "hardly anything succeeded: {}",
        outcome.line()
    );
    Ok(outcome)
}

async fn reported(
    world: &World,
    name: &'static str,
    hook: &str,
    mishap: Mishap,
) -> anyhow::Result<()> {
    let outcome = trial(world, hook, mishap).await?;
    println!("    {}", outcome.line());
    world.note(Trial {
        name,
        line: outcome.line(),
    });
    Ok(())
}

pub async fn the_controller_may_be_killed(world: &World) -> anyhow::Result<()> {
    let mishap = Mishap::Killed("controller-1");
    reported(world, "controller killed", "controller", mishap).await
}

pub async fn the_agent_may_be_killed(world: &World) -> anyhow::Result<()> {
    reported(world, "agent killed", "agent", Mishap::Killed("dea-1")).await
}

pub async fn the_bus_may_be_killed(world: &World) -> anyhow::Result<()> {
    reported(world, "nats-server killed", "bus", Mishap::Killed("nats")).await
}

pub async fn the_cluster_store_may_be_killed(world: &World) -> anyhow::Result<()> {
    reported(world, "etcd killed", "store", Mishap::Killed("etcd")).await
}

/// Longer than its lease of leadership lasts (10 s): when it goes on it leads no more, and must find out.
pub async fn the_leader_may_stand_still(world: &World) -> anyhow::Result<()> {
    let mishap = Mishap::Suspended("controller-1", Duration::from_secs(12));
    reported(
        world,
        "controller suspended beyond its lease",
        "still",
        mishap,
    )
    .await
}
