//! The world behind a lock that is held for one event or one plan, never across a wait.

use crate::domain::Millis;
use crate::domain::plan::Plan;
use crate::domain::policy::Policy;
use crate::domain::round::Due;
use crate::domain::world::World;
use proto::ids::ProcessGuid;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::Notify;

/// The reason that the plan itself does not know.
const NOT_LEADING: &str = "another health manager leads, or the cluster store is away";

/// How much of the past the clock can tell.
const BEFORE: Millis = 366 * 24 * 3600 * 1000;

/// Shared by the tasks of the health manager.
pub struct Shared {
    inner: Mutex<State>,
    /// Something happened that may change the plan.
    pub wake: Notify,
    /// The desired state is to be read now.
    pub read_now: Notify,
    base: Instant,
    base_unix: f64,
}

/// What the lock protects.
#[derive(Default)]
pub struct State {
    pub world: World,
    pub due: Due,
    /// The whole desired state is to be read again.
    pub reread: bool,
    /// Processes whose desired state is to be read again.
    pub updated: BTreeSet<ProcessGuid>,
    pub report: Report,
}

/// What the status page shows.
#[derive(Debug, Clone, Default)]
pub struct Report {
    pub held: BTreeMap<&'static str, usize>,
    pub starts: u64,
    pub stops: u64,
    pub failed_sends: u64,
    pub fetches: u64,
    pub failed_fetches: u64,
    pub last_fetch_error: Option<String>,
    pub leads: bool,
    pub exits: u64,
    pub agents_lost: u64,
}

impl Shared {
    pub fn new() -> Arc<Shared> {
        Arc::new(Shared {
            inner: Mutex::default(),
            wake: Notify::new(),
            read_now: Notify::new(),
            base: Instant::now(),
            base_unix: unix_now(),
        })
    }

    /// The clock does not begin at zero: what happened before this process began has its time too.
    pub fn now(&self) -> Millis {
        BEFORE + self.base.elapsed().as_millis() as Millis
    }

    /// Unix seconds by the same clock: whoever sets the machine's clock changes no order of what was heard.
    pub fn unix(&self) -> f64 {
        self.base_unix + self.base.elapsed().as_secs_f64()
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.inner
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

fn unix_now() -> f64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0.0, |since| since.as_secs_f64())
}

impl State {
    /// Keeps why the whole plan does not do more.
    pub fn keep_reasons(&mut self, plan: &Plan, left_to_the_leader: usize) {
        self.report.held = plan
            .held
            .iter()
            .map(|(held, count)| (held.text(), *count))
            .collect();
        if left_to_the_leader > 0 {
            self.report.held.insert(NOT_LEADING, left_to_the_leader);
        }
    }

    /// Writes the gauges.
    pub fn measure(&self, now: Millis, policy: &Policy) {
        for (name, count) in self.world.counts() {
            metrics::gauge!("health_count", "of" => name).set(count as f64);
        }
        metrics::gauge!("health_starts_unacknowledged")
            .set(self.world.unacknowledged(now, policy) as f64);
        metrics::gauge!("health_leads").set(if self.report.leads { 1.0 } else { 0.0 });
    }

    pub fn varz(&self, now: Millis, policy: &Policy) -> serde_json::Value {
        let mut varz = serde_json::json!({
            "leads": self.report.leads,
            "held": self.report.held,
            "starts_asked": self.report.starts,
            "stops_asked": self.report.stops,
            "starts_unacknowledged": self.world.unacknowledged(now, policy),
            "failed_sends": self.report.failed_sends,
            "exits_heard": self.report.exits,
            "agents_lost": self.report.agents_lost,
            "desired_fetches": self.report.fetches,
            "desired_fetches_failed": self.report.failed_fetches,
            "desired_last_error": self.report.last_fetch_error,
            "desired_age_seconds": self.world.desired.age(now).map(|age| age / 1000),
            "hears_for_seconds": self.world.hearing_since.map(|since| now.saturating_sub(since) / 1000),
            "warm": self.world.is_warm(now, policy),
        });
        if let Some(varz) = varz.as_object_mut() {
            varz.extend(
                self.world
                    .counts()
                    .into_iter()
                    .map(|(name, count)| (name.to_string(), count.into())),
            );
        }
        varz
    }
}
