//! Tells the controllers each period what was answered: requests and errors of each route.
//!
//! A report without traffic is sent too: to the controllers silence means that this router is not heard, not
//! that nobody asks it for anything. What was counted while the bus was away is dropped: told later it would
//! look like a burst of the moment.

use crate::domain::policy::Policy as Settings;
use crate::domain::table::Table;
use crate::domain::tally::{Taken, Tallies};
use arc_swap::ArcSwap;
use daemon::{Bus, ComponentId, Shutdown};
use proto::bus::catalogue;
use proto::bus::stream::{RouteTraffic, RouterTraffic};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often the period is looked at while waiting.
const LOOK: Duration = Duration::from_millis(500);
/// Routes in one message, so that none is larger than the bus takes: a name is at most a few hundred bytes.
const ROUTES_MOST: usize = 1000;

pub struct Reporter {
    pub bus: Bus,
    pub component: ComponentId,
    pub policy: Arc<ArcSwap<Settings>>,
    pub tallies: Arc<Tallies>,
    pub table: Arc<ArcSwap<Table>>,
}

impl Reporter {
    /// Reports until the daemon drains; the last report says that none follows.
    pub async fn run(self: Arc<Self>, shutdown: Shutdown) -> anyhow::Result<()> {
        let mut reports = Reports {
            router: self.component.to_string(),
            run: uuid::Builder::from_random_bytes(rand::random())
                .into_uuid()
                .to_string(),
            number: 0,
        };
        loop {
            let draining = self.wait(&shutdown).await;
            let taken = self.tallies.take(&self.table.load());
            if self.bus.status().borrow().connected {
                for report in reports.of(taken, draining) {
                    if let Err(error) = self
                        .bus
                        .publish(&catalogue::router_traffic(), &report)
                        .await
                    {
                        tracing::debug!(%error, "a report of traffic could not be sent");
                        break;
                    }
                }
            }
            if draining {
                return Ok(());
            }
        }
    }

    /// Until the next report is due; true if it is the last. A period that was changed counts at once.
    async fn wait(&self, shutdown: &Shutdown) -> bool {
        let begun = Instant::now();
        loop {
            let left = self
                .policy
                .load()
                .report_period
                .saturating_sub(begun.elapsed());
            if left.is_zero() {
                return false;
            }
            tokio::select! {
                () = tokio::time::sleep(left.min(LOOK)) => {}
                () = shutdown.draining() => return true,
            }
        }
    }
}

/// Numbers the reports of a run.
struct Reports {
    router: String,
    run: String,
    number: u64,
}

impl Reports {
    fn of(&mut self, taken: Vec<Taken>, last: bool) -> Vec<RouterTraffic> {
        let routes: Vec<RouteTraffic> = taken
            .into_iter()
            .map(|taken| RouteTraffic {
                route: taken.route,
                app: taken.app.unwrap_or_default(),
                requests: taken.requests,
                errors: taken.errors,
                open: taken.open,
            })
            .collect();
        let parts: Vec<&[RouteTraffic]> = match routes.as_slice() {
            [] => vec![&[]],
            routes => routes.chunks(ROUTES_MOST).collect(),
        };
        let count = parts.len();
        parts
            .into_iter()
            .enumerate()
            .map(|(place, routes)| {
                self.number += 1;
                RouterTraffic {
                    router: self.router.clone(),
                    run: self.run.clone(),
                    number: self.number,
                    routes: routes.to_vec(),
                    last: last && place + 1 == count,
                }
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(count: usize) -> Vec<Taken> {
        (0..count)
            .map(|number| Taken {
                route: format!("{number}.example.com"),
                app: None,
                requests: 1,
                errors: 0,
                open: 0,
            })
            .collect()
    }

    #[test]
    fn many_routes_are_told_in_parts_and_none_are_told_too() {
        let mut reports = Reports {
            router: "router-1".into(),
            run: "r".into(),
            number: 0,
        };
        let none = reports.of(taken(0), false);
        assert_eq!((none.len(), none[0].number, none[0].last), (1, 1, false));
        let many = reports.of(taken(2 * ROUTES_MOST + 1), true);
        let told: Vec<_> = many
            .iter()
            .map(|report| (report.number, report.routes.len(), report.last))
            .collect();
        assert_eq!(
            told,
            [
                (2, ROUTES_MOST, false),
                (3, ROUTES_MOST, false),
                (4, 1, true)
            ]
        );
    }
}
