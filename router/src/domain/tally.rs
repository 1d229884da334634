//! What was answered for each route and app, for the reports on the bus.
//!
//! **Problem.** Every request counts; a report wants the counts of all routes a few times a minute; instances
//! and whole routes go in between, and what they answered last (often errors) must not go with them.
//!
//! **Approach.** A [`Tally`] for each pair of route and app, shared by the members of the route's pool: a
//! request pays an addition when it ends, and two for being there meanwhile: a tunnel of hours is no silence. A report walks
//! the table. [`Tallies`] holds those that are in it no more, and forgets one only when nobody else holds it
//! any more, that is after the last request under way has ended and its counts were taken. A pair that came back has two
//! for that time: they are told as one.

use super::table::Table;
use super::uri::RouteName;
use std::collections::BTreeMap;
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
    /// Fetches it from memory.
    pub(super) fn expect_use(&self) -> u64 {
        self.open.load(Ordering::Relaxed)
    }

    fn count(&self, status: u16) {
        let errors = if status >= 500 { ONE_ERROR } else { 0 };
        self.counts.fetch_add(1 + errors, Ordering::Relaxed);
    }

    fn take(&self) -> (u64, u64) {
        // Most have none, and need not be written to.
        if self.counts.load(Ordering::Relaxed) == 0 {
            return (0, 0);
        }
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

/// Those that no pool of the table tells of: their instances left it, or are none. Its lock is held by the writer of the table
/// and by reports, never by a request.
#[derive(Debug, Default)]
pub struct Tallies {
    kept: Mutex<Vec<Kept>>,
}

#[derive(Debug)]
struct Kept {
    route: RouteName,
    app: Option<Box<str>>,
    tally: Arc<Tally>,
}

impl Tallies {
    /// Tells of it as long as somebody holds it, and once more. Who takes it out of the table says so before the new
    /// table is seen.
    pub fn keep(&self, route: &RouteName, app: Option<&str>, tally: &Arc<Tally>) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.push(Kept {
            route: route.clone(),
            app: app.map(Box::from),
            tally: tally.clone(),
        });
    }

    /// What was counted since the last time, ordered; pairs without a request, also under way, are left out.
    pub fn take(&self, table: &Table) -> Vec<Taken> {
        let mut sums = Sums::default();
        for (route, member) in table.tallied() {
            let app = || member.endpoint.identity.app();
            sums.add(route, app, &member.tally);
        }
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        // Looked at before the counts: who lets go in between has counted before.
        let held: Vec<bool> = kept
            .iter()
            .map(|one| Arc::strong_count(&one.tally) > 1)
            .collect();
        for one in kept.iter() {
            sums.add(&one.route, || one.app.as_deref(), &one.tally);
        }
        let taken = sums
            .of
            .into_iter()
            .map(|((route, app), sum)| Taken {
                route: route.to_string(),
                app: app.map(str::to_string),
                requests: sum.requests,
                errors: sum.errors,
                open: sum.open,
            })
            .collect();
        let mut held = held.into_iter();
        kept.retain(|_| held.next().unwrap_or(true));
        taken
    }
}

/// What the tallies of a pair counted.
#[derive(Default)]
struct Sum {
    requests: u64,
    errors: u64,
    open: u64,
    /// Those whose requests under way are counted: one that just left the table is found twice.
    seen: Vec<*const Tally>,
}

#[derive(Default)]
struct Sums<'a> {
    of: BTreeMap<(&'a RouteName, Option<&'a str>), Sum>,
}

