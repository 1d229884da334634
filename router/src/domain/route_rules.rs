//! What the owner of a route set for its requests: how many, how large, how long, how many at a time, and whether
//! answers are packed.
//!
//! The rules come with registrations ([`RouteRules`], a value). What they are held against, the rate so far and the
//! requests that are there now, belongs to the route and outlives the changes of its pool ([`Enforced`]). A route
//! without rules has neither.
//!
//! Each router counts for itself: with two of them a route may get twice its rate.

use super::table::Millis;
use proto::bus::router::{RouteLimits, RouteOptions};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

/// As registrations have them; nothing set is no rules at all.
#[derive(Debug, Clone, PartialEq)]
pub struct RouteRules {
    pub rate: Option<Rate>,
    /// Most bytes of a request's body.
    pub body: Option<u64>,
    /// Until an answer begins.
    pub time: Option<Duration>,
    /// Most requests at a time.
    pub concurrency: Option<u32>,
    /// Answers are packed for clients that take them so.
    pub gzip: bool,
}

/// So many requests in so much time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    /// This many at once, if none came before.
    pub requests: u32,
    pub period: Duration,
}

impl RouteRules {
    /// What cannot be meant is as if it was not there: the platform sets what it checked, and a stranger's mistake must
    /// not keep his app from being reached.
    pub fn read(options: &RouteOptions) -> Option<RouteRules> {
        let limits = options.yard_limits.clone().unwrap_or_default();
        let rate = limits.rate.filter(|rate| *rate > 0).map(|requests| Rate {
            requests,
            period: Duration::from_millis(
                limits.rate_period_ms.filter(|ms| *ms > 0).unwrap_or(1000),
            ),
        });
        let rules = RouteRules {
            rate,
            body: limits.body_bytes,
            time: limits
                .time_ms
                .filter(|ms| *ms > 0)
                .map(Duration::from_millis),
            concurrency: limits.concurrency.filter(|most| *most > 0),
            gzip: options.yard_compression.as_deref() == Some(GZIP),
        };
        (rules != NONE).then_some(rules)
    }

    /// As a registration has them.
    pub fn limits(&self) -> Option<RouteLimits> {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let limits = RouteLimits {
            rate: self.rate.map(|rate| rate.requests),
            rate_period_ms: self.rate.map(|rate| millis(rate.period)),
            body_bytes: self.body,
            time_ms: self.time.map(millis),
            concurrency: self.concurrency,
        };
        (limits != RouteLimits::default()).then_some(limits)
    }
}

/// The one coding that answers are packed in.
pub const GZIP: &str = "gzip";

const NONE: RouteRules = RouteRules {
    rate: None,
    body: None,
    time: None,
    concurrency: None,
    gzip: false,
};

/// Why a request is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Excess {
    /// There is room again after this time.
    Rate(Duration),
    Concurrency,
}

/// The rules of a route with what they are held against.
#[derive(Debug)]
pub struct Enforced {
    pub rules: RouteRules,
    /// When a route that is asked at exactly its rate would be asked next, in microseconds.
    due: AtomicU64,
    present: AtomicU32,
}

/// A request that is there; counted until it is dropped.
#[derive(Debug)]
pub struct Present(Arc<Enforced>);

impl Enforced {
    pub fn new(rules: RouteRules) -> Enforced {
        Enforced {
            rules,
            due: AtomicU64::new(0),
            present: AtomicU32::new(0),
        }
    }

    /// Lets a request in, or says why not. Those that are not let in count for nothing.
    pub fn admit(self: &Arc<Self>, now: Millis) -> Result<Option<Present>, Excess> {
        let present = match self.rules.concurrency {
            Some(most) => Some(self.enter(most).ok_or(Excess::Concurrency)?),
            None => None,
        };
        if let Some(rate) = &self.rules.rate {
            self.spend(rate, now.saturating_mul(1000))
                .map_err(Excess::Rate)?;
        }
        Ok(present)
    }

