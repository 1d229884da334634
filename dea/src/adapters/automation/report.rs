//! What this agent runs for packs: in each period, and when it changes.

use crate::adapters::agent::Agent;
use crate::adapters::rhythm::{Occasion, Rhythm};
use daemon::Shutdown;
use proto::bus::automation::{AutomationReport, RunningAction, SensorReport, WarmPack};
use proto::bus::catalogue;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// Changes that follow each other closely are told once.
const GATHER: Duration = Duration::from_millis(200);

impl Agent {
    fn automation_report(&self) -> AutomationReport {
        // The table first: an action that ends in between is then in both, never in neither.
        let table = self.table();
        let running: BTreeSet<(String, u32)> = table.actions.keys().cloned().collect();
        let packs = table.warm();
        let sensors = table
            .sensors
            .iter()
            .map(|(sensor, entry)| SensorReport {
                sensor: sensor.clone(),
                generation: entry.generation,
                state: entry.state.name().to_string(),
                restarts: entry.restarts,
                last_exit: entry.last_exit.clone(),
                pid: entry.pid,
            })
            .collect();
        let draining = table.closed().is_some();
        drop(table);
        let told = running.into_iter().chain(self.spool.actions());
        let actions: BTreeSet<(String, u32)> = told.collect();
        AutomationReport {
            dea: self.id.to_string(),
            actions: actions
                .into_iter()
                .map(|(execution, attempt)| RunningAction { execution, attempt })
                .collect(),
            sensors,
            packs: packs
                .into_iter()
                .map(|warm| WarmPack {
                    pack: warm.key.pack,
                    sha256: warm.key.content,
                })
                .collect(),
            draining,
        }
    }
}

pub async fn run(agent: Arc<Agent>, shutdown: Shutdown) -> anyhow::Result<()> {
    let mut rhythm = Rhythm::new(&agent, "dea/pack/report", &agent.nudges.report);
    while let Some(occasion) = rhythm.next(&shutdown).await? {
        match occasion {
            Occasion::SettingsChanged => continue,
            Occasion::Nudged => tokio::time::sleep(GATHER).await,
            Occasion::CameUp | Occasion::Period => {}
        }
        if let Err(error) = agent
            .bus
            .publish(&catalogue::automation_report(), &agent.automation_report())
            .await
        {
            tracing::debug!(%error, "a report of actions was not sent");
        }
    }
    Ok(())
}
