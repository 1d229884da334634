//! What runs, as far as heartbeats and exits tell.
//!
//! A table of instances by process, rebuilt from the bus within one heartbeat period after a
//! start and never stored. Each observation knows its age: whoever wants to *stop* something asks
//! how fresh the sight of it is, whoever wants to *start* something asks whether every agent has
//! been heard completely ([`Observed::is_warm`]).
//!
//! What a newcomer gets wrong:
//! - A heartbeat may be about one instance only (its state changed); only a complete one makes the
//!   agent's other instances vanish.
//! - Exits and heartbeats come by two subjects, so a heartbeat may overtake the exit it was sent
//!   before. An instance that has exited stays known as such for a while, so that no late beat revives it.
//! - Silence during an outage of the bus says nothing about agents: [`Observed::forgive_silence`].

use proto::bus::dea::InstanceStats;
use proto::bus::health::{Beat, ExitReason, Exited, Heartbeat, InstanceState};
use proto::ids::{DeaId, InstanceId, ProcessGuid, Version};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

/// How long an exit is remembered against late heartbeats and repeated reports.
const EXITS_REMEMBERED: Duration = Duration::from_secs(600);
/// Most exits remembered.
const EXITS_MOST: usize = 20_000;
/// How long crashes of a version are remembered without a new one.
const CRASHES_REMEMBERED: Duration = Duration::from_secs(1920);

/// One instance as last seen.
#[derive(Debug, Clone, PartialEq)]
pub struct Instance {
    pub id: InstanceId,
    pub process: ProcessGuid,
    pub version: Version,
    pub index: u32,
    pub dea: Option<DeaId>,
    pub state: InstanceState,
    /// Unix seconds of the last change of state, by the agent's clock.
    pub state_since: f64,
    /// When it was last seen, by ours.
    pub seen_at: Duration,
    /// When it was first seen running, by ours.
    pub running_since: Option<Duration>,
    pub stats: Option<InstanceStats>,
    pub details: Option<String>,
}

impl Instance {
    /// Starting or running: holds its index.
    pub fn is_live(&self) -> bool {
        match self.state {
            InstanceState::Starting | InstanceState::Running => true,
            InstanceState::Crashed | InstanceState::Evacuating => false,
        }
    }
    pub fn is_running(&self) -> bool {
        self.state == InstanceState::Running
    }
}

/// An agent as heard by its heartbeats.
#[derive(Debug, Clone, PartialEq)]
pub struct AgentSeen {
    pub last_beat: Duration,
    /// Last heartbeat that named all of its instances.
    pub last_complete: Option<Duration>,
}

/// Crashes of one version of a process.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Crashes {
    pub count: u32,
    pub by_index: BTreeMap<u32, u32>,
    /// The last one, for people: `instance 0: exited with status 1`.
    pub last: String,
    pub last_at: Duration,
}

/// What an exit meant to the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExitNews {
    /// The first report of a crash.
    Crashed { description: String },
    /// The first report of another end.
    Ended,
    /// Told before.
    Repeated,
}

/// An agent that fell silent, with what it ran.
#[derive(Debug, Clone, PartialEq)]
pub struct LostAgent {
    pub dea: DeaId,
    pub silent_for: Duration,
    pub instances: Vec<Instance>,
}

#[derive(Debug, Clone, PartialEq)]
struct Known {
    instance: Instance,
    /// The heartbeat that named it last.
    named_by: u64,
}

/// What became of an entry of a beat.
struct Taken {
    /// The state of its instance is another one.
    changed: bool,
    /// The beat had not named it before.
    first: bool,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Observed {
    /// Found for every entry of every beat, and never told in this order.
    instances: HashMap<InstanceId, Known>,
    /// Heartbeats taken so far.
    beats: u64,
    by_process: BTreeMap<ProcessGuid, BTreeSet<InstanceId>>,
    /// A beat costs what its agent runs, not what the cluster runs.
    by_agent: BTreeMap<DeaId, BTreeSet<InstanceId>>,
    agents: BTreeMap<DeaId, AgentSeen>,
    exited: BTreeMap<InstanceId, Duration>,
    crashes: BTreeMap<(ProcessGuid, Version), Crashes>,
}

/// State of one index of a process, for the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum IndexState {
    Down,
    Crashed,
    Starting,
    Running,
}

