//! Making an instance ready: its sandbox and its droplet, at the same time.

use super::agent::Agent;
use super::chain;
use super::droplets::{DropletUse, Wanted};
use super::pool::{self, FILES, Ready as Waiting};
use crate::domain::environment::HOME;
use crate::domain::pool::{Kind, Shape};
use crate::domain::record::InstanceRecord;
use crate::sandbox::{Prepare, Sandbox, SandboxLimits};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Contract §5.2: processor shares follow memory.
pub fn cpu_shares(memory_mb: u64) -> u64 {
    (memory_mb / 8).clamp(2, 256)
}

pub struct Ready {
    pub sandbox: Sandbox,
    pub droplet: DropletUse,
}

/// Prepares. The error is half a sentence for the app's owner. Once begun, a sandbox is always
/// finished and then destroyed, never abandoned half way.
pub async fn prepare(
    agent: Arc<Agent>,
    record: InstanceRecord,
    cancel: CancellationToken,
) -> Result<Ready, String> {
    let start = &record.start;
    if start.start_command.trim().is_empty() {
        return Err("it has no start command".to_string());
    }
    let limits = SandboxLimits {
        memory_mb: start.limits.mem,
        disk_mb: start.limits.disk,
        cpu_shares: cpu_shares(start.limits.mem),
        pids: agent.max_pids(),
        fds: start.limits.fds,
    };
    let wish = Prepare {
        id: record.instance.to_string(),
        stack: start.stack.clone(),
        limits,
        hostname: record.instance.to_string(),
        host_port: true,
        network: true,
        hosts: vec![],
    };
    let obtaining = async {
        tokio::select! {
            droplet = agent.droplets.obtain(Wanted::droplet(start)) => droplet.map_err(|error| chain(&error)),
            () = cancel.cancelled() => Err("it was stopped before it started".to_string()),
        }
    };
    let (sandbox, droplet) = tokio::join!(sandbox(&agent, wish), obtaining);
    let sandbox = sandbox?;
    let mounted = match droplet {
        Ok(droplet) => sandbox
            .mount_droplet(&droplet.folder(), HOME)
            .await
            .map(|()| droplet)
            .map_err(|error| chain(&error)),
        Err(why) => Err(why),
    };
    match mounted {
        Ok(droplet) => Ok(Ready { sandbox, droplet }),
        Err(why) => {
            if let Err(error) = sandbox.destroy().await {
                tracing::warn!(instance = %record.instance, error = chain(&error), "an unused sandbox could not be removed");
            }
            Err(why)
        }
    }
}

/// One that waits, or a new one.
async fn sandbox(agent: &Agent, wish: Prepare) -> Result<Sandbox, String> {
    if let Some(waiting) = taken(agent, &wish) {
        let assigned = waiting.sandbox.clone();
        match assigned.assign(&wish.hostname, wish.limits).await {
            Ok(sandbox) => return Ok(sandbox),
            Err(error) => {
                pool::failed(Kind::Instance, &waiting.sandbox, &chain(&error)).await;
            }
        }
    }
    let made = agent.prepare(wish).await;
    made.map_err(|error| chain(&error))
}

fn taken(agent: &Agent, wish: &Prepare) -> Option<Waiting> {
    if wish.stack != "host" || wish.limits.fds > FILES {
        return None;
    }
    let shape = Shape::Instance {
        disk_mb: wish.limits.disk_mb,
    };
    agent.take_prepared(&mut agent.table(), shape)
}

#[cfg(test)]
mod tests {
    #[test]
    fn shares_follow_memory() {
        assert_eq!(
            [1, 64, 1024, 100_000].map(super::cpu_shares),
            [2, 8, 128, 256]
        );
    }
}
