//! The agents as automation sees them: what each runs for packs, and where the next action goes.
//!
//! What an agent has is reckoned from its last report, the orders it has not answered yet, and those it took
//! since. So a burst fills an agent up to a setting ([`Limits::each`]) and the rest stays in the table of
//! executions, where it costs nobody memory, until an end or a report makes room.
//!
//! What a newcomer gets wrong: an agent that is not there any more is "fresh" until it counts as lost. Orders
//! that reach nobody make it [`Agents::away`], or an execution would be sent to it again and again at once.

use proto::bus::automation::AutomationReport;
use proto::ids::DeaId;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// Whom to give work to.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Silent for longer, an agent gets nothing.
    pub fresh: Duration,
    /// Actions an agent is given at a time. Less than it would take of one pack, so that what is on its way
    /// is not refused.
    pub each: usize,
}

/// Rounds come every second; without one for this long this process stood still.
const STOOD_STILL: Duration = Duration::from_secs(6);
/// An order that is not answered for so long was never sent: its transaction was not committed.
const ANSWERED_WITHIN: Duration = Duration::from_secs(15);

/// One agent's last report, and what happened since.
#[derive(Debug, Clone)]
struct Seen {
    report: AutomationReport,
    at: Instant,
    /// When it was chosen for orders that it has not answered.
    sent: VecDeque<Instant>,
    /// Orders it took since that report.
    taken: usize,
    /// Orders did not reach it: nothing more is sent before it reports.
    away: bool,
}

impl Seen {
    /// How many more actions it may be given.
    fn room(&self, now: Instant, limits: Limits) -> usize {
        let is_fresh = now.saturating_duration_since(self.at) <= limits.fresh;
        if !is_fresh || self.away || self.report.draining {
            return 0;
        }
        limits.each.saturating_sub(self.busy())
    }

    fn busy(&self) -> usize {
        self.report.actions.len() + self.sent.len() + self.taken
    }
}

/// Every agent that reported. Cheap to clone.
#[derive(Clone, Default)]
pub struct Agents {
    seen: Arc<Mutex<BTreeMap<DeaId, Seen>>>,
    /// When silence was last looked for.
    looked_at: Arc<Mutex<Option<Instant>>>,
}

impl Agents {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<DeaId, Seen>> {
        self.seen
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Takes in a report. Whether the agent is new, or takes work again.
    pub fn reported(&self, agent: DeaId, report: AutomationReport, at: Instant) -> bool {
        let takes_work = !report.draining;
        let mut seen = self.lock();
        let before = seen.get(&agent);
        let was_closed = before.is_none_or(|before| before.report.draining || before.away);
        let mut sent = before.map_or_else(VecDeque::new, |before| before.sent.clone());
        sent.retain(|chosen| at.saturating_duration_since(*chosen) < ANSWERED_WITHIN);
        seen.insert(
            agent,
            Seen {
                report,
                at,
                sent,
                taken: 0,
                away: false,
            },
        );
        takes_work && was_closed
    }

    /// An agent answered an order, or will not any more.
    pub fn answered(&self, agent: &DeaId, is_taken: bool) {
        if let Some(agent) = self.lock().get_mut(agent) {
            agent.sent.pop_front();
            agent.taken += usize::from(is_taken);
        }
    }

    /// Orders do not reach it.
    pub fn away(&self, agent: &DeaId) {
        if let Some(agent) = self.lock().get_mut(agent) {
            agent.away = true;
        }
    }

    /// An action ended there: there is room before the next report says so.
    pub fn ended(&self, agent: &str, execution: &str, attempt: u32) {
        let mut seen = self.lock();
        let Some((_, agent)) = seen.iter_mut().find(|(id, _)| id.as_str() == agent) else {
            return;
        };
        let before = agent.report.actions.len();
        agent
            .report
            .actions
            .retain(|action| action.execution != execution || action.attempt != attempt);
        if agent.report.actions.len() == before {
            agent.taken = agent.taken.saturating_sub(1);
        }
    }