impl IndexState {
    pub fn name(self) -> &'static str {
        match self {
            IndexState::Down => "DOWN",
            IndexState::Crashed => "CRASHED",
            IndexState::Starting => "STARTING",
            IndexState::Running => "RUNNING",
        }
    }
}

/// What the API shows of one index.
#[derive(Debug, Clone, PartialEq)]
pub struct IndexStats {
    pub index: u32,
    pub state: IndexState,
    pub instance: Option<InstanceId>,
    pub dea: Option<DeaId>,
    /// Seconds in this state.
    pub uptime: f64,
    /// Unix seconds since when it is in this state.
    pub since: Option<f64>,
    pub stats: Option<InstanceStats>,
    /// Why it crashed, or what it waits for.
    pub details: Option<String>,
}

impl IndexStats {
    /// Of an index that nothing runs for.
    pub fn down(index: u32) -> IndexStats {
        IndexStats {
            index,
            state: IndexState::Down,
            instance: None,
            dea: None,
            uptime: 0.0,
            since: None,
            stats: None,
            details: None,
        }
    }
}

/// Since when an instance runs that is seen in this state.
fn running_since(state: InstanceState, ran: Option<Duration>, now: Duration) -> Option<Duration> {
    match state {
        InstanceState::Running => ran.or(Some(now)),
        // Of the crashed too: how long it ran belongs to the record of its crash.
        InstanceState::Evacuating | InstanceState::Crashed => ran,
        InstanceState::Starting => None,
    }
}

impl Observed {
    /// Takes a heartbeat. Returns the instances whose state it changed, in the order of the beat.
    pub fn heartbeat(&mut self, beat: &Heartbeat, now: Duration) -> Vec<InstanceId> {
        let complete = beat.is_complete();
        let agent = self.agents.entry(beat.dea.clone()).or_insert(AgentSeen {
            last_beat: now,
            last_complete: None,
        });
        agent.last_beat = now;
        if complete {
            agent.last_complete = Some(now);
        }
        self.beats += 1;
        let (mut changed, mut named) = (Vec::new(), 0);
        for one in &beat.droplets {
            if self.exited.contains_key(&one.instance) && one.state != InstanceState::Crashed {
                if let Some(known) = self.instances.get_mut(&one.instance) {
                    known.named_by = self.beats;
                }
                continue;
            }
            let taken = self.take(&beat.dea, one, now);
            named += usize::from(taken.first);
            if taken.changed {
                changed.push(one.instance.clone());
            }
        }
        // What is mostly so: it names exactly what it had.
        if named == self.on_agent(&beat.dea) {
            return changed;
        }
        let mut gone = Vec::new();
        for id in self.by_agent.get(&beat.dea).into_iter().flatten() {
            match self.instances.get_mut(id) {
                Some(known) if complete && known.named_by != self.beats => gone.push(id.clone()),
                // Everything on an agent that reports is as fresh as its report.
                Some(known) => known.instance.seen_at = now,
                None => {}
            }
        }
        for id in gone {
            self.remove(&id);
        }
        changed
    }

    /// Takes one entry of a beat.
    fn take(&mut self, dea: &DeaId, beat: &Beat, now: Duration) -> Taken {
        let named_by = self.beats;
        let known = self.instances.get_mut(&beat.instance);
        let first = known
            .as_ref()
            .is_none_or(|known| known.named_by != named_by);
        let same = known.filter(|known| {
            known.instance.process == beat.droplet && known.instance.dea.as_ref() == Some(dea)
        });
        let Some(known) = same else {
            let changed = self.meet(dea, beat, now);
            return Taken { changed, first };
        };
        known.named_by = named_by;
        let one = &mut known.instance;
        let changed = one.state != beat.state || one.version != beat.version;
        one.running_since = running_since(beat.state, one.running_since, now);
        one.state = beat.state;
        if one.version != beat.version {
            one.version = beat.version.clone();
        }
        one.index = beat.index;
        one.state_since = beat.state_timestamp;
        one.seen_at = now;
        if beat.yard_stats.is_some() {
            one.stats = beat.yard_stats.clone();
        }
        if beat.yard_details.is_some() {
            one.details = beat.yard_details.clone();
        }
        Taken { changed, first }
    }

