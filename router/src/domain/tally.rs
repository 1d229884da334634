//! What was answered for each route and app, for the reports on the bus.
//!
//! **Problem.** Every request counts; a report wants the counts of all routes a few times a minute; instances
//! and whole routes go in between, and what they answered last (often errors) must not go with them.
//!
//! **Approach.** A [`Tally`] for each pair of route and app, shared by the members of the route's pool: a
//! request pays an addition when it ends, and two for being there meanwhile: a tunnel of hours is no silence. [`Tallies`] holds them all besides, and forgets one only when nobody else holds it
//! any more, that is after the last request under way has ended and its counts were taken.

use super::uri::RouteName;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

const ONE_ERROR: u64 = 1 << 32;

/// Requests of one route that one app answered, since they were last taken.
#[derive(Debug, Default)]
pub struct Tally {
    /// Requests in the lower half, errors in the upper: both are taken at the same moment. Four thousand
    /// million requests between two reports are more than a machine can serve.
    counts: AtomicU64,
    open: AtomicU64,
}

/// A request or tunnel under way.
#[derive(Debug)]
pub struct Open(Arc<Tally>);

impl Open {
    pub fn of(tally: Arc<Tally>) -> Open {
        tally.open.fetch_add(1, Ordering::Relaxed);
        Open(tally)
    }

    /// It ends with this status; 0: the client left before there was an answer.
    pub fn ends(self, status: u16) {
        self.0.count(status);
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Tally {
    fn count(&self, status: u16) {
        let errors = if status >= 500 { ONE_ERROR } else { 0 };
        self.counts.fetch_add(1 + errors, Ordering::Relaxed);
    }

    fn take(&self) -> (u64, u64) {
        let counts = self.counts.swap(0, Ordering::Relaxed);
        (counts % ONE_ERROR, counts / ONE_ERROR)
    }
}

/// The counts of a pair of route and app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    pub route: String,
    pub app: Option<String>,
    pub requests: u64,
    pub errors: u64,
    /// Requests and tunnels under way.
    pub open: u64,
}

/// A route, and an app that serves it.
type Pair = (RouteName, Option<Box<str>>);

/// All tallies. Its lock is held by the writer of the table and by reports, never by a request.
#[derive(Debug, Default)]
pub struct Tallies {
    of: Mutex<BTreeMap<Pair, Arc<Tally>>>,
}

impl Tallies {
    /// The tally of a pair, the same for all who ask.
    pub fn tally(&self, route: &RouteName, app: Option<&str>) -> Arc<Tally> {
        let mut of = self.of.lock().unwrap_or_else(PoisonError::into_inner);
        match of.entry((route.clone(), app.map(Box::from))) {
            Entry::Occupied(known) => known.get().clone(),
            Entry::Vacant(place) => place.insert(Arc::default()).clone(),
        }
    }

    /// What was counted since the last time, ordered; pairs without a request, also under way, are left out.
    pub fn take(&self) -> Vec<Taken> {
        let mut taken = Vec::new();
        let mut of = self.of.lock().unwrap_or_else(PoisonError::into_inner);
        of.retain(|(route, app), tally| {
            // Looked at before the counts: who lets go in between has counted before.
            let held = Arc::strong_count(tally) > 1;
            let (requests, errors) = tally.take();
            let open = tally.open.load(Ordering::Relaxed);
            if requests + open > 0 {
                taken.push(Taken {
                    route: route.to_string(),
                    app: app.as_deref().map(str::to_string),
                    requests,
                    errors,
                    open,
                });
            }
            held
        });
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(text: &str) -> RouteName {
        RouteName::parse(text).expect("a route")
    }

    fn taken(route: &str, app: Option<&str>, requests: u64, errors: u64) -> Taken {
        Taken {
            route: route.to_string(),
            app: app.map(str::to_string),
            requests,
            errors,
            open: 0,
        }
    }

    #[test]
    fn what_is_under_way_is_told_each_time_until_it_ends() {
        let tallies = Tallies::default();
        let tally = tallies.tally(&route("a.example.com"), Some("app"));
        let tunnel = Open::of(tally);
        let open = Taken {
            open: 1,
            ..taken("a.example.com", Some("app"), 0, 0)
        };
        assert_eq!(tallies.take(), std::slice::from_ref(&open));
        assert_eq!(tallies.take(), [open]);
        tunnel.ends(101);
        assert_eq!(tallies.take(), [taken("a.example.com", Some("app"), 1, 0)]);
        assert_eq!(tallies.take(), []);
    }

    #[test]
    fn what_is_taken_is_taken_once() {
        let tallies = Tallies::default();
        let (a, b) = (route("a.example.com"), route("a.example.com/b"));
        let tally = tallies.tally(&a, Some("app"));
        for status in [200, 404, 499, 500, 503, 0, 101] {
            tally.count(status);
        }
        let again = tallies.tally(&a, Some("app"));
        again.count(502);
        let other = tallies.tally(&b, None);
        other.count(200);
        assert_eq!(
            tallies.take(),
            [
                taken("a.example.com", Some("app"), 8, 3),
                taken("a.example.com/b", None, 1, 0)
            ]
        );
        assert_eq!(tallies.take(), []);
    }

    #[test]
    fn who_is_gone_leaves_its_counts_and_is_forgotten() {
        let tallies = Tallies::default();
        let a = route("a.example.com");
        let tally = tallies.tally(&a, Some("app"));
        tally.count(500);
        drop(tally);
        assert_eq!(tallies.take(), [taken("a.example.com", Some("app"), 1, 1)]);
        assert!(tallies.of.lock().expect("no holder panics").is_empty());
    }

    #[test]
    fn nothing_is_lost_between_counting_threads_and_takers() {
        const EACH: u64 = 20_000;
        let tallies = Tallies::default();
        let a = route("a.example.com");
        let mut seen = (0, 0);
        std::thread::scope(|scope| {
            let counting: Vec<_> = (0..2)
                .map(|_| {
                    scope.spawn(|| {
                        for turn in 0..EACH {
                            // Each request gets the tally anew, as if the route came and went.
                            let status = if turn % 4 == 0 { 500 } else { 200 };
                            tallies.tally(&a, None).count(status);
                        }
                    })
                })
                .collect();
            while !counting
                .iter()
                .all(std::thread::ScopedJoinHandle::is_finished)
            {
                for one in tallies.take() {
                    seen = (seen.0 + one.requests, seen.1 + one.errors);
                }
            }
        });
        for one in tallies.take() {
            seen = (seen.0 + one.requests, seen.1 + one.errors);
        }
        assert_eq!(seen, (2 * EACH, 2 * EACH / 4));
    }
}
