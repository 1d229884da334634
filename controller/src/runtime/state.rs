//! What a controller holds in memory: rebuilt from the bus, lost without harm.

use super::components::Answered;
use super::tasks::Seen;
use crate::domain::dispatch::Ledger;
use crate::domain::observed::Observed;
use crate::domain::placement::Pool;
use crate::domain::traffic::Traffic;
use proto::bus::health::HealthRequest;
use proto::ids::ProcessGuid;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// Most requests of the health manager that wait for the dispatcher.
const REQUESTS_MOST: usize = 10_000;
/// How long after connecting answers to the first questions may be on their way.
const FIRST_ANSWERS: Duration = Duration::from_secs(2);
/// An agent that advertises but sends no heartbeat (none of ours) is not waited for longer.
const WARM_AT_LAST: Duration = Duration::from_secs(35);

/// What became of a build so far, for the status page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct BuildProgress {
    pub app: String,
    pub phase: String,
    /// When it was asked for, in Unix microseconds.
    pub since: i64,
}

/// Why an index is not placed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wait {
    pub reason: String,
    /// Since when it waits, whatever for.
    pub since: Duration,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub pool: Pool,
    pub observed: Observed,
    /// What the routers told.
    pub traffic: Traffic,
    /// The leader's: what it sent.
    pub ledger: Ledger,
    /// The leader's: why an index is not placed.
    pub waiting: BTreeMap<ProcessGuid, BTreeMap<u32, Wait>>,
    /// The leader's: requests to be checked, with the time they came.
    pub requests: VecDeque<(Duration, HealthRequest)>,
    /// The leader's: builds it works on.
    pub builds: BTreeMap<String, BuildProgress>,
    pub tasks: Seen,
    /// Since when the bus is there.
    pub connected_since: Option<Duration>,
    /// Who answered that he is there.
    pub components: Option<Answered>,
    /// Names must be told again to every process: an agent or the bus was away.
    pub resend_uris: bool,
}

impl State {
    /// Every agent has told what it runs, so that what is not seen is not there.
    pub fn is_warm(&self, now: Duration, advertisement_ttl: Duration) -> bool {
        let Some(since) = self.connected_since else {
            return false;
        };
        let listened = now.saturating_sub(since);
        if listened < FIRST_ANSWERS {
            return false;
        }
        let agents: Vec<_> = self
            .pool
            .view(now)
            .into_iter()
            .filter(|agent| agent.age <= advertisement_ttl)
            .map(|agent| agent.id)
            .collect();
        listened >= WARM_AT_LAST || self.observed.is_warm(&agents)
    }

    /// Takes a request of the health manager; false when there are too many.
    pub fn ask(&mut self, now: Duration, request: HealthRequest) -> bool {
        if self.requests.len() >= REQUESTS_MOST {
            return false;
        }
        self.requests.push_back((now, request));
        true
    }

    /// A new term begins, or one has ended: nothing that was sent before counts.
    pub fn forget_term(&mut self) {
        self.ledger = Ledger::default();
        self.waiting.clear();
        self.requests.clear();
        self.builds.clear();
        self.tasks.forget_term();
        self.resend_uris = true;
    }

    pub fn waiting_reason(&self, process: &ProcessGuid) -> Option<String> {
        self.waiting
            .get(process)
            .and_then(|waiting| waiting.values().next())
            .map(|wait| wait.reason.clone())
    }

    /// An index was not placed; true if that, or its reason, is news.
    pub fn waits(
        &mut self,
        process: &ProcessGuid,
        index: u32,
        reason: &str,
        now: Duration,
    ) -> bool {
        let waiting = self.waiting.entry(process.clone()).or_default();
        let before = waiting.get(&index);
        let news = before.is_none_or(|before| before.reason != reason);
        let wait = Wait {
            reason: reason.to_string(),
            since: before.map_or(now, |before| before.since),
        };
        waiting.insert(index, wait);
        news
    }
}