    /// The same of one that is new, or was elsewhere; whether its state is another one.
    fn meet(&mut self, dea: &DeaId, beat: &Beat, now: Duration) -> bool {
        let before = self.instance(&beat.instance);
        let changed = before
            .is_none_or(|before| before.state != beat.state || before.version != beat.version);
        let stats = beat
            .yard_stats
            .clone()
            .or_else(|| before.and_then(|before| before.stats.clone()));
        let details = beat
            .yard_details
            .clone()
            .or_else(|| before.and_then(|before| before.details.clone()));
        let ran = before.and_then(|before| before.running_since);
        self.put(Instance {
            id: beat.instance.clone(),
            process: beat.droplet.clone(),
            version: beat.version.clone(),
            index: beat.index,
            dea: Some(dea.clone()),
            state: beat.state,
            state_since: beat.state_timestamp,
            seen_at: now,
            running_since: running_since(beat.state, ran, now),
            stats,
            details,
        });
        changed
    }

    /// Takes a `droplet.exited`, which is repeated until acknowledged.
    pub fn exited(&mut self, exit: &Exited, now: Duration) -> ExitNews {
        if self.exited.insert(exit.instance.clone(), now).is_some() {
            return ExitNews::Repeated;
        }
        if self.exited.len() > EXITS_MOST
            && let Some(oldest) = self
                .exited
                .iter()
                .min_by_key(|(_, at)| **at)
                .map(|(id, _)| id.clone())
        {
            self.exited.remove(&oldest);
        }
        match exit.reason {
            ExitReason::Crashed => {
                let description = describe(exit);
                let crashes = self
                    .crashes
                    .entry((exit.droplet.clone(), exit.version.clone()))
                    .or_default();
                crashes.count = crashes.count.saturating_add(1);
                let of_index = crashes.by_index.entry(exit.index).or_default();
                *of_index = of_index.saturating_add(1);
                crashes.last = format!("instance {}: {description}", exit.index);
                crashes.last_at = now;
                let before = self.instance(&exit.instance);
                let dea = exit
                    .yard_dea
                    .clone()
                    .or_else(|| before.and_then(|before| before.dea.clone()));
                let stats = before.and_then(|before| before.stats.clone());
                let running_since = before.and_then(|before| before.running_since);
                self.put(Instance {
                    id: exit.instance.clone(),
                    process: exit.droplet.clone(),
                    version: exit.version.clone(),
                    index: exit.index,
                    dea,
                    state: InstanceState::Crashed,
                    state_since: exit
                        .crash_timestamp
                        .or(before.map(|before| before.state_since))
                        .unwrap_or_default(),
                    seen_at: now,
                    running_since,
                    stats,
                    details: Some(description.clone()),
                });
                ExitNews::Crashed { description }
            }
            ExitReason::Stopped | ExitReason::DeaShutdown | ExitReason::DeaEvacuation => {
                self.remove(&exit.instance);
                ExitNews::Ended
            }
        }
    }

    /// Forgets agents silent for longer than `lost_after`, with their instances.
    pub fn expire(&mut self, now: Duration, lost_after: Duration) -> Vec<LostAgent> {
        let silent: Vec<(DeaId, Duration)> = self
            .agents
            .iter()
            .map(|(dea, agent)| (dea.clone(), now.saturating_sub(agent.last_beat)))
            .filter(|(_, silent_for)| *silent_for > lost_after)
            .collect();
        let lost = silent
            .into_iter()
            .map(|(dea, silent_for)| self.lose(&dea, silent_for))
            .collect();
        // A crash told by an agent we never hear again would stay for ever.
        let stray: Vec<InstanceId> = self
            .instances
            .values()
            .map(|known| &known.instance)
            .filter(|one| {
                one.dea
                    .as_ref()
                    .is_none_or(|dea| !self.agents.contains_key(dea))
            })
            .filter(|one| now.saturating_sub(one.seen_at) > lost_after)
            .map(|one| one.id.clone())
            .collect();
        for id in stray {
            self.remove(&id);
        }
        self.exited
            .retain(|_, at| now.saturating_sub(*at) <= EXITS_REMEMBERED);
        self.crashes
            .retain(|_, crashes| now.saturating_sub(crashes.last_at) <= CRASHES_REMEMBERED);
        lost
    }

