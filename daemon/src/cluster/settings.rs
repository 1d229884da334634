//! The live settings: a watch for speed, a listing every 30 s for certainty.

use std::sync::Arc;
use std::time::Duration;

use proto::config::{PREFIX, Settings};
use tokio::sync::{mpsc, watch};
use tracing::{info, warn};

use super::connection::{AbortOnDrop, Connection, hints};
use super::list;

const RELIST: Duration = Duration::from_secs(30);
/// Between attempts while the store is away.
const RETRY: Duration = Duration::from_millis(500);

pub(super) struct Followed {
    pub(super) settings: watch::Receiver<Arc<Settings>>,
    pub(super) reachable: watch::Receiver<bool>,
    pub(super) task: AbortOnDrop,
}

/// Follows the values that the component `me` has.
pub(super) fn follow(connection: Connection, me: Option<String>) -> Followed {
    let (settings, settings_seen) = watch::channel(Arc::new(Settings::default()));
    let (reachable, reachable_seen) = watch::channel(false);
    let task = AbortOnDrop::spawn(async move {
        let (hint, mut hinted) = mpsc::channel(1);
        let watching = hints(connection.clone(), PREFIX.to_string(), hint);
        let reading = async {
            let mut complained: Vec<String> = Vec::new();
            loop {
                let wait = match list(&connection, PREFIX).await {
                    Ok((pairs, _)) => {
                        let values = pairs.iter().filter_map(|(key, stored)| {
                            Some((key.strip_prefix(PREFIX)?, stored.value.as_str()))
                        });
                        let (read, ignored) = Settings::of_component(values, me.as_deref());
                        if ignored != complained {
                            warn!(keys = ?ignored, "settings that this version does not understand keep their defaults");
                            complained = ignored;
                        }
                        settings.send_if_modified(|current| {
                            let changed = **current != read;
                            if changed {
                                *current = Arc::new(read);
                            }
                            changed
                        });
                        if !reachable.send_replace(true) {
                            info!("the cluster store is there");
                        }
                        RELIST
                    }
                    Err(error) => {
                        if reachable.send_replace(false) {
                            warn!(error = %format!("{:#}", anyhow::Error::from(error)), "the cluster store is away, the last known settings stay");
                        }
                        RETRY
                    }
                };
                let _ = tokio::time::timeout(wait, hinted.recv()).await;
            }
        };
        // Neither ends; the task does when its holder is dropped.
        tokio::join!(watching, reading);
    });
    Followed {
        settings: settings_seen,
        reachable: reachable_seen,
        task,
    }
}
