//! What this agent could take: in each period, when it changed, when asked; and its hello.

use super::agent::Agent;
use super::rhythm::{Occasion, Rhythm};
use crate::domain::capacity;
use proto::bus::catalogue;
use proto::bus::dea::{Advertisement, Drain, Hello, PlacementProperties, Shutdown};
use std::sync::Arc;
use std::time::Duration;

/// Changes that follow each other closely are told once.
const GATHER: Duration = Duration::from_millis(20);
/// The dialect of the bus this agent speaks.
const VERSION: f64 = 0.1;

impl Agent {
    pub fn hello(&self) -> Hello {
        Hello {
            id: self.id.clone(),
            ip: self.config.host().to_string(),
            port: 0,
            version: VERSION,
        }
    }

    /// It takes no more work: for good, or while it is emptied.
    pub fn goodbye(&self, drain: Option<Drain>) -> Shutdown {
        let hello = self.hello();
        Shutdown {
            id: hello.id,
            ip: hello.ip,
            version: hello.version,
            app_id_to_count: self.table().counts(),
            yard_zone: Some(self.config.zone.clone()),
            yard_drain: drain,
        }
    }

    fn advertisement(&self) -> Option<Advertisement> {
        let offered = self.offered();
        let table = self.table();
        if table.closed().is_some() {
            return None;
        }
        let free = capacity::available(offered, &table.claims());
        Some(Advertisement {
            id: self.id.clone(),
            stacks: vec!["host".to_string()],
            available_memory: free.memory_mb,
            available_disk: free.disk_mb,
            app_id_to_count: table.counts(),
            placement_properties: PlacementProperties {
                zone: self.config.zone.clone(),
            },
            url: None,
            yard_total_memory: Some(offered.memory_mb),
            yard_total_disk: Some(offered.disk_mb),
        })
    }
}

/// Also when the settings change: overcommit changes what is free.
pub async fn run(agent: Arc<Agent>, shutdown: daemon::Shutdown) -> anyhow::Result<()> {
    let mut rhythm = Rhythm::new(&agent, "dea/advertise/period", &agent.nudges.advertise);
    while let Some(occasion) = rhythm.next(&shutdown).await? {
        match occasion {
            Occasion::CameUp => {
                if let Err(error) = agent
                    .bus
                    .publish(&catalogue::dea_hello(), &agent.hello())
                    .await
                {
                    tracing::debug!(%error, "the hello was not sent");
                }
            }
            Occasion::Nudged => tokio::time::sleep(GATHER).await,
            Occasion::Period | Occasion::SettingsChanged => {}
        }
        if let Some(advertisement) = agent.advertisement()
            && let Err(error) = agent
                .bus
                .publish(&catalogue::dea_advertise(), &advertisement)
                .await
        {
            tracing::debug!(%error, "an advertisement was not sent");
        }
        // In its place: whoever came up meanwhile learns of the drain too.
        if let Some(drain) = agent.told_drain()
            && let Err(error) = agent
                .bus
                .publish(&catalogue::dea_shutdown(), &agent.goodbye(Some(drain)))
                .await
        {
            tracing::debug!(%error, "the emptying of the agent was not told");
        }
    }
    Ok(())
}
