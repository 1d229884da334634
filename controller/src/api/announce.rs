//! `api.`, `uaa.`, `login.` and `st2.<domain>`, kept known to the routers as any app's name is.

use daemon::{Bus, Cluster, Deps, Policy, Shutdown};
use proto::bus::catalogue;
use proto::bus::router::Registration;
use std::collections::BTreeMap;
use std::time::Duration;

/// Hosts that lead here.
const HOSTS: [&str; 4] = ["api", "uaa", "login", "st2"];

/// Registers `advertise` (`host:port`) under the public names for as long as the daemon runs.
pub fn start(deps: &Deps, domain: &str, advertise: &str) {
    let Some(registration) = registration(domain, deps.component.as_str(), advertise) else {
        tracing::error!(
            advertise,
            "the address to advertise has no port: no router will find the API"
        );
        return;
    };
    let (bus, cluster) = (deps.bus.clone(), deps.cluster.clone());
    deps.tasks
        .spawn("registration", Policy::Restart, move |shutdown| {
            keep(registration.clone(), bus.clone(), cluster.clone(), shutdown)
        });
}

fn registration(domain: &str, component: &str, advertise: &str) -> Option<Registration> {
    let (host, port) = advertise.rsplit_once(':')?;
    Some(Registration {
        uris: HOSTS
            .iter()
            .map(|name| format!("{name}.{domain}"))
            .collect(),
        host: host.trim_matches(['[', ']']).to_string(),
        port: Some(port.parse().ok()?),
        private_instance_id: Some(component.to_string()),
        tags: BTreeMap::from([("component".to_string(), "controller".to_string())]),
        ..Registration::default()
    })
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
    fn the_public_names_lead_to_the_advertised_address() {
        let registration = registration("yard.internal", "controller-1", "127.0.0.1:8081").unwrap();
        assert_eq!(
            registration.uris,
            [
                "api.yard.internal",
                "uaa.yard.internal",
                "login.yard.internal",
                "st2.yard.internal"
            ]
        );
        assert_eq!(
            (registration.host.as_str(), registration.port),
            ("127.0.0.1", Some(8081))
        );
        assert!(super::registration("yard.internal", "controller-1", "127.0.0.1").is_none());
    }
}
