//! Everything the planner looks at, and the events that change it.

use super::Millis;
use super::desired::{Desired, Wanted, WantedState};
use super::memory::{Asked, Ending, Memory, Missing, MissingReason};
use super::observed::{Change, Loss, LossReason, Observed};
use super::plan::{Operation, Plan};
use super::policy::Policy;
use proto::bus::health::{CrashedInstance, FlappingIndex, RecordedCrash};
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
    /// The last look for silent agents.
    swept_at: Option<Millis>,
}

/// Clocks of machines that are kept in time differ by less, in seconds.
const CLOCKS_DIFFER: f64 = 5.0;

/// What a look for silent agents found.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sweep {
    pub lost: Vec<DeaId>,
    pub change: Change,
    /// It was this process that slept: hearing began anew, and everything is to be asked again.
    pub slept: bool,
}

/// Looks that are further apart than this mean that this process was stopped in between: beats wait
/// unread, so silence says nothing about the agents.
const SLEPT: Millis = 3000;

impl World {
    /// The bus came.
    pub fn connected(&mut self, now: Millis) {
        self.hearing_since = Some(now);
        self.swept_at = None;
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

    /// Looks for agents that are silent for too long. To be called every second while the bus is there.
    pub fn sweep(&mut self, now: Millis, unix: f64, policy: &Policy) -> Sweep {
        let slept = self
            .swept_at
            .is_some_and(|last| now.saturating_sub(last) > SLEPT);
        if slept {
            self.connected(now);
        }
        self.swept_at = Some(now);
        let (lost, change) = self.observed.sweep(now, policy.lost_after);
        self.remember(&change.losses, now, unix, policy);
        Sweep {
            lost,
            change,
            slept,
        }
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
            let (at, unix) = match loss.crashed {
                Some((at, told)) => (at, by_our_clock(told, unix)),
                None => (now, unix),
            };
            let ending = Ending {
                instance: loss.instance.clone(),
                index: loss.seen.index,
                why,
                ran,
                at,
                unix,
            };
            self.memory
                .ended(&loss.process, &loss.seen.version, &ending, now, policy);
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
        let unix = exited
            .crash_timestamp
            .map_or(unix, |told| by_our_clock(told, unix));
        let ending = Ending {
            instance: exited.instance.clone(),
            index: exited.index,
            why,
            ran,
            at: now,
            unix,
        };
        self.memory
            .ended(&exited.droplet, &exited.version, &ending, now, policy);
        true
    }

    /// Takes in crashes that the controller recorded before this health manager heard anything, so
    /// that what crashed again and again is not started at once again. To be told together with the
    /// first desired state: a plan in between would take the dead for missing without a reason.
    pub fn recall(&mut self, recorded: &[RecordedCrash], now: Millis, unix: f64, policy: &Policy) {
        let mut touched: BTreeSet<(ProcessGuid, Version, u32)> = BTreeSet::new();
        for crash in recorded {
            let wanted = self.desired.processes.get(&crash.droplet);
            let concerns = wanted.is_some_and(|wanted| {
                wanted.state == WantedState::Started
                    && wanted.version == crash.version
                    && crash.index < wanted.instances
            });
            if !concerns {
                continue;
            }
            let age = ((unix - crash.at).max(0.0) * 1000.0) as Millis;
            let ending = Ending {
                instance: crash.instance.clone(),
                index: crash.index,
                why: MissingReason::Crashed,
                ran: crash.ran.map(|ran| (ran.max(0.0) * 1000.0) as Millis),
                at: now.saturating_sub(age),
                unix: crash.at.min(unix),
            };
            self.observed.recall_end(&crash.instance, now);
            let index = self
                .memory
                .of_mut(&crash.droplet, &crash.version, now)
                .indices
                .entry(crash.index)
                .or_default();
            index.crashes.add(ending.crash(policy), ending.at);
            touched.insert((crash.droplet.clone(), crash.version.clone(), crash.index));
        }
        for (process, version, number) in touched {
            let memory = self.memory.of_mut(&process, &version, now);
            let Some(index) = memory.indices.get_mut(&number) else {
                continue;
            };
            // Its successor was due and has not crashed for so long: it ran well.
            let delay = policy.delay_after(index.crashes.in_a_row());
            let over = index
                .crashes
                .last()
                .saturating_add(delay)
                .saturating_add(policy.reset_after);
            if over <= now {
                index.crashes.forget();
            } else if index
                .missing
                .is_none_or(|missing| missing.why == MissingReason::Unknown)
            {
                // The next plan takes it back if an instance is there.
                index.missing = Some(Missing {
                    since: now,
                    why: MissingReason::Crashed,
                });
            }
        }
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
                    index.crashes.forget();
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
                                || !index.crashes.is_empty())
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
                    .filter(|(_, index)| index.crashes.in_a_row() > policy.immediate_restarts)
                    .filter_map(|(number, index)| {
                        Some(FlappingIndex {
                            index: *number,
                            since: index.crashes.last_unix()? as f64,
                        })
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

/// When something just heard of happened, as told by its agent. What differs by more than clocks do is the word of a
/// clock that was set, or came late: it counts as of now. A crash in the future of all others would begin the
/// row anew for ever, and one far in their past would never count.
fn by_our_clock(told: f64, unix: f64) -> f64 {
    if (unix - told).abs() <= CLOCKS_DIFFER {
        told
    } else {
        unix
    }
}

/// A start that was asked for a few times in vain (no agent has room, say) makes way for others.
pub fn occupies_window(asked: Asked, now: Millis, policy: &Policy) -> bool {
    asked.times <= 3 && now.saturating_sub(asked.last) < policy.repeat_after(asked.times)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::ids::InstanceId;

    const START: Millis = 1_000_000_000;
    const UNIX: f64 = 1_700_000_000.0;

    fn process() -> ProcessGuid {
        ProcessGuid::new("p").expect("an id")
    }

    fn version() -> Version {
        Version::new("v").expect("an id")
    }

    /// Six crashes in a row, ten seconds apart. The first ran well, on an agent whose clock is off by `first`
    /// seconds, the others did not, on one whose clock is off by `others`.
    fn in_a_row(first: f64, others: f64) -> u32 {
        let policy = Policy::read(&proto::config::Settings::default());
        let mut world = World::default();
        for number in 0..6_u64 {
            let (now, unix) = (START + number * 10_000, UNIX + number as f64 * 10.0);
            let off = if number == 0 { first } else { others };
            let name = format!("i{number}");
            let beats = |state, since| Heartbeat {
                dea: DeaId::new("dea-1").expect("an id"),
                droplets: vec![proto::bus::health::Beat {
                    droplet: process(),
                    version: version(),
                    instance: InstanceId::new(name.as_str()).expect("an id"),
                    index: 0,
                    state,
                    state_timestamp: since,
                    cc_partition: None,
                    yard_stats: None,
                    yard_details: None,
                }],
                yard_complete: Some(false),
                yard_period: None,
                yard_zone: None,
                yard_tasks: None,
            };
            let ran = if number == 0 { 1_000_000 } else { 1_000 };
            let states = [
                (InstanceState::Starting, ran + 500),
                (InstanceState::Running, ran),
            ];
            for (state, ago) in states {
                let then = unix - ago as f64 / 1000.0;
                world.heartbeat(&beats(state, then + off), now - ago, then, &policy);
            }
            let exited = Exited {
                droplet: process(),
                version: version(),
                instance: InstanceId::new(name.as_str()).expect("an id"),
                index: 0,
                reason: ExitReason::Crashed,
                crash_timestamp: Some(unix + off),
                exit_status: 1,
                exit_description: String::new(),
                cc_partition: None,
                yard_dea: None,
                yard_signal: None,
                yard_out_of_memory: None,
                yard_phase: None,
            };
            world.exited(&exited, now, unix, &policy);
        }
        let memory = world.memory.of_mut(&process(), &version(), START);
        memory.indices[&0].crashes.in_a_row()
    }

    #[test]
    fn a_clock_that_was_set_does_not_hide_that_an_app_crashes_again_and_again() {
        let undisturbed = in_a_row(0.0, 0.0);
        assert!(undisturbed >= 5, "{undisturbed}");
        for (first, others) in [
            (3600.0, 0.0),
            (0.0, -3600.0),
            (2.0, -2.0),
            (-3600.0, 3600.0),
        ] {
            assert_eq!(in_a_row(first, others), undisturbed, "{first} {others}");
        }
    }
}