    /// How many actions could be given out now.
    pub fn room(&self, now: Instant, limits: Limits) -> usize {
        self.lock()
            .values()
            .map(|agent| agent.room(now, limits))
            .sum()
    }

    /// The agent for an action of a pack in this version; counts it as sent there. None: nobody has room.
    pub fn choose(&self, pack: &str, sha256: &str, now: Instant, limits: Limits) -> Option<DeaId> {
        let mut seen = self.lock();
        let chosen = choose(&seen, pack, sha256, now, limits)?;
        if let Some(agent) = seen.get_mut(&chosen) {
            agent.sent.push_back(now);
        }
        Some(chosen)
    }

    /// Whether nobody has looked for silence for so long that this process stood still (a machine that was
    /// suspended), or did not lead: what was said meanwhile may wait unread.
    fn stood_still(&self, now: Instant) -> bool {
        let mut looked_at = self
            .looked_at
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        let before = looked_at.replace(now);
        before.is_some_and(|before| now.saturating_duration_since(before) >= STOOD_STILL)
    }

    /// Agents that have been silent for longer than `lost_after`; they are forgotten.
    pub fn take_lost(&self, now: Instant, lost_after: Duration) -> Vec<DeaId> {
        if self.stood_still(now) {
            self.freshen(now);
            return Vec::new();
        }
        let mut seen = self.lock();
        let lost: Vec<DeaId> = seen
            .iter()
            .filter(|(_, agent)| now.saturating_duration_since(agent.at) > lost_after)
            .map(|(id, _)| id.clone())
            .collect();
        for id in &lost {
            seen.remove(id);
        }
        lost
    }

    pub fn known(&self) -> Vec<DeaId> {
        self.lock().keys().cloned().collect()
    }

    /// What an agent last said.
    pub fn report_of(&self, agent: &DeaId) -> Option<AutomationReport> {
        self.lock().get(agent).map(|seen| seen.report.clone())
    }

