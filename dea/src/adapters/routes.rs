//! Telling the routers: at once when an instance becomes healthy or leaves, and again in every
//! period, when a router starts and when the bus comes back.

use super::agent::{Agent, Entry};
use super::rhythm::{Occasion, Rhythm};
use crate::sandbox::Sandbox;
use daemon::Shutdown;
use proto::bus::catalogue;
use proto::bus::router::Registration;
use proto::ids::InstanceId;
use std::sync::Arc;
use std::time::Duration;

/// Registrations published in a row before others get a turn.
const GIVE_WAY: usize = 200;

impl Agent {
    /// What routers are told about an instance: under its names, each on its terms.
    fn registrations(&self, entry: &Entry) -> Vec<Registration> {
        let Some(port) = entry.sandbox.as_ref().and_then(Sandbox::host_port) else {
            return Vec::new();
        };
        let host = self.config.host().to_string();
        let mut registrations =
            entry
                .record
                .registrations(&self.id, &self.config.zone, &host, port);
        for registration in &mut registrations {
            registration.endpoint_updated_at_ns = Some(self.clock.steady_unix_ns());
        }
        registrations
    }

    /// What routers are told that takes names of an instance away: the given ones, or all.
    fn unregistration(&self, entry: &Entry, uris: Option<Vec<String>>) -> Option<Registration> {
        let port = entry.sandbox.as_ref().and_then(Sandbox::host_port)?;
        let uris = uris.unwrap_or_else(|| entry.record.uris.clone());
        if uris.is_empty() {
            return None;
        }
        let host = self.config.host().to_string();
        let mut registration =
            entry
                .record
                .registration(uris, &self.id, &self.config.zone, &host, port);
        // Two subjects have no order between them: routers believe the later time.
        registration.endpoint_updated_at_ns = Some(self.clock.steady_unix_ns());
        Some(registration)
    }

    /// Tells the routers the instance's names, if it is to be found there. A lost message is made
    /// up for by the next period.
    pub async fn announce_routes(&self, instance: &InstanceId) {
        // Whether it is still routed is looked up and said under one gate: otherwise a repetition
        // could overtake the withdrawal of an instance that just left, and stay.
        let _in_order = self.routes_in_order.lock().await;
        let registrations = {
            let table = self.table();
            table
                .instances
                .get(instance)
                .filter(|entry| entry.registered)
                .map(|entry| self.registrations(entry))
        };
        for registration in registrations.into_iter().flatten() {
            if let Err(error) = self
                .bus
                .publish(&catalogue::router_register(), &registration)
                .await
            {
                tracing::debug!(%error, "a registration was not sent");
            }
        }
    }

    /// Takes names of the instance away: the given ones or all. `returns`: it is about to be replaced.
    pub async fn withdraw_routes(
        &self,
        instance: &InstanceId,
        uris: Option<Vec<String>>,
        returns: bool,
    ) {
        let _in_order = self.routes_in_order.lock().await;
        let registration = {
            let table = self.table();
            table
                .instances
                .get(instance)
                .and_then(|entry| self.unregistration(entry, uris))
        };
        if let Some(mut registration) = registration
            && let Err(error) = {
                registration.yard_returns = Some(returns).filter(|returns| *returns);
                self.bus
                    .publish(&catalogue::router_unregister(), &registration)
                    .await
            }
        {
            tracing::warn!(%error, "an unregistration was not sent; routers find out by themselves");
        }
    }

    fn routed(&self) -> Vec<InstanceId> {
        self.table()
            .instances
            .iter()
            .filter(|(_, entry)| entry.registered)
            .map(|(id, _)| id.clone())
            .collect()
    }
}

/// Repeats the registrations.
pub async fn run(agent: Arc<Agent>, shutdown: Shutdown) -> anyhow::Result<()> {
    let mut rhythm = Rhythm::new(&agent, "dea/register/period", &agent.nudges.register);
    while let Some(occasion) = rhythm.next(&shutdown).await? {
        if occasion == Occasion::SettingsChanged {
            continue;
        }
        for (number, instance) in agent.routed().into_iter().enumerate() {
            agent.announce_routes(&instance).await;
            if number % GIVE_WAY == GIVE_WAY - 1 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    }
    Ok(())
}
