//! Everything the planner looks at, and the events that change it.

use super::Millis;
use super::desired::{Desired, Wanted, WantedState};
use super::memory::{Asked, Ending, Memory, Missing, MissingReason};
use super::observed::{Change, Loss, LossReason, Observed};
use super::plan::{Operation, Plan};
use super::policy::Policy;
use proto::bus::health::{CrashedInstance, FlappingIndex};
use proto::bus::health::{ExitReason, Exited, Health, HealthStatus, Heartbeat, InstanceState};
use proto::ids::{DeaId, ProcessGuid, Version};
use std::collections::{BTreeMap, BTreeSet};

/// How long the memory of a version that is not desired is kept: the desired state may lag behind.
const KEEP_UNDESIRED: Millis = 600_000;

/// How long answers to `healthmanager.start` may be on their way. An agent that is later is missed
/// without harm: its instances count as missing, which has its grace, and no stop rests on absence.
pub const FIRST_ANSWERS: Millis = 2000;

/// The world as this health manager knows it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct World {
    pub desired: Desired,
    pub observed: Observed,
    pub memory: Memory,
    /// Since when the bus has been heard without a break.
    pub hearing_since: Option<Millis>,
}

impl World {
    /// The bus came.
    pub fn connected(&mut self, now: Millis) {
        self.hearing_since = Some(now);
        self.observed.excuse_silence(now);
    }

    /// The bus went.
    pub fn disconnected(&mut self) {
        self.hearing_since = None;
    }

    /// Whether what is not seen is not there: every agent had its time to speak since the bus is heard,
    /// or each known one has told all it has.
    pub fn is_warm(&self, now: Millis, policy: &Policy) -> bool {
        let Some(since) = self.hearing_since else {
            return false;
        };
        let waited = now.saturating_sub(since) >= policy.lost_after;
        let all_told = !self.observed.agents.is_empty()
            && self.desired.complete_as_of.is_some()
            && self.observed.agents.values().all(|agent| agent.last_complete.is_some_and(|at| at >= since))
            // Who was never heard cannot be waited for by name.
            && now.saturating_sub(since) >= FIRST_ANSWERS;
        waited || all_told
    }

    pub fn heartbeat(
        &mut self,
        beat: &Heartbeat,
        now: Millis,
        unix: f64,
        policy: &Policy,
    ) -> Change {
        let change = self.observed.heartbeat(beat, now, unix);
        self.remember(&change.losses, now, unix, policy);
        change
    }

    pub fn sweep(&mut self, now: Millis, unix: f64, policy: &Policy) -> (Vec<DeaId>, Change) {
        let (lost, change) = self.observed.sweep(now, policy.lost_after);
        self.remember(&change.losses, now, unix, policy);
        (lost, change)
    }

    fn remember(&mut self, losses: &[Loss], now: Millis, unix: f64, policy: &Policy) {
        for loss in losses {
            let why = match loss.why {
                LossReason::Crashed => MissingReason::Crashed,
                LossReason::AgentLost => MissingReason::AgentLost,
                LossReason::Vanished => MissingReason::Unknown,
            };
            let ran = loss
                .seen
                .is_running()
                .then(|| now.saturating_sub(loss.seen.since));
            let ending = Ending {
                index: loss.seen.index,
                why,
                ran,
                unix,
            };
            self.memory
                .ended(&loss.process, &loss.seen.version, ending, now, policy);
        }
    }

    /// `droplet.exited`. Whether it was news.
    pub fn exited(&mut self, exited: &Exited, now: Millis, unix: f64, policy: &Policy) -> bool {
        let Some(seen) = self.observed.exited(&exited.droplet, &exited.instance, now) else {
            return false;
        };
        let why = match exited.reason {
            ExitReason::Crashed => MissingReason::Crashed,
            ExitReason::DeaShutdown => MissingReason::AgentShutdown,
            ExitReason::DeaEvacuation => MissingReason::AgentEvacuation,
            // Somebody wanted it stopped; if it is still desired, whoever did will start it again.
            ExitReason::Stopped => MissingReason::Unknown,
        };
        let ran = seen
            .filter(|seen| seen.is_running())
            .map(|seen| now.saturating_sub(seen.since));
        let unix = exited.crash_timestamp.unwrap_or(unix);
        let ending = Ending {
            index: exited.index,
            why,
            ran,
            unix,
        };
        self.memory
            .ended(&exited.droplet, &exited.version, ending, now, policy);
        true
    }

    /// Writes down what a plan noticed and what of it was sent.
    pub fn commit(&mut self, plan: &Plan, now: Millis) {
        for (process, version, index) in &plan.settled {
            let memory = self.memory.of_mut(process, version, now);
            if let Some(index) = memory.indices.get_mut(index) {
                index.missing = None;
                index.asked = None;
            }
        }
        for (process, version, index) in &plan.noticed {
            let index = self
                .memory
                .of_mut(process, version, now)
                .indices
                .entry(*index)
                .or_default();
            index.missing.get_or_insert(Missing {
                since: now,
                why: MissingReason::Unknown,
            });
        }
        for request in &plan.requests {
            let memory = self.memory.of_mut(&request.process, &request.version, now);
            match &request.operation {
                Operation::Start { index } => {
                    let index = memory.indices.entry(*index).or_default();
                    index.asked = Some(Asked::again(index.asked, now));
                }
                Operation::Stop { instance } => {
                    let before = memory.stops.get(instance).copied();
                    memory
                        .stops
                        .insert(instance.clone(), Asked::again(before, now));
                }
            }
        }
    }

