//! Lines from the bus into the hub, and the live limits.

use super::hub::Hub;
use super::now;
use crate::domain::store::Limits;
use daemon::{Bus, Cluster, Readiness, Shutdown};
use proto::bus::catalogue;
use proto::config::Settings;
use std::sync::Arc;

pub(crate) fn limits(settings: &Settings) -> Limits {
    Limits {
        entries_per_source: usize::try_from(settings.integer("collector/recent/lines_per_app"))
            .unwrap_or(usize::MAX),
        bytes: usize::try_from(settings.size("collector/recent/max_memory")).unwrap_or(usize::MAX),
    }
}

pub(crate) async fn serve(
    hub: Arc<Hub>,
    bus: Bus,
    readiness: Readiness,
    shutdown: Shutdown,
) -> anyhow::Result<()> {
    let mut batches = bus.subscribe(&catalogue::logs()).await?;
    readiness.set("logs", true, "");
    loop {
        tokio::select! {
            received = batches.next() => match received {
                Some(received) => hub.take(now(), received.message),
                None => anyhow::bail!("the subscription to log lines ended"),
            },
            () = shutdown.cancelled() => return Ok(()),
        }
    }
}

pub(crate) async fn follow_limits(
    hub: Arc<Hub>,
    cluster: Cluster,
    shutdown: Shutdown,
) -> anyhow::Result<()> {
    let mut settings = cluster.settings();
    let mut before = None;
    loop {
        let wanted = limits(&settings.borrow_and_update());
        if before != Some(wanted) {
            hub.limit(wanted);
            before = Some(wanted);
        }
        tokio::select! {
            changed = settings.changed() => changed?,
            () = shutdown.cancelled() => return Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_that_is_read_is_in_the_schema() {
        let limits = limits(&Settings::default());
        assert!(limits.entries_per_source > 0 && limits.bytes > 0);
    }
}
