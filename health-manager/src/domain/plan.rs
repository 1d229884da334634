//! Compares what should run with what runs and says what to ask the controller for, and why.
//!
//! **Asymmetry.** A start on partial knowledge does little harm: the controller checks it, and one instance
//! too many is stopped later. A stop on wrong knowledge takes an app down. So starts need a fresh
//! desired state, and for an index that is missing without a known reason also enough listening;
//! stops need all of it: complete and fresh desired state, continuous hearing, and an instance that
//! was seen lately. In doubt nothing happens and the plan says what held it.
//!
//! | seen at an index (desired version) | plan |
//! |---|---|
//! | STARTING or RUNNING | nothing; more than one with one RUNNING: stop all but the oldest RUNNING |
//! | EVACUATING only | start a replacement now; stop it when the replacement is RUNNING |
//! | nothing, crashed | start after the back-off; beyond the immediate restarts index ≠ 0 waits until some instance runs |
//! | nothing, agent lost / shut down / evacuated | start now |
//! | nothing, nobody knows why | start after the grace |
//!
//! Beyond the desired number, of another version, not desired at all: stop — the first two only when
//! all that is desired runs.

use super::Millis;
use super::desired::{Wanted, WantedState};
use super::memory::{Asked, IndexMemory, MissingReason, VersionMemory};
use super::observed::Seen;
use super::policy::Policy;
use super::world::{FIRST_ANSWERS, World, occupies_window};
use proto::bus::health::InstanceState;
use proto::ids::{InstanceId, ProcessGuid, Version};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

/// Why something is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Because {
    /// Its predecessor is being moved away.
    Evacuating,
    Crashed {
        crashes: u32,
    },
    AgentLost,
    AgentShutdown,
    Missing,
    /// Another instance runs at the same index.
    Duplicate,
    /// Its replacement runs.
    Replaced,
    /// Its index is not desired.
    Extra,
    /// Its version is not desired.
    OldVersion,
    /// The app is stopped.
    Stopped,
    /// Nobody knows the process.
    Undesired,
}

impl Because {
    pub fn text(self) -> String {
        match self {
            Because::Evacuating => "its agent is being emptied".to_string(),
            Because::Crashed { crashes } => format!("it crashed ({crashes} in a row)"),
            Because::AgentLost => "its agent is lost".to_string(),
            Because::AgentShutdown => "its agent was shut down".to_string(),
            Because::Missing => "it is missing".to_string(),
            Because::Duplicate => "an older instance runs at the same index".to_string(),
            Because::Replaced => "its replacement runs".to_string(),
            Because::Extra => "its index is not desired".to_string(),
            Because::OldVersion => "its version is replaced".to_string(),
            Because::Stopped => "the app is stopped".to_string(),
            Because::Undesired => "the process is not desired".to_string(),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    Start { index: u32 },
    Stop { instance: InstanceId },
}

/// One thing to ask for.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    pub process: ProcessGuid,
    /// For a stop: the version of the instance.
    pub version: Version,
    pub operation: Operation,
    pub because: Because,
    /// Unix seconds of the desired state it was planned from.
    pub last_updated: f64,
    /// The index crashes again and again.
    pub flapping: bool,
}

/// What keeps something from being planned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Held {
    /// The bus is away.
    NotHearing,
    /// The desired state was never read.
    NoDesiredState,
    /// The desired state is too old.
    StaleDesiredState,
    /// Not every agent had its time to speak.
    Listening,
    /// The grace of a missing instance is not over.
    Grace,
    /// A crashed instance waits out its delay.
    BackOff,
    /// A crashed instance waits until another one runs.
    Canary,
    /// As many starts are under way as may be.
    Window,
    /// It was asked for a moment ago.
    Asked,
    /// A stop waits until all that is desired runs.
    NotAllRunning,
    /// A stop would rest on old knowledge.
    StaleInstance,
}

impl Held {
    pub fn text(self) -> &'static str {
        match self {
            Held::NotHearing => "the bus is away",
            Held::NoDesiredState => "the desired state was not read yet",
            Held::StaleDesiredState => "the desired state is too old",
            Held::Listening => "not every agent had its time to speak yet",
            Held::Grace => "missing without a known reason, within the grace",
            Held::BackOff => "crashed, waiting before the next try",
            Held::Canary => "crashed, waiting until an instance of the process runs",
            Held::Window => "as many starts are under way as may be",
            Held::Asked => "asked for a moment ago",
            Held::NotAllRunning => "a stop waits until all that is desired runs",
            Held::StaleInstance => {
                "an instance to stop was not seen lately or is newer than the desired state"
            }
        }
    }
}