    fn lose(&mut self, dea: &DeaId, silent_for: Duration) -> LostAgent {
        self.agents.remove(dea);
        let ids: Vec<InstanceId> = self.ids_on(dea).cloned().collect();
        let instances = ids.iter().filter_map(|id| self.remove(id)).collect();
        LostAgent {
            dea: dea.clone(),
            silent_for,
            instances,
        }
    }

    /// The bus was away: count nobody's silence before now.
    pub fn forgive_silence(&mut self, now: Duration) {
        for agent in self.agents.values_mut() {
            agent.last_beat = agent.last_beat.max(now);
        }
    }

    /// Every one of these agents has told all of its instances at least once.
    pub fn is_warm<'a>(&self, agents: impl IntoIterator<Item = &'a DeaId>) -> bool {
        agents.into_iter().all(|dea| {
            self.agents
                .get(dea)
                .is_some_and(|agent| agent.last_complete.is_some())
        })
    }

    pub fn agent(&self, dea: &DeaId) -> Option<&AgentSeen> {
        self.agents.get(dea)
    }

    /// Every agent that is heard.
    pub fn agents(&self) -> impl Iterator<Item = (&DeaId, &AgentSeen)> {
        self.agents.iter()
    }

    /// How many instances an agent has.
    pub fn on_agent(&self, dea: &DeaId) -> usize {
        self.by_agent.get(dea).map_or(0, BTreeSet::len)
    }

    pub fn ids_on(&self, dea: &DeaId) -> impl Iterator<Item = &InstanceId> {
        self.by_agent.get(dea).into_iter().flatten()
    }

    pub fn instance(&self, id: &InstanceId) -> Option<&Instance> {
        self.instances.get(id).map(|known| &known.instance)
    }

    pub fn has_exited(&self, id: &InstanceId) -> bool {
        self.exited.contains_key(id)
    }

    /// The instances of one process, by id.
    pub fn of_process(&self, process: &ProcessGuid) -> impl Iterator<Item = &Instance> {
        self.by_process
            .get(process)
            .into_iter()
            .flatten()
            .filter_map(|id| self.instance(id))
    }

    /// Every process something was seen of.
    pub fn processes(&self) -> impl Iterator<Item = &ProcessGuid> {
        self.by_process.keys()
    }

    pub fn crashes(&self, process: &ProcessGuid, version: &Version) -> Option<&Crashes> {
        self.crashes.get(&(process.clone(), version.clone()))
    }

    /// Versions that crashed lately.
    pub fn crashing(&self) -> impl Iterator<Item = (&ProcessGuid, &Version, &Crashes)> {
        self.crashes
            .iter()
            .map(|((process, version), crashes)| (process, version, crashes))
    }

    /// How many instances are known, by state, for the metrics.
    pub fn count(&self, state: InstanceState) -> usize {
        self.instances
            .values()
            .filter(|known| known.instance.state == state)
            .count()
    }

    /// Indices below `instances` of this version that run and have done so for `settled`.
    pub fn running_indices(
        &self,
        scope: &ProcessScope<'_>,
        settled: Duration,
        now: Duration,
    ) -> BTreeSet<u32> {
        self.of_process(scope.process)
            .filter(|one| one.version == *scope.version && one.index < scope.instances)
            .filter(|one| one.is_running())
            .filter(|one| {
                one.running_since
                    .is_some_and(|since| now.saturating_sub(since) >= settled)
            })
            .map(|one| one.index)
            .collect()
    }

    /// One entry for each wanted index: the best instance of the wanted version there.
    pub fn stats(&self, scope: &ProcessScope<'_>, unix_now: f64) -> Vec<IndexStats> {
        let mut best: BTreeMap<u32, (IndexState, &Instance)> = BTreeMap::new();
        for one in self
            .of_process(scope.process)
            .filter(|one| one.version == *scope.version)
        {
            let state = match one.state {
                InstanceState::Running | InstanceState::Evacuating => IndexState::Running,
                InstanceState::Starting => IndexState::Starting,
                InstanceState::Crashed => IndexState::Crashed,
            };
            let better = best.get(&one.index).is_none_or(|(known, instance)| {
                (state, one.state_since) > (*known, instance.state_since)
            });
            if better {
                best.insert(one.index, (state, one));
            }
        }
        (0..scope.instances)
            .map(|index| match best.get(&index) {
                Some((state, one)) => IndexStats {
                    index,
                    state: *state,
                    instance: Some(one.id.clone()),
                    dea: one.dea.clone(),
                    uptime: if one.state_since > 0.0 {
                        (unix_now - one.state_since).max(0.0)
                    } else {
                        0.0
                    },
                    since: (one.state_since > 0.0).then_some(one.state_since),
                    stats: one.stats.clone(),
                    details: one.details.clone(),
                },
                None => IndexStats::down(index),
            })
            .collect()
    }

    fn put(&mut self, instance: Instance) {
        self.remove(&instance.id);
        self.by_process
            .entry(instance.process.clone())
            .or_default()
            .insert(instance.id.clone());
        if let Some(dea) = &instance.dea {
            self.by_agent
                .entry(dea.clone())
                .or_default()
                .insert(instance.id.clone());
        }
        let named_by = self.beats;
        let id = instance.id.clone();
        self.instances.insert(id, Known { instance, named_by });
    }

    fn remove(&mut self, id: &InstanceId) -> Option<Instance> {
        let Known { instance, .. } = self.instances.remove(id)?;
        if let Some(ids) = self.by_process.get_mut(&instance.process) {
            ids.remove(id);
            if ids.is_empty() {
                self.by_process.remove(&instance.process);
            }
        }
        if let Some(dea) = &instance.dea
            && let Some(ids) = self.by_agent.get_mut(dea)
        {
            ids.remove(id);
            if ids.is_empty() {
                self.by_agent.remove(dea);
            }
        }
        Some(instance)
    }
}

