//! Sandboxes of packs that go: idle for long, or of an older content than runs now.

use crate::adapters::agent::Agent;
use crate::domain::pack::{self, Because};
use daemon::Shutdown;
use std::sync::Arc;
use std::time::Duration;

const LOOK: Duration = Duration::from_secs(2);

pub async fn run(agent: Arc<Agent>, shutdown: Shutdown) -> anyhow::Result<()> {
    loop {
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            () = shutdown.cancelled() => return Ok(()),
        }
        let keep = agent.setting().duration("dea/pack/idle");
        let now = agent.now().uptime;
        let mut table = agent.table();
        for (sandbox, because) in pack::retired(&table.warm(), now, keep) {
            let why = match because {
                Because::Idle => "nothing has run in it for long",
                Because::Superseded => "its pack has another content now",
            };
            table.retire(&sandbox, why);
        }
    }
}