    fn enter(self: &Arc<Self>, most: u32) -> Option<Present> {
        let entered = self
            .present
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |present| {
                (present < most).then_some(present + 1)
            });
        entered.ok().map(|_| Present(self.clone()))
    }

    /// A bucket of tokens in one number: `due` runs ahead of the clock by what was spent of it, and no further than
    /// the whole period.
    fn spend(&self, rate: &Rate, now: u64) -> Result<(), Duration> {
        let period = u64::try_from(rate.period.as_micros()).unwrap_or(u64::MAX);
        let each = (period / u64::from(rate.requests)).max(1);
        let ahead = each.saturating_mul(u64::from(rate.requests) - 1);
        let spent = self
            .due
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |due| {
                let due = due.max(now);
                (due - now <= ahead).then_some(due + each)
            });
        match spent {
            Ok(_) => Ok(()),
            Err(due) => Err(Duration::from_micros(due - now - ahead)),
        }
    }
}

impl Drop for Present {
    fn drop(&mut self) {
        self.0.present.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn enforced(limits: RouteLimits) -> Arc<Enforced> {
        let options = RouteOptions {
            yard_limits: Some(limits),
            ..RouteOptions::default()
        };
        Arc::new(Enforced::new(RouteRules::read(&options).unwrap()))
    }

    #[test]
    fn a_rate_lets_a_burst_in_and_then_as_many_as_it_says() {
        let route = enforced(RouteLimits {
            rate: Some(10),
            ..RouteLimits::default()
        });
        let admitted = |now, asked| (0..asked).filter(|_| route.admit(now).is_ok()).count();
        assert_eq!(admitted(50_000, 100), 10);
        let excess = route.admit(50_000).unwrap_err();
        assert_eq!(excess, Excess::Rate(Duration::from_millis(100)));
        assert_eq!(admitted(50_099, 9), 0);
        assert_eq!(admitted(50_100, 9), 1);
        // Ten seconds at three times the rate.
        let most: usize = (0..10_000)
            .filter(|step| step % 33 == 0)
            .map(|step| admitted(60_000 + step, 1))
            .sum();
        assert!((100..=110).contains(&most), "{most}");
        assert_eq!(
            admitted(1_000_000, 100),
            10,
            "what was not used is not kept"
        );
    }

    #[test]
    fn a_rate_may_be_of_a_longer_time() {
        let route = enforced(RouteLimits {
            rate: Some(2),
            rate_period_ms: Some(60_000),
            ..RouteLimits::default()
        });
        assert!(route.admit(0).is_ok() && route.admit(0).is_ok());
        let excess = route.admit(0).unwrap_err();
        assert_eq!(excess, Excess::Rate(Duration::from_secs(30)));
        assert!(route.admit(30_000).is_ok());
    }

    #[test]
    fn so_many_requests_are_there_at_a_time() {
        let route = enforced(RouteLimits {
            concurrency: Some(2),
            rate: Some(3),
            ..RouteLimits::default()
        });
        let first = route.admit(0).unwrap();
        let _second = route.admit(0).unwrap();
        // Who is not let in spends nothing of the rate.
        for _ in 0..9 {
            assert_eq!(route.admit(0).unwrap_err(), Excess::Concurrency);
        }
        drop(first);
        let third = route.admit(0).unwrap();
        drop(third);
        assert!(matches!(route.admit(0), Err(Excess::Rate(_))));
        // Nor does who is too early stay.
        assert!(route.admit(1000).is_ok());
    }

    #[test]
    fn what_is_not_set_is_no_rule() {
        let none = RouteOptions {
            loadbalancing: Some("round-robin".into()),
            yard_limits: Some(RouteLimits {
                rate: Some(0),
                time_ms: Some(0),
                concurrency: Some(0),
                ..RouteLimits::default()
            }),
            yard_compression: Some("br".into()),
            ..RouteOptions::default()
        };
        assert_eq!(RouteRules::read(&none), None);
        let packed = RouteOptions {
            yard_compression: Some("gzip".into()),
            ..RouteOptions::default()
        };
        assert!(RouteRules::read(&packed).unwrap().gzip);
    }
}