/// A process at one version with its wanted number: what counting needs to know.
#[derive(Debug, Clone, Copy)]
pub struct ProcessScope<'a> {
    pub process: &'a ProcessGuid,
    pub version: &'a Version,
    pub instances: u32,
}

/// One clause about an exit, also where the agent gave no description.
pub fn describe(exit: &Exited) -> String {
    if !exit.exit_description.is_empty() {
        return exit.exit_description.clone();
    }
    if exit.yard_out_of_memory == Some(true) {
        return "out of memory".to_string();
    }
    match &exit.yard_signal {
        Some(signal) => format!("ended by signal {signal}"),
        None => format!("exited with status {}", exit.exit_status),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn dea(name: &str) -> DeaId {
        DeaId::new(name).unwrap()
    }
    pub(crate) fn process(name: &str) -> ProcessGuid {
        ProcessGuid::new(name).unwrap()
    }
    pub(crate) fn version(name: &str) -> Version {
        Version::new(name).unwrap()
    }
    pub(crate) fn instance(name: &str) -> InstanceId {
        InstanceId::new(name).unwrap()
    }
    pub(crate) fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    pub(crate) fn beat(id: &str, index: u32, state: InstanceState) -> Beat {
        Beat {
            droplet: process("p"),
            version: version("v1"),
            instance: instance(id),
            index,
            state,
            state_timestamp: 100.0,
            cc_partition: None,
            yard_stats: None,
            yard_details: None,
        }
    }

    pub(crate) fn heartbeat(name: &str, complete: Option<bool>, droplets: Vec<Beat>) -> Heartbeat {
        Heartbeat {
            dea: dea(name),
            droplets,
            yard_complete: complete,
            yard_period: None,
            yard_zone: None,
            yard_tasks: None,
        }
    }

    pub(crate) fn exit(id: &str, index: u32, reason: ExitReason) -> Exited {
        Exited {
            droplet: process("p"),
            version: version("v1"),
            instance: instance(id),
            index,
            reason,
            crash_timestamp: Some(120.0),
            exit_status: 7,
            exit_description: String::new(),
            cc_partition: None,
            yard_dea: Some(dea("dea-1")),
            yard_signal: None,
            yard_out_of_memory: None,
            yard_phase: None,
        }
    }

    fn ids(observed: &Observed) -> Vec<String> {
        observed
            .of_process(&process("p"))
            .map(|one| one.id.to_string())
            .collect()
    }

    #[test]
    fn an_instance_belongs_to_the_agent_that_told_of_it_last() {
        let mut observed = Observed::default();
        let tell = |observed: &mut Observed, name: &str, ids: &[&str], at| {
            let beats = ids
                .iter()
                .map(|id| beat(id, 0, InstanceState::Running))
                .collect();
            observed.heartbeat(&heartbeat(name, Some(true), beats), seconds(at));
        };
        tell(&mut observed, "dea-1", &["a", "b"], 1);
        tell(&mut observed, "dea-2", &["b"], 2);
        let on = |observed: &Observed, name| observed.on_agent(&dea(name));
        assert_eq!((on(&observed, "dea-1"), on(&observed, "dea-2")), (1, 1));
        tell(&mut observed, "dea-1", &[], 3);
        assert_eq!(ids(&observed), ["b"]);
        let seen = |observed: &Observed, id| observed.instance(&instance(id)).map(|b| b.seen_at);
        assert_eq!(seen(&observed, "b"), Some(seconds(2)));
        let lost = observed.expire(seconds(60), seconds(57));
        assert_eq!((lost.len(), lost[0].instances.len()), (1, 1));
        assert_eq!(on(&observed, "dea-2"), 0);
    }

    #[test]
    fn only_a_complete_heartbeat_makes_others_vanish() {
        use InstanceState::Running;
        let mut observed = Observed::default();
        observed.heartbeat(
            &heartbeat(
                "dea-1",
                Some(true),
                vec![beat("a", 0, Running), beat("b", 1, Running)],
            ),
            seconds(0),
        );
        observed.heartbeat(
            &heartbeat("dea-1", Some(false), vec![beat("c", 2, Running)]),
            seconds(1),
        );
        assert_eq!(ids(&observed), ["a", "b", "c"]);
        observed.heartbeat(
            &heartbeat("dea-1", None, vec![beat("d", 3, Running)]),
            seconds(1),
        );
        assert_eq!(
            ids(&observed),
            ["a", "b", "c", "d"],
            "a stranger's single beat is about one instance"
        );
        observed.heartbeat(&heartbeat("dea-2", Some(true), vec![]), seconds(2));
        assert_eq!(
            ids(&observed).len(),
            4,
            "another agent's beat says nothing about these"
        );
        observed.heartbeat(
            &heartbeat("dea-1", Some(true), vec![beat("b", 1, Running)]),
            seconds(3),
        );
        assert_eq!(ids(&observed), ["b"]);
        observed.heartbeat(&heartbeat("dea-1", None, vec![]), seconds(4));
        assert!(ids(&observed).is_empty());
        assert_eq!(observed.processes().count(), 0);
    }

    #[test]
    fn a_late_heartbeat_does_not_revive_what_exited() {
        let mut observed = Observed::default();
        observed.heartbeat(
            &heartbeat(
                "dea-1",
                Some(true),
                vec![beat("a", 0, InstanceState::Running)],
            ),
            seconds(0),
        );
        assert_eq!(
            observed.exited(&exit("a", 0, ExitReason::Stopped), seconds(1)),
            ExitNews::Ended
        );
        assert_eq!(
            observed.exited(&exit("a", 0, ExitReason::Stopped), seconds(2)),
            ExitNews::Repeated
        );
        observed.heartbeat(
            &heartbeat(
                "dea-1",
                Some(true),
                vec![beat("a", 0, InstanceState::Running)],
            ),
            seconds(2),
        );
        assert!(ids(&observed).is_empty());
    }

    #[test]
    fn crashes_are_counted_once_each_and_say_why() {
        let mut observed = Observed::default();
        let crash = exit("a", 0, ExitReason::Crashed);
        assert_eq!(
            observed.exited(&crash, seconds(1)),
            ExitNews::Crashed {
                description: "exited with status 7".into()
            }
        );
        assert_eq!(observed.exited(&crash, seconds(3)), ExitNews::Repeated);
        observed.exited(&exit("b", 0, ExitReason::Crashed), seconds(4));
        let crashes = observed.crashes(&process("p"), &version("v1")).unwrap();
        assert_eq!(
            (crashes.count, crashes.by_index[&0], crashes.last.as_str()),
            (2, 2, "instance 0: exited with status 7")
        );
        let scope = ProcessScope {
            process: &process("p"),
            version: &version("v1"),
            instances: 2,
        };
        let stats = observed.stats(&scope, 130.0);
        assert_eq!(
            (stats[0].state, stats[1].state),
            (IndexState::Crashed, IndexState::Down)
        );
        assert_eq!(stats[0].details.as_deref(), Some("exited with status 7"));
    }

    #[test]
    fn a_silent_agent_is_lost_with_its_instances_unless_the_bus_was_away() {
        let mut observed = Observed::default();
        observed.heartbeat(
            &heartbeat(
                "dea-1",
                Some(true),
                vec![beat("a", 0, InstanceState::Running)],
            ),
            seconds(0),
        );
        assert!(observed.expire(seconds(30), seconds(30)).is_empty());
        observed.forgive_silence(seconds(40));
        assert!(observed.expire(seconds(60), seconds(30)).is_empty());
        let lost = observed.expire(seconds(71), seconds(30));
        assert_eq!(
            (lost.len(), lost[0].instances.len(), lost[0].silent_for),
            (1, 1, seconds(31))
        );
        assert!(ids(&observed).is_empty());
        assert!(observed.agent(&dea("dea-1")).is_none());
    }

    #[test]
    fn it_is_warm_when_every_agent_has_told_everything() {
        let mut observed = Observed::default();
        let agents = [dea("dea-1"), dea("dea-2")];
        assert!(observed.is_warm([]));
        observed.heartbeat(&heartbeat("dea-1", Some(true), vec![]), seconds(0));
        observed.heartbeat(
            &heartbeat(
                "dea-2",
                Some(false),
                vec![beat("a", 0, InstanceState::Running)],
            ),
            seconds(0),
        );
        assert!(!observed.is_warm(&agents));
        observed.heartbeat(&heartbeat("dea-2", Some(true), vec![]), seconds(0));
        assert!(observed.is_warm(&agents));
    }

    #[test]
    fn stats_show_the_best_instance_of_the_wanted_version_only() {
        use InstanceState::{Crashed, Running, Starting};
        let mut old = beat("old", 1, Running);
        old.version = version("v0");
        let mut observed = Observed::default();
        let beats = vec![
            beat("a", 0, Crashed),
            beat("b", 0, Running),
            old,
            beat("c", 2, Starting),
            beat("d", 9, Running),
        ];
        observed.heartbeat(&heartbeat("dea-1", Some(true), beats), seconds(0));
        let scope = ProcessScope {
            process: &process("p"),
            version: &version("v1"),
            instances: 3,
        };
        let stats = observed.stats(&scope, 160.0);
        let states: Vec<&str> = stats.iter().map(|one| one.state.name()).collect();
        assert_eq!(states, ["RUNNING", "DOWN", "STARTING"]);
        assert_eq!(stats[0].uptime, 60.0);
        assert_eq!(
            observed.running_indices(&scope, seconds(1), seconds(0)),
            BTreeSet::new(),
            "not settled yet"
        );
        assert_eq!(
            observed.running_indices(&scope, seconds(1), seconds(1)),
            BTreeSet::from([0])
        );
    }
}