    /// After the bus was away nobody is known to be silent: everybody starts anew.
    pub fn freshen(&self, now: Instant) {
        for agent in self.lock().values_mut() {
            agent.at = now;
        }
    }
}

/// The least busy of the agents heard lately; a warm sandbox of the pack is worth some load.
fn choose(
    seen: &BTreeMap<DeaId, Seen>,
    pack: &str,
    sha256: &str,
    now: Instant,
    limits: Limits,
) -> Option<DeaId> {
    /// Actions at a time that a warm sandbox outweighs.
    const WARMTH: usize = 8;
    seen.iter()
        .filter(|(_, agent)| agent.room(now, limits) > 0)
        .min_by_key(|(id, agent)| {
            let is_warm = agent
                .report
                .packs
                .iter()
                .any(|warm| warm.pack == pack && warm.sha256 == sha256);
            (
                agent.busy() + if is_warm { 0 } else { WARMTH },
                (*id).clone(),
            )
        })
        .map(|(id, _)| id.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::bus::automation::{RunningAction, WarmPack};

    const EACH: usize = 20;
    const LIMITS: Limits = Limits {
        fresh: Duration::from_secs(10),
        each: EACH,
    };

    fn dea(name: &str) -> DeaId {
        DeaId::new(name).unwrap()
    }

    fn report(running: usize, warm: bool) -> AutomationReport {
        AutomationReport {
            actions: vec![RunningAction::default(); running],
            packs: if warm {
                vec![WarmPack {
                    pack: "core".into(),
                    sha256: "1".into(),
                }]
            } else {
                vec![]
            },
            ..AutomationReport::default()
        }
    }

    #[test]
    fn the_least_busy_is_chosen_and_warmth_counts() {
        let agents = Agents::default();
        let now = Instant::now();
        assert_eq!(agents.choose("core", "1", now, LIMITS), None);
        agents.reported(dea("dea-1"), report(3, false), now);
        agents.reported(dea("dea-2"), report(1, false), now);
        assert_eq!(agents.choose("core", "1", now, LIMITS), Some(dea("dea-2")));
        agents.reported(dea("dea-1"), report(5, true), now);
        assert_eq!(agents.choose("core", "1", now, LIMITS), Some(dea("dea-1")));
        assert_eq!(agents.choose("core", "2", now, LIMITS), Some(dea("dea-2")));
    }

    #[test]
    fn what_is_sent_counts_before_the_next_report() {
        let agents = Agents::default();
        let now = Instant::now();
        agents.reported(dea("dea-1"), report(0, false), now);
        agents.reported(dea("dea-2"), report(0, false), now);
        let chosen: Vec<_> = (0..4)
            .filter_map(|_| agents.choose("core", "1", now, LIMITS))
            .collect();
        assert_eq!(chosen, ["dea-1", "dea-2", "dea-1", "dea-2"].map(dea));
    }

    #[test]
    fn an_agent_is_filled_and_ends_make_room() {
        let agents = Agents::default();
        let now = Instant::now();
        let choose = || agents.choose("core", "1", now, LIMITS);
        agents.reported(dea("dea-1"), report(EACH - 2, false), now);
        assert_eq!(agents.room(now, LIMITS), 2);
        assert!(choose().is_some() && choose().is_some());
        assert_eq!((choose(), agents.room(now, LIMITS)), (None, 0));
        agents.answered(&dea("dea-1"), true);
        assert_eq!(choose(), None, "what it took is there until it ends");
        agents.answered(&dea("dea-1"), false);
        assert_eq!(choose(), Some(dea("dea-1")), "what it refused is not");
        agents.ended("dea-1", "", 0);
        assert!(agents.room(now, LIMITS) > 0, "an end needs no report");
        let taken_again = agents.reported(dea("dea-1"), report(1, false), now);
        assert!(!taken_again, "it had room before");
        assert_eq!(
            agents.room(now, LIMITS),
            EACH - 2,
            "a report does not know what is on its way"
        );
        let later = now + ANSWERED_WITHIN;
        agents.reported(dea("dea-1"), report(1, false), later);
        assert_eq!(
            agents.room(later, LIMITS),
            EACH - 1,
            "what was chosen in vain is forgotten"
        );
    }

    #[test]
    fn who_cannot_be_reached_gets_nothing_until_it_reports() {
        let agents = Agents::default();
        let now = Instant::now();
        agents.reported(dea("dea-1"), report(0, false), now);
        agents.away(&dea("dea-1"));
        assert_eq!(agents.choose("core", "1", now, LIMITS), None);
        assert_eq!(agents.room(now, LIMITS), 0);
        assert!(agents.reported(dea("dea-1"), report(0, false), now));
        assert_eq!(agents.choose("core", "1", now, LIMITS), Some(dea("dea-1")));
    }

    #[test]
    fn nobody_is_lost_because_this_process_stood_still() {
        let agents = Agents::default();
        let begun = Instant::now();
        let at = |seconds| begun + Duration::from_secs(seconds);
        let lost = |seconds| agents.take_lost(at(seconds), Duration::from_secs(15));
        agents.reported(dea("dea-1"), report(0, false), begun);
        assert!(lost(1).is_empty());
        assert!(lost(600).is_empty(), "its reports wait unread");
        for second in 601..=615 {
            assert!(lost(second).is_empty(), "{second}");
        }
        assert_eq!(lost(616), [dea("dea-1")], "it said nothing since");
    }

    #[test]
    fn the_silent_and_the_draining_get_nothing() {
        let agents = Agents::default();
        let now = Instant::now();
        let later = now + Duration::from_secs(20);
        agents.reported(dea("dea-1"), report(0, false), now);
        let mut leaving = report(0, false);
        leaving.draining = true;
        agents.reported(dea("dea-2"), leaving, later);
        assert_eq!(agents.choose("core", "1", later, LIMITS), None);
        assert_eq!(
            agents.take_lost(later, Duration::from_secs(15)),
            [dea("dea-1")]
        );
        assert_eq!(agents.known(), [dea("dea-2")]);
    }
}
