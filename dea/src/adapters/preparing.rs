//! Making an instance ready: its sandbox and its droplet, at the same time.

use super::agent::Agent;
use super::chain;
use super::droplets::{DropletUse, Wanted};
use super::pool::{self, FILES, Ready as Waiting};
use crate::domain::environment::HOME;
use crate::domain::pool::{Kind, Shape};
use crate::domain::record::InstanceRecord;
use crate::sandbox::{Assigning, Prepare, Sandbox, SandboxError, SandboxLimits};
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
    let (place, droplet) = tokio::join!(place(&agent, wish.clone()), obtaining);
    let place = place?;
    let droplet = match droplet {
        Ok(droplet) => droplet,
        Err(why) => {
            discard(&record, place.sandbox()).await;
            return Err(why);
        }
    };
    let (sandbox, mounted) = show(&agent, place, wish, &droplet).await?;
    match mounted {
        Ok(()) => Ok(Ready { sandbox, droplet }),
        Err(error) => {
            discard(&record, &sandbox).await;
            Err(chain(&error))
        }
    }
}

async fn discard(record: &InstanceRecord, sandbox: &Sandbox) {
    if let Err(error) = sandbox.destroy().await {
        tracing::warn!(instance = %record.instance, error = chain(&error), "an unused sandbox could not be removed");
    }
}

/// Where an instance is to run.
enum Place {
    /// One that waited, on its way to be this instance's.
    Given(Waiting, Assigning),
    Made(Sandbox),
}

impl Place {
    fn sandbox(&self) -> &Sandbox {
        match self {
            Place::Given(waiting, _) => &waiting.sandbox,
            Place::Made(sandbox) => sandbox,
        }
    }
}

/// One that waits, or a new one.
async fn place(agent: &Agent, wish: Prepare) -> Result<Place, String> {
    if let Some(waiting) = taken(agent, &wish) {
        let given = waiting.sandbox.clone();
        match given.begin_assign(&wish.hostname, wish.limits).await {
            Ok(assigning) => return Ok(Place::Given(waiting, assigning)),
            Err(error) => {
                pool::failed(Kind::Instance, &waiting.sandbox, &chain(&error)).await;
            }
        }
    }
    make(agent, wish).await.map(Place::Made)
}

async fn make(agent: &Agent, wish: Prepare) -> Result<Sandbox, String> {
    let made = agent.prepare(wish).await;
    made.map_err(|error| chain(&error))
}

/// Shows the droplet there; in a new one, if the one that waited is of no use.
async fn show(
    agent: &Agent,
    place: Place,
    wish: Prepare,
    droplet: &DropletUse,
) -> Result<(Sandbox, Result<(), SandboxError>), String> {
    let folder = droplet.folder();
    let made = match place {
        Place::Made(sandbox) => sandbox,
        Place::Given(waiting, assigning) => {
            match assigning.finish_with_droplet(&folder, HOME).await {
                Ok(shown) => return Ok(shown),
                Err(error) => {
                    pool::failed(Kind::Instance, &waiting.sandbox, &chain(&error)).await;
                    make(agent, wish).await?
                }
            }
        }
    };
    let mounted = made.mount_droplet(&folder, HOME).await;
    Ok((made, mounted))
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
