//! What this agent has: everything in each period, one instance when it changed.

use super::agent::Agent;
use super::rhythm::{Occasion, Rhythm};
use daemon::Shutdown;
use proto::bus::catalogue;
use proto::bus::health::{Beat, Heartbeat};
use proto::ids::InstanceId;
use std::sync::Arc;

impl Agent {
    fn heartbeat(&self, droplets: Vec<Beat>, complete: bool) -> Heartbeat {
        Heartbeat {
            dea: self.id.clone(),
            droplets,
            yard_complete: Some(complete),
            yard_period: Some(
                self.setting()
                    .duration("dea/heartbeat/period")
                    .as_secs_f64(),
            ),
            yard_zone: Some(self.config.zone.clone()),
        }
    }

    /// Tells the state of one instance.
    pub async fn beat_one(&self, instance: &InstanceId) {
        let beat = {
            let table = self.table();
            table
                .instances
                .get(instance)
                .and_then(|entry| self.beat(entry, &table.evacuation))
        };
        if let Some(beat) = beat
            && let Err(error) = self
                .bus
                .publish(
                    &catalogue::dea_heartbeat(),
                    &self.heartbeat(vec![beat], false),
                )
                .await
        {
            tracing::debug!(%error, "a beat was not sent; the next full one tells it");
        }
    }

    fn full_beat(&self) -> Heartbeat {
        let beats = {
            let table = self.table();
            table
                .instances
                .values()
                .filter_map(|entry| self.beat(entry, &table.evacuation))
                .collect()
        };
        self.heartbeat(beats, true)
    }
}

/// Beats in each period, when asked, and when the bus comes back.
pub async fn run(agent: Arc<Agent>, shutdown: Shutdown) -> anyhow::Result<()> {
    let mut rhythm = Rhythm::new(&agent, "dea/heartbeat/period", &agent.nudges.beat);
    while let Some(occasion) = rhythm.next(&shutdown).await? {
        if occasion == Occasion::SettingsChanged {
            continue;
        }
        if let Err(error) = agent
            .bus
            .publish(&catalogue::dea_heartbeat(), &agent.full_beat())
            .await
        {
            tracing::debug!(%error, "a heartbeat was not sent");
        }
    }
    Ok(())
}