/// What to do now.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Plan {
    /// The most urgent first.
    pub requests: Vec<Request>,
    /// Indices newly seen to be missing.
    pub noticed: Vec<(ProcessGuid, Version, u32)>,
    /// Indices that were missing or asked for and are live now.
    pub settled: Vec<(ProcessGuid, Version, u32)>,
    /// What is not planned, and why.
    pub held: BTreeMap<Held, usize>,
    /// When time alone would change the plan.
    pub next: Option<Millis>,
}

impl Plan {
    fn hold(&mut self, held: Held) {
        *self.held.entry(held).or_default() += 1;
    }

    fn look_at(&mut self, when: Millis) {
        self.next = Some(self.next.map_or(when, |next| next.min(when)));
    }
}

/// Which processes to look at.
#[derive(Debug, Clone, Copy)]
pub enum Scope<'a> {
    All,
    Only(&'a BTreeSet<ProcessGuid>),
}

/// The plan.
pub fn plan(world: &World, scope: Scope<'_>, now: Millis, policy: &Policy) -> Plan {
    let mut plan = Plan::default();
    if world.hearing_since.is_none() {
        plan.hold(Held::NotHearing);
        return plan;
    }
    match world.desired.age(now) {
        None => {
            plan.hold(Held::NoDesiredState);
            return plan;
        }
        Some(age) if age > policy.stale_after => {
            plan.hold(Held::StaleDesiredState);
            return plan;
        }
        Some(_) => {}
    }
    let warm = world.is_warm(now, policy);
    if !warm {
        plan.hold(Held::Listening);
        if let Some(since) = world.hearing_since {
            let answers = since.saturating_add(FIRST_ANSWERS);
            plan.look_at(if now < answers {
                answers
            } else {
                since.saturating_add(policy.lost_after)
            });
        }
    }
    let mut starts: Vec<(Urgency, Request)> = Vec::new();
    let mut one = |process: &ProcessGuid, plan: &mut Plan| {
        let planner = Planner {
            world,
            process,
            warm,
            now,
            policy,
        };
        match world.desired.processes.get(process) {
            Some(wanted) => planner.wanted(wanted, &mut starts, plan),
            None => planner.undesired(plan),
        }
    };
    match scope {
        Scope::All => {
            let all: BTreeSet<&ProcessGuid> = world
                .desired
                .processes
                .keys()
                .chain(world.observed.processes.keys())
                .collect();
            for process in all {
                one(process, &mut plan);
            }
        }
        Scope::Only(some) => {
            for process in some {
                one(process, &mut plan);
            }
        }
    }
    starts.sort_by(|(a, x), (b, y)| {
        (b, &x.process, &x.operation).cmp(&(a, &y.process, &y.operation))
    });
    // What is seen now for the first time makes room at once.
    let arrived = plan
        .settled
        .iter()
        .filter_map(|(process, version, index)| {
            world.memory.of(process, version)?.indices.get(index)?.asked
        })
        .filter(|asked| occupies_window(*asked, now, policy))
        .count();
    let under_way = world.unacknowledged(now, policy).saturating_sub(arrived);
    let room = policy.window.saturating_sub(under_way);
    for _ in room..starts.len() {
        plan.hold(Held::Window);
        plan.look_at(now + 1000);
    }
    let stops = std::mem::take(&mut plan.requests);
    plan.requests = starts
        .into_iter()
        .take(room)
        .map(|(_, request)| request)
        .chain(stops)
        .collect();
    plan
}

/// Order of starts: class, then how large a part of the process is missing (in thousandths).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Urgency {
    class: u8,
    missing: u32,
}

struct Planner<'a> {
    world: &'a World,
    process: &'a ProcessGuid,
    warm: bool,
    now: Millis,
    policy: &'a Policy,
}

/// The instances of the desired version at one index.
#[derive(Default)]
struct AtIndex<'a> {
    live: Vec<(&'a InstanceId, &'a Seen)>,
    evacuating: Vec<(&'a InstanceId, &'a Seen)>,
}

impl AtIndex<'_> {
    fn runs(&self) -> bool {
        self.live.iter().any(|(_, seen)| seen.is_running())
    }
}

