//! The agents as automation sees them: what each runs for packs, and where the next action goes.

use proto::bus::automation::AutomationReport;
use proto::ids::DeaId;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// One agent's last report.
#[derive(Debug, Clone)]
pub struct Seen {
    pub report: AutomationReport,
    pub at: Instant,
    /// Sent out since that report.
    pub sent: u32,
}

/// Every agent that reported. Cheap to clone.
#[derive(Clone, Default)]
pub struct Agents {
    seen: Arc<Mutex<BTreeMap<DeaId, Seen>>>,
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
        let before = self.lock().insert(
            agent,
            Seen {
                report,
                at,
                sent: 0,
            },
        );
        takes_work && before.is_none_or(|before| before.report.draining)
    }

    /// The agent for an action of a pack in this version; counts it as sent there.
    pub fn choose(&self, pack: &str, sha256: &str, now: Instant, fresh: Duration) -> Option<DeaId> {
        let mut seen = self.lock();
        let chosen = choose(&seen, pack, sha256, now, fresh)?;
        if let Some(agent) = seen.get_mut(&chosen) {
            agent.sent += 1;
        }
        Some(chosen)
    }

    /// Agents that have been silent for longer than `lost_after`; they are forgotten.
    pub fn take_lost(&self, now: Instant, lost_after: Duration) -> Vec<DeaId> {
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
    fresh: Duration,
) -> Option<DeaId> {
    /// Actions at a time that a warm sandbox outweighs.
    const WARMTH: usize = 8;
    seen.iter()
        .filter(|(_, agent)| {
            !agent.report.draining && now.saturating_duration_since(agent.at) <= fresh
        })
        .min_by_key(|(id, agent)| {
            let is_warm = agent
                .report
                .packs
                .iter()
                .any(|warm| warm.pack == pack && warm.sha256 == sha256);
            let busy = agent.report.actions.len() + agent.sent as usize;
            (busy + if is_warm { 0 } else { WARMTH }, (*id).clone())
        })
        .map(|(id, _)| id.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::bus::automation::{RunningAction, WarmPack};

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
        let fresh = Duration::from_secs(10);
        assert_eq!(agents.choose("core", "1", now, fresh), None);
        agents.reported(dea("dea-1"), report(3, false), now);
        agents.reported(dea("dea-2"), report(1, false), now);
        assert_eq!(agents.choose("core", "1", now, fresh), Some(dea("dea-2")));
        agents.reported(dea("dea-1"), report(5, true), now);
        assert_eq!(agents.choose("core", "1", now, fresh), Some(dea("dea-1")));
        assert_eq!(agents.choose("core", "2", now, fresh), Some(dea("dea-2")));
    }

    #[test]
    fn what_is_sent_counts_before_the_next_report() {
        let agents = Agents::default();
        let now = Instant::now();
        agents.reported(dea("dea-1"), report(0, false), now);
        agents.reported(dea("dea-2"), report(0, false), now);
        let chosen: Vec<_> = (0..4)
            .filter_map(|_| agents.choose("core", "1", now, Duration::from_secs(10)))
            .collect();
        assert_eq!(chosen, ["dea-1", "dea-2", "dea-1", "dea-2"].map(dea));
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
        assert_eq!(
            agents.choose("core", "1", later, Duration::from_secs(10)),
            None
        );
        assert_eq!(
            agents.take_lost(later, Duration::from_secs(15)),
            [dea("dea-1")]
        );
        assert_eq!(agents.known(), [dea("dea-2")]);
    }
}
