//! What this agent has: everything in each period, one instance when it changed.

use super::agent::{Agent, TaskEntry};
use super::rhythm::{Occasion, Rhythm};
use daemon::Shutdown;
use proto::bus::catalogue;
use proto::bus::health::{Beat, Heartbeat};
use proto::ids::{InstanceId, TaskId};
use std::collections::BTreeSet;
use std::sync::Arc;

impl Agent {
    fn heartbeat(&self, droplets: Vec<Beat>, tasks: Option<Vec<TaskId>>) -> Heartbeat {
        Heartbeat {
            dea: self.id.clone(),
            droplets,
            yard_complete: Some(tasks.is_some()),
            yard_period: Some(
                self.setting()
                    .duration("dea/heartbeat/period")
                    .as_secs_f64(),
            ),
            yard_zone: Some(self.config.zone.clone()),
            yard_tasks: tasks,
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
                    &self.heartbeat(vec![beat], None),
                )
                .await
        {
            tracing::debug!(%error, "a beat was not sent; the next full one tells it");
        }
    }

    fn full_beat(&self) -> Heartbeat {
        let (beats, mut tasks) = {
            let table = self.table();
            let beats = table
                .instances
                .values()
                .filter_map(|entry| self.beat(entry, &table.evacuation))
                .collect();
            let of_apps = |(id, entry): (&String, &TaskEntry)| {
                entry
                    .of_app
                    .then(|| TaskId::new(id.as_str()).ok())
                    .flatten()
            };
            let tasks: BTreeSet<TaskId> = table.tasks.iter().filter_map(of_apps).collect();
            (beats, tasks)
        };
        // After the table: a task is in the spool before it leaves the table.
        tasks.extend(self.spool.app_tasks());
        self.heartbeat(beats, Some(tasks.into_iter().collect()))
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