    /// Forgets what concerns nobody any more.
    pub fn tidy(&mut self, now: Millis, policy: &Policy) {
        let (desired, observed) = (&self.desired, &self.observed);
        self.memory.versions.retain(|(process, version), memory| {
            for (_, seen) in observed
                .of(process)
                .filter(|(_, seen)| seen.version == *version && seen.is_running())
            {
                if now.saturating_sub(seen.since) >= policy.reset_after
                    && let Some(index) = memory.indices.get_mut(&seen.index)
                {
                    index.crashes = 0;
                }
            }
            memory
                .stops
                .retain(|instance, _| observed.of(process).any(|(id, _)| id == instance));
            let wanted = desired
                .processes
                .get(process)
                .filter(|wanted| wanted.version == *version);
            match wanted {
                Some(wanted) => {
                    if wanted.state != WantedState::Started {
                        // When it is started again, nothing has been missing yet.
                        for index in memory.indices.values_mut() {
                            index.missing = None;
                            index.asked = None;
                        }
                    }
                    memory.indices.retain(|number, index| {
                        *number < wanted.instances
                            && (index.missing.is_some()
                                || index.asked.is_some()
                                || index.crashes > 0)
                    });
                    !(memory.indices.is_empty() && memory.stops.is_empty())
                }
                None => now.saturating_sub(memory.touched) < KEEP_UNDESIRED,
            }
        });
    }

    /// Starts that were asked for and neither seen nor given up hope on.
    pub fn unacknowledged(&self, now: Millis, policy: &Policy) -> usize {
        self.memory
            .versions
            .values()
            .flat_map(|memory| memory.indices.values())
            .filter(|index| {
                index
                    .asked
                    .is_some_and(|asked| occupies_window(asked, now, policy))
            })
            .count()
    }

    /// Answers `healthmanager.health`.
    pub fn health(&self, process: &ProcessGuid, version: &Version) -> Option<Health> {
        self.desired.processes.get(process)?;
        let healthy = self
            .observed
            .of(process)
            .filter(|(_, seen)| seen.version == *version && seen.is_running())
            .count();
        Some(Health {
            droplet: process.clone(),
            version: version.clone(),
            healthy: healthy as u32,
        })
    }

    /// Answers `healthmanager.status`: `FLAPPING` or `CRASHED`.
    pub fn status(
        &self,
        process: &ProcessGuid,
        state: &str,
        version: Option<&Version>,
        policy: &Policy,
    ) -> Option<HealthStatus> {
        let wanted = self.desired.processes.get(process)?;
        match state {
            "FLAPPING" => {
                let memory = self.memory.of(process, &wanted.version);
                let indices = memory
                    .into_iter()
                    .flat_map(|memory| &memory.indices)
                    .filter(|(_, index)| index.crashes > policy.immediate_restarts)
                    .map(|(number, index)| FlappingIndex {
                        index: *number,
                        since: index.crashed_at_unix as f64,
                    })
                    .collect();
                Some(HealthStatus {
                    indices: Some(indices),
                    instances: None,
                })
            }
            "CRASHED" => {
                let crashed = self
                    .observed
                    .of(process)
                    .filter(|(_, seen)| {
                        seen.state == InstanceState::Crashed
                            && version.is_none_or(|version| seen.version == *version)
                    })
                    .map(|(id, seen)| CrashedInstance {
                        instance: id.clone(),
                        since: seen.since_unix,
                    })
                    .collect();
                Some(HealthStatus {
                    indices: None,
                    instances: Some(crashed),
                })
            }
            _ => None,
        }
    }

    /// Numbers for the status page.
    pub fn counts(&self) -> BTreeMap<&'static str, usize> {
        let started = |wanted: &&Wanted| wanted.state == WantedState::Started;
        let running: BTreeSet<&ProcessGuid> = self
            .observed
            .processes
            .iter()
            .filter(|(_, all)| all.values().any(|seen| seen.is_running()))
            .map(|(process, _)| process)
            .collect();
        let missing = self
            .memory
            .versions
            .iter()
            .filter(|((process, version), _)| {
                self.desired.processes.get(process).is_some_and(|wanted| {
                    wanted.version == *version && wanted.state == WantedState::Started
                })
            })
            .flat_map(|(_, memory)| memory.indices.values())
            .filter(|index| index.missing.is_some())
            .count();
        BTreeMap::from([
            ("total_processes", self.desired.processes.len()),
            (
                "started_processes",
                self.desired.processes.values().filter(started).count(),
            ),
            (
                "desired_instances",
                self.desired
                    .processes
                    .values()
                    .filter(started)
                    .map(|wanted| wanted.instances as usize)
                    .sum(),
            ),
            ("processes_with_running_instances", running.len()),
            (
                "running_instances",
                self.observed.count(InstanceState::Running),
            ),
            (
                "starting_instances",
                self.observed.count(InstanceState::Starting),
            ),
            (
                "crashed_instances",
                self.observed.count(InstanceState::Crashed),
            ),
            (
                "evacuating_instances",
                self.observed.count(InstanceState::Evacuating),
            ),
            ("missing_instances", missing),
            ("agents", self.observed.agents.len()),
        ])
    }
}

/// A start that was asked for a few times in vain (no agent has room, say) makes way for others.
pub fn occupies_window(asked: Asked, now: Millis, policy: &Policy) -> bool {
    asked.times <= 3 && now.saturating_sub(asked.last) < policy.repeat_after(asked.times)
}
