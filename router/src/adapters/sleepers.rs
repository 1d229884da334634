//! Holds requests to apps that sleep until an instance is there, and asks for one.
//!
//! A held request has its place in memory and its client's connection, nothing else: its body is not read, no instance is
//! chosen, and limits of its route count only afterwards. Who waits looks at the table whenever it changes; a client that
//! leaves gives up its place. The wish is repeated while anybody waits: a controller that was away or does not lead yet hears
//! the next one.

use super::proxy::Worker;
use crate::domain::policy::Policy;
use crate::domain::refusal::Refusal;
use crate::domain::sleepers::Held;
use crate::domain::table::Pool;
use crate::domain::uri::{fold_host, fold_path};
use daemon::{Bus, ComponentId, Shutdown};
use proto::bus::catalogue;
use proto::bus::stream::WakeProcess;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

/// How often is asked again for whom somebody waits.
const AGAIN: Duration = Duration::from_millis(500);

/// The requests that are held. Its lock is taken by those only, and by the writer of the table.
#[derive(Debug, Default)]
pub struct Sleepers {
    held: Mutex<Held>,
    /// Somebody waits for one for whom nobody waited.
    news: Notify,
    /// The table is another one.
    table: Notify,
}

/// One held request. Its drop gives its place up.
struct Place<'a> {
    sleepers: &'a Sleepers,
    process: &'a str,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.sleepers.held().leave(self.process);
    }
}

impl Sleepers {
    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn table_changed(&self) {
        if !self.held().is_empty() {
            self.table.notify_waiters();
        }
    }

    /// Whom is waited for, and by how many.
    pub fn waited_for(&self) -> Vec<(String, usize)> {
        let held = self.held();
        held.all()
            .map(|(process, held)| (process.to_string(), held))
            .collect()
    }

    fn enter<'a>(&'a self, process: &'a str, most: usize) -> Option<Place<'a>> {
        if self.held().enter(process, most)? {
            self.news.notify_one();
        }
        Some(Place {
            sleepers: self,
            process,
        })
    }

    /// Asks for those who are waited for, until the daemon drains.
    pub async fn run(
        self: Arc<Self>,
        bus: Bus,
        component: ComponentId,
        shutdown: Shutdown,
    ) -> anyhow::Result<()> {
        loop {
            let waited_for = self.waited_for();
            let somebody = !waited_for.is_empty();
            for (process, held) in waited_for {
                let wish = WakeProcess {
                    router: component.to_string(),
                    process,
                    held: held as u64,
                };
                if let Err(error) = bus.publish(&catalogue::router_wake(), &wish).await {
                    tracing::debug!(%error, "nobody could be asked to wake an app");
                }
            }
            tokio::select! {
                () = self.news.notified() => {}
                () = tokio::time::sleep(AGAIN), if somebody => {}
                () = shutdown.cancelled() => return Ok(()),
            }
        }
    }
}

/// Holds a request until the route has an instance: its pool then.
pub async fn awake(
    worker: &Worker,
    policy: &Policy,
    asleep: &Arc<Pool>,
    host: &str,
    path: &str,
) -> Result<Arc<Pool>, Refusal> {
    let (host, path) = (fold_host(host), fold_path(path));
    let Some(first) = asleep.sleeper() else {
        return Ok(asleep.clone());
    };
    let Some(_place) = worker.sleepers.enter(&first.process, policy.max_held) else {
        metrics::counter!("held_requests_refused_total").increment(1);
        return Err(Refusal::TooManyHeld);
    };
    metrics::counter!("held_requests_total").increment(1);
    let deadline = tokio::time::sleep(policy.hold);
    tokio::pin!(deadline);
    loop {
        let changed = worker.sleepers.table.notified();
        tokio::pin!(changed);
        changed.as_mut().enable();
        let found = worker.table.load().lookup(&host, &path).cloned();
        match found {
            // (One that was woken and has none yet is waited for all the same.)
            Some(found) if !found.members.is_empty() => return Ok(found),
            Some(_) => {}
            None => {
                return Err(Refusal::UnknownRoute {
                    host: crate::domain::uri::without_port(&host).to_string(),
                });
            }
        }
        tokio::select! {
            () = changed => {}
            () = deadline.as_mut() => break,
        }
    }
    tracing::warn!(route = %asleep.name, process = %first.process, "an app that slept did not start in time");
    metrics::counter!("held_requests_expired_total").increment(1);
    Err(Refusal::NotAwake)
}