/// A stop rests on others running: seen a moment ago, not just not yet lost.
fn surely_runs(seen: &Seen, now: Millis, policy: &Policy) -> bool {
    seen.is_running() && now.saturating_sub(seen.last_seen) <= policy.lost_after * 2 / 3
}

impl<'a> Planner<'a> {
    fn wanted(&self, wanted: &Wanted, starts: &mut Vec<(Urgency, Request)>, plan: &mut Plan) {
        match wanted.state {
            WantedState::NotStaged => return,
            WantedState::Stopped => {
                for (instance, seen) in self.world.observed.of(self.process) {
                    if seen.state != InstanceState::Crashed && seen.first_seen <= wanted.read_at {
                        self.stop(instance, seen, Because::Stopped, wanted.updated_at, plan);
                    }
                }
                return;
            }
            WantedState::Started => {}
        }
        let mut by_index: BTreeMap<u32, AtIndex<'_>> = BTreeMap::new();
        let mut others: Vec<(&InstanceId, &Seen, Because)> = Vec::new();
        for (instance, seen) in self.world.observed.of(self.process) {
            match (seen.state, seen.version == wanted.version) {
                (InstanceState::Crashed, _) => {}
                (_, false) => others.push((instance, seen, Because::OldVersion)),
                (_, true) if seen.index >= wanted.instances => {
                    others.push((instance, seen, Because::Extra))
                }
                (InstanceState::Evacuating, true) => by_index
                    .entry(seen.index)
                    .or_default()
                    .evacuating
                    .push((instance, seen)),
                (InstanceState::Starting | InstanceState::Running, true) => {
                    by_index
                        .entry(seen.index)
                        .or_default()
                        .live
                        .push((instance, seen));
                }
            }
        }
        let nothing = AtIndex::default();
        let at = |index: u32| by_index.get(&index).unwrap_or(&nothing);
        let all_run = (0..wanted.instances).all(|index| {
            at(index)
                .live
                .iter()
                .any(|(_, seen)| surely_runs(seen, self.now, self.policy))
        });
        let missing = (0..wanted.instances)
            .filter(|index| at(*index).live.is_empty())
            .count() as u32;
        let some_run = by_index
            .values()
            .any(|at| at.runs() || !at.evacuating.is_empty());
        let memory = self.world.memory.of(self.process, &wanted.version);
        for index in 0..wanted.instances {
            let at = at(index);
            if at.live.is_empty() {
                let share = missing.saturating_mul(1000) / wanted.instances.max(1);
                self.start(wanted, index, at, memory, some_run, share, starts, plan);
            } else {
                self.keep_one(wanted, index, at, memory, plan);
            }
        }
        for (instance, seen, because) in others {
            if all_run {
                self.stop(instance, seen, because, wanted.updated_at, plan);
            } else {
                plan.hold(Held::NotAllRunning);
            }
        }
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "one place calls it, with what it has just worked out"
    )]
    fn start(
        &self,
        wanted: &Wanted,
        index: u32,
        at: &AtIndex<'_>,
        memory: Option<&VersionMemory>,
        some_run: bool,
        share: u32,
        starts: &mut Vec<(Urgency, Request)>,
        plan: &mut Plan,
    ) {
        let empty = IndexMemory::default();
        let known = memory.and_then(|memory| memory.indices.get(&index));
        let memory = known.unwrap_or(&empty);
        let crashes = memory.crashes.in_a_row();
        if memory.missing.is_none() {
            plan.noticed
                .push((self.process.clone(), wanted.version.clone(), index));
        }
        let crashed = memory
            .missing
            .is_some_and(|missing| missing.why == MissingReason::Crashed);
        let (because, class) = if !at.evacuating.is_empty() && !crashed {
            (Because::Evacuating, 3)
        } else {
            match memory.missing.map(|missing| (missing.why, missing.since)) {
                Some((MissingReason::AgentLost, _)) => (Because::AgentLost, 2),
                Some((MissingReason::AgentShutdown | MissingReason::AgentEvacuation, _)) => {
                    (Because::AgentShutdown, 2)
                }
                Some((MissingReason::Crashed, _)) => {
                    let due = memory
                        .crashes
                        .last()
                        .saturating_add(self.policy.delay_after(crashes));
                    let flapping = crashes > self.policy.immediate_restarts;
                    if index != 0 && flapping && !some_run {
                        plan.hold(Held::Canary);
                        return;
                    }
                    if self.now < due {
                        plan.hold(Held::BackOff);
                        plan.look_at(due);
                        return;
                    }
                    let class = if flapping { 0 } else { 1 };
                    (Because::Crashed { crashes }, class)
                }
                Some((MissingReason::Unknown, since)) => {
                    let due = since.saturating_add(self.policy.grace);
                    if self.now < due {
                        plan.hold(Held::Grace);
                        plan.look_at(due);
                        return;
                    }
                    if !self.warm {
                        return;
                    }
                    (Because::Missing, 1)
                }
                None => {
                    plan.hold(Held::Grace);
                    plan.look_at(self.now + self.policy.grace);
                    return;
                }
            }
        };
        if self.was_just_asked(memory.asked, plan) {
            return;
        }
        let request = Request {
            process: self.process.clone(),
            version: wanted.version.clone(),
            operation: Operation::Start { index },
            because,
            last_updated: wanted.updated_at,
            flapping: crashes > self.policy.immediate_restarts,
        };
        starts.push((
            Urgency {
                class,
                missing: share,
            },
            request,
        ));
    }

    /// Some instance holds the index: it is not missing, and all but one may go.
    fn keep_one(
        &self,
        wanted: &Wanted,
        index: u32,
        at: &AtIndex<'_>,
        memory: Option<&VersionMemory>,
        plan: &mut Plan,
    ) {
        let known = memory.and_then(|memory| memory.indices.get(&index));
        if known.is_some_and(|index| index.missing.is_some() || index.asked.is_some()) {
            plan.settled
                .push((self.process.clone(), wanted.version.clone(), index));
        }
        let oldest = at
            .live
            .iter()
            .filter(|(_, seen)| surely_runs(seen, self.now, self.policy))
            .min_by_key(|(instance, seen)| (seen.since, *instance));
        let Some((kept, _)) = oldest else { return };
        let mut rest: Vec<_> = at
            .live
            .iter()
            .filter(|(instance, _)| instance != kept)
            .collect();
        rest.sort_by_key(|(instance, seen)| (Reverse(seen.since), *instance));
        for (instance, seen) in rest {
            self.stop(instance, seen, Because::Duplicate, wanted.updated_at, plan);
        }
        for (instance, seen) in &at.evacuating {
            self.stop(instance, seen, Because::Replaced, wanted.updated_at, plan);
        }
    }

    fn undesired(&self, plan: &mut Plan) {
        for (instance, seen) in self.world.observed.of(self.process) {
            if seen.state == InstanceState::Crashed {
                continue;
            }
            // What is younger than the set may have come into being after it was read.
            if self
                .world
                .desired
                .complete_as_of
                .is_none_or(|read| read <= seen.first_seen)
            {
                plan.hold(Held::StaleInstance);
                continue;
            }
            self.stop(instance, seen, Because::Undesired, 0.0, plan);
        }
    }

    /// A request is repeated, but not before its answer can have shown.
    fn was_just_asked(&self, asked: Option<Asked>, plan: &mut Plan) -> bool {
        let Some(asked) = asked else { return false };
        let again = asked
            .last
            .saturating_add(self.policy.repeat_after(asked.times));
        let waits = self.now < again;
        if waits {
            plan.hold(Held::Asked);
            plan.look_at(again);
        }
        waits
    }

    fn stop(
        &self,
        instance: &InstanceId,
        seen: &Seen,
        because: Because,
        last_updated: f64,
        plan: &mut Plan,
    ) {
        if !self.warm {
            return;
        }
        if self.now.saturating_sub(seen.last_seen) > self.policy.lost_after {
            plan.hold(Held::StaleInstance);
            return;
        }
        let asked = self
            .world
            .memory
            .of(self.process, &seen.version)
            .and_then(|memory| memory.stops.get(instance));
        if self.was_just_asked(asked.copied(), plan) {
            return;
        }
        plan.requests.push(Request {
            process: self.process.clone(),
            version: seen.version.clone(),
            operation: Operation::Stop {
                instance: instance.clone(),
            },
            because,
            last_updated,
            flapping: false,
        });
    }
}

#[cfg(test)]
#[path = "properties_tests.rs"]
mod properties;
#[cfg(test)]
#[path = "simulation_tests.rs"]
mod simulation;
#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