impl<'a> Sums<'a> {
    /// Takes what it counted. Most counted nothing, and nobody asks for their app.
    fn add(
        &mut self,
        route: &'a RouteName,
        app: impl FnOnce() -> Option<&'a str>,
        tally: &Arc<Tally>,
    ) {
        let (requests, errors) = tally.take();
        let open = tally.open.load(Ordering::Relaxed);
        if requests + open == 0 {
            return;
        }
        let sum = self.of.entry((route, app())).or_default();
        sum.requests += requests;
        sum.errors += errors;
        if !sum.seen.contains(&Arc::as_ptr(tally)) {
            sum.seen.push(Arc::as_ptr(tally));
            sum.open += open;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::announcement::Announcement;
    use crate::domain::table::Registry;
    use proto::bus::router::Registration;

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

    impl Tallies {
        fn tally(&self, route: &RouteName, app: Option<&str>) -> Arc<Tally> {
            let tally = Arc::default();
            self.keep(route, app, &tally);
            tally
        }

        fn taken(&self) -> Vec<Taken> {
            self.take(&Table::default())
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
        assert_eq!(tallies.taken(), std::slice::from_ref(&open));
        assert_eq!(tallies.taken(), [open]);
        tunnel.ends(101);
        assert_eq!(tallies.taken(), [taken("a.example.com", Some("app"), 1, 0)]);
        assert_eq!(tallies.taken(), []);
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
            tallies.taken(),
            [
                taken("a.example.com", Some("app"), 8, 3),
                taken("a.example.com/b", None, 1, 0)
            ]
        );
        assert_eq!(tallies.taken(), []);
    }

    #[test]
    fn who_is_gone_leaves_its_counts_and_is_forgotten() {
        let tallies = Tallies::default();
        let a = route("a.example.com");
        let tally = tallies.tally(&a, Some("app"));
        tally.count(500);
        drop(tally);
        assert_eq!(tallies.taken(), [taken("a.example.com", Some("app"), 1, 1)]);
        assert!(tallies.kept.lock().expect("no holder panics").is_empty());
    }

    #[test]
    fn a_route_that_goes_and_comes_is_told_of_as_one() {
        let mut registry = Registry::default();
        let instance = |port| {
            let message = Registration {
                uris: vec!["a.example.com".into()],
                host: "10.0.0.1".into(),
                port: Some(port),
                app: Some("app".into()),
                ..Registration::default()
            };
            Announcement::read(&message, false).expect("a registration")
        };
        let tally = |registry: &Registry| {
            let pool = registry.table().lookup("a.example.com", "");
            let members = &pool.expect("a route").members;
            members.first().expect("an instance").tally.clone()
        };
        registry.register(&instance(1), 0);
        registry.register(&instance(2), 0);
        let (tallies, both) = (registry.tallies(), registry.snapshot());
        let tunnel = Open::of(tally(&registry));
        tally(&registry).count(200);
        let open = |requests, open| Taken {
            open,
            ..taken("a.example.com", Some("app"), requests, 0)
        };
        assert_eq!(tallies.take(&both), [open(1, 1)]);
        registry.unregister(&instance(1), 1000);
        assert_eq!(tallies.take(registry.table()), [open(0, 1)]);
        registry.unregister(&instance(2), 1000);
        // A report that began before sees it in the table yet.
        assert_eq!(tallies.take(&both), [open(0, 1)]);
        registry.register(&instance(3), 2000);
        tally(&registry).count(200);
        assert_eq!(tallies.take(registry.table()), [open(1, 1)]);
        drop(both);
        tunnel.ends(101);
        assert_eq!(tallies.take(registry.table()), [open(1, 0)]);
        assert!(tallies.kept.lock().expect("no holder panics").is_empty());
    }

    #[test]
    fn nothing_is_lost_between_counting_threads_and_takers() {
        const EACH: u64 = 5_000;
        let tallies = Tallies::default();
        let a = route("a.example.com");
        let mut seen = (0, 0);
        std::thread::scope(|scope| {
            let counting: Vec<_> = (0..2)
                .map(|_| {
                    scope.spawn(|| {
                        for turn in 0..EACH {
                            // Each request gets another tally, as if the route came and went.
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
                for one in tallies.taken() {
                    seen = (seen.0 + one.requests, seen.1 + one.errors);
                }
            }
        });
        for one in tallies.taken() {
            seen = (seen.0 + one.requests, seen.1 + one.errors);
        }
        assert_eq!(seen, (2 * EACH, 2 * EACH / 4));
    }
}
