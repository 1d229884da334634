//! `log-cache.<domain>`, kept known to the routers as any app's name is.

use daemon::{Bus, Cluster, ComponentId, Shutdown};
use proto::bus::catalogue;
use proto::bus::router::Registration;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;
use tracing::debug;

pub(crate) fn registration(
    domain: &str,
    component: &ComponentId,
    address: SocketAddr,
) -> Registration {
    Registration {
        uris: vec![format!("log-cache.{domain}")],
        host: address.ip().to_string(),
        port: Some(address.port()),
        private_instance_id: Some(component.to_string()),
        tags: BTreeMap::from([("component".to_string(), "collector".to_string())]),
        ..Default::default()
    }
}

/// Registers now, with every period, and whenever a router or the bus came back; takes the name
/// back at the end.
pub(crate) async fn keep(
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
            debug!(%error, "the name could not be registered");
        }
        let period = settings
            .borrow_and_update()
            .duration("dea/register/period")
            .max(Duration::from_millis(500));
        tokio::select! {
            () = tokio::time::sleep(period) => {}
            router = routers.next() => {
                if router.is_none() {
                    anyhow::bail!("the subscription to routers ended");
                }
            }
            changed = status.changed() => changed?,
            changed = settings.changed() => changed?,
            () = shutdown.draining() => {
                if let Err(error) = bus.publish(&catalogue::router_unregister(), &registration).await {
                    debug!(%error, "the name could not be taken back");
                }
                let _ = bus.flush().await;
                return Ok(());
            }
        }
    }
}
