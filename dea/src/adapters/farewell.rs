//! The agent's orderly end: it says that it takes no more work, stops everything gracefully and at
//! once, and waits until the exits are acknowledged.
//!
//! Only when somebody *wants* the agent to end. If a part of the agent broke, its instances must
//! not suffer: they are left running and the next agent adopts them.

use super::agent::{Agent, TaskWish, Wish};
use super::automation::sensors::SensorCommand;
use super::automation::unit::PackCommand;
use crate::domain::instance::{SHUTDOWN_GRACE, StopCause};
use daemon::Shutdown;
use futures_util::FutureExt;
use proto::bus::catalogue;
use std::sync::Arc;
use std::time::Duration;

/// How long the last exits may take to be acknowledged; they are repeated by the next agent.
const ACKNOWLEDGE: Duration = Duration::from_secs(2);
/// How long stopping everything may take beyond the grace of each instance.
const SLACK: Duration = Duration::from_secs(8);
const LOOK: Duration = Duration::from_millis(20);

pub async fn run(agent: Arc<Agent>, shutdown: Shutdown) -> anyhow::Result<()> {
    shutdown.draining().await;
    agent.table().draining = true;
    let broken = agent
        .tasks
        .stop_requested()
        .now_or_never()
        .is_some_and(|cause| matches!(cause, daemon::StopCause::TaskEnded { .. }));
    if broken {
        leave(&agent);
        return Ok(());
    }
    if let Err(error) = agent
        .bus
        .publish(&catalogue::dea_shutdown(), &agent.goodbye(None))
        .await
    {
        tracing::debug!(%error, "the agent's shutdown was not announced");
    }
    {
        let mut table = agent.table();
        for instance in table.instances.keys() {
            table.wish(instance, Wish::Stop(StopCause::AgentShutdown));
        }
        for task in table.tasks.values() {
            let _ = task
                .stop
                .try_send(TaskWish::Stop("the agent is shutting down".to_string()));
        }
        for pack in table.packs.values_mut() {
            pack.closing = true;
            let _ = pack.commands.try_send(PackCommand::Shutdown);
        }
        for sensor in table.sensors.values() {
            let _ = sensor.commands.try_send(SensorCommand::Stop);
        }
        table.pool.look();
    }
    let pace = agent.pace();
    wait(pace.drain + pace.grace.min(SHUTDOWN_GRACE) + SLACK, || {
        let table = agent.table();
        table.instances.is_empty()
            && table.tasks.is_empty()
            && table.packs.is_empty()
            && table.sensors.is_empty()
            && table.pool.is_empty()
    })
    .await;
    wait(ACKNOWLEDGE, || agent.spool.is_empty()).await;
    agent.engine.clone().close().await;
    Ok(())
}

/// Every unit lets go of its sandbox.
fn leave(agent: &Agent) {
    let table = agent.table();
    for instance in table.instances.keys() {
        table.wish(instance, Wish::Leave);
    }
    for task in table.tasks.values() {
        let _ = task.stop.try_send(TaskWish::Leave);
    }
    for pack in table.packs.values() {
        let _ = pack.commands.try_send(PackCommand::Leave);
    }
    for sensor in table.sensors.values() {
        let _ = sensor.commands.try_send(SensorCommand::Leave);
    }
}

/// Until it is so, or the time is over.
async fn wait(within: Duration, is_so: impl Fn() -> bool) {
    let _ = tokio::time::timeout(within, async {
        while !is_so() {
            tokio::time::sleep(LOOK).await;
        }
    })
    .await;
}
