//! The platform's own names (`api.<domain>`, `log-cache.<domain>`), kept known to the routers as any
//! app's name is.

use crate::bus::Bus;
use crate::cluster::Cluster;
use crate::run::Deps;
use crate::supervise::{Policy, Shutdown};
use proto::bus::catalogue;
use proto::bus::router::Registration;
use proto::ids::ComponentId;
use std::collections::BTreeMap;
use std::time::Duration;

/// Where a daemon serves under names of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Served<'a> {
    /// First labels of the names.
    pub names: &'a [&'a str],
    pub domain: &'a str,
    /// What the routers' metrics call it.
    pub component: &'a str,
    pub host: String,
    pub port: u16,
}

impl Served<'_> {
    /// The message that says so; `id` tells this daemon from others that serve the same names.
    pub fn registration(&self, id: &ComponentId) -> Registration {
        Registration {
            uris: self
                .names
                .iter()
                .map(|name| format!("{name}.{}", self.domain))
                .collect(),
            host: self.host.clone(),
            port: Some(self.port),
            private_instance_id: Some(id.to_string()),
            tags: BTreeMap::from([("component".to_string(), self.component.to_string())]),
            ..Registration::default()
        }
    }
}

/// Registers the names for as long as the daemon runs.
pub fn start(deps: &Deps, served: &Served<'_>) {
    let registration = served.registration(&deps.component);
    let (bus, cluster) = (deps.bus.clone(), deps.cluster.clone());
    deps.tasks
        .spawn("registration", Policy::Restart, move |shutdown| {
            keep(registration.clone(), bus.clone(), cluster.clone(), shutdown)
        });
}

/// Registers now, with every period, and whenever a router or the bus came back; takes the names
/// back as soon as no more requests are to come.
async fn keep(
    registration: Registration,
    bus: Bus,
    cluster: Cluster,
    shutdown: Shutdown,
) -> anyhow::Result<()> {
    let mut routers = bus.subscribe(&catalogue::router_start().filter()).await?;
    let mut status = bus.status();
    let mut settings = cluster.settings();
    let register = catalogue::router_register();
    loop {
        if let Err(error) = bus.publish(&register, &registration).await {
            // The next round repeats it; a reconnect starts one.
            tracing::debug!(%error, "the names could not be registered");
        }
        let period = settings
            .borrow_and_update()
            .duration("dea/register/period")
            .max(Duration::from_millis(500));
        tokio::select! {
            () = tokio::time::sleep(period) => {}
            router = routers.next() => anyhow::ensure!(router.is_some(), "the subscription to routers ended"),
            changed = status.changed() => changed?,
            changed = settings.changed() => changed?,
            () = shutdown.draining() => {
                if let Err(error) = bus.publish(&catalogue::router_unregister(), &registration).await {
                    tracing::debug!(%error, "the names could not be taken back");
                }
                if let Err(error) = bus.flush().await {
                    tracing::debug!(%error, "the bus was gone before the last words were out");
                }
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_leads_to_the_same_place() {
        let served = Served {
            names: &["api", "uaa"],
            domain: "yard.internal",
            component: "controller",
            host: "127.0.0.1".to_string(),
            port: 8081,
        };
        let id = ComponentId::new("controller-1").expect("an id");
        let registration = served.registration(&id);
        assert_eq!(
            registration.uris,
            ["api.yard.internal", "uaa.yard.internal"]
        );
        assert_eq!(
            (registration.host.as_str(), registration.port),
            ("127.0.0.1", Some(8081))
        );
        assert_eq!(
            registration.private_instance_id.as_deref(),
            Some("controller-1")
        );
        assert_eq!(registration.tags["component"], "controller");
    }
}
