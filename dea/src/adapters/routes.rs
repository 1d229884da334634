//! Telling the routers: at once when an instance becomes healthy or leaves, and again in every
//! period, when a router starts and when the bus comes back.

use super::agent::{Agent, Entry};
use crate::sandbox::Sandbox;
use daemon::Shutdown;
use proto::bus::catalogue;
use proto::bus::router::Registration;
use std::sync::Arc;
use std::time::Duration;

/// Registrations published in a row before others get a turn.
const GIVE_WAY: usize = 200;

impl Agent {
    fn registration(&self, entry: &Entry, uris: Vec<String>) -> Option<Registration> {
        let port = entry.sandbox.as_ref().and_then(Sandbox::host_port)?;
        if uris.is_empty() {
            return None;
        }
        let host = self.config.address.to_string();
        Some(entry.record.registration(uris, &self.id, &self.config.zone, &host, port))
    }

    /// Registers these names of an instance; a lost message is made up for by the next period.
    pub async fn register(&self, entry: Option<Registration>) {
        if let Some(registration) = entry
            && let Err(error) = self.bus.publish(&catalogue::router_register(), &registration).await
        {
            tracing::debug!(%error, "a registration was not sent");
        }
    }

    pub async fn unregister(&self, entry: Option<Registration>) {
        if let Some(registration) = entry
            && let Err(error) = self.bus.publish(&catalogue::router_unregister(), &registration).await
        {
            tracing::warn!(%error, "an unregistration was not sent; routers find out by themselves");
        }
    }

    /// The registration of an instance under its names, or under the given ones.
    pub fn registration_of(&self, instance: &proto::ids::InstanceId, uris: Option<Vec<String>>) -> Option<Registration> {
        let table = self.table();
        let entry = table.instances.get(instance)?;
        self.registration(entry, uris.unwrap_or_else(|| entry.record.uris.clone()))
    }

    fn registrations(&self) -> Vec<Registration> {
        let table = self.table();
        table
            .instances
            .values()
            .filter(|entry| entry.registered)
            .filter_map(|entry| self.registration(entry, entry.record.uris.clone()))
            .collect()
    }
}

/// Repeats the registrations.
pub async fn run(agent: Arc<Agent>, shutdown: Shutdown) -> anyhow::Result<()> {
    let mut status = agent.bus.status();
    let mut settings = agent.settings.clone();
    let mut last = tokio::time::Instant::now();
    let mut connected = false;
    loop {
        let now_connected = status.borrow_and_update().connected;
        let period = settings.borrow_and_update().duration("dea/register/period");
        let due = if now_connected && !connected {
            true
        } else {
            tokio::select! {
                () = tokio::time::sleep_until(last + period) => true,
                () = agent.nudges.register.notified() => true,
                changed = status.changed() => { changed?; false }
                changed = settings.changed() => { changed?; false }
                () = shutdown.cancelled() => return Ok(()),
            }
        };
        if due {
            for (number, registration) in agent.registrations().into_iter().enumerate() {
                // Between two of them the instance may have left: say nothing about the gone.
                agent.register(Some(registration)).await;
                if number % GIVE_WAY == GIVE_WAY - 1 {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            }
            last = tokio::time::Instant::now();
        }
        connected = now_connected;
    }
}
