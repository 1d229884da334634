//! What a controller sees of the cluster, and what its leader decides from it.
//!
//! [`Picture`] is rebuilt from the bus and lost without harm. Messages change it, and two questions are
//! put to it: what is to be done now ([`Picture::decide`]), and which agent gets a start
//! ([`Picture::place`]). Both write down what they answered, so that the next answer builds on it; whoever
//! could not send a command takes it back ([`Picture::withdraw`]).
//!
//! What a newcomer gets wrong: a request of the health manager is checked when the leader gets to it, not
//! when it came, and it may have come before the exit it was planned from. Requests therefore wait here,
//! for a moment also those that seem to be wrong.

use super::dispatch::{self, Action, Desired, Launch, Ledger, Settled, Sight};
use super::observed::{LostAgent, Observed};
use super::placement::{Debit, Decision, PlacementRequest, Pool};
use proto::bus::dea::{Advertisement, Shutdown};
use proto::bus::health::{Exited, HealthRequest, Heartbeat, InstanceState};
use proto::ids::{DeaId, InstanceId, ProcessGuid, Version};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

/// Most requests of the health manager that wait for the dispatcher.
const REQUESTS_MOST: usize = 10_000;
/// A request of the health manager that waited longer is dropped: it asks again.
pub const REQUEST_PATIENCE: Duration = Duration::from_secs(30);
/// A request for what still runs, as far as is known here, is looked at again for this long: the exit
/// it was planned from may arrive after it.
const HELD_REQUEST: Duration = Duration::from_secs(2);
/// How long after connecting answers to the first questions may be on their way.
const FIRST_ANSWERS: Duration = Duration::from_secs(2);
/// An agent that advertises but sends no heartbeat (none of ours) is not waited for longer.
const WARM_AT_LAST: Duration = Duration::from_secs(35);
/// Silence is looked for every second. Without a look for this long this controller stood still (a machine
/// that was suspended): what was said meanwhile waits unread, and nobody was silent.
const STOOD_STILL: Duration = Duration::from_secs(6);
/// After this long without an advertisement an agent is no longer shown.
const FORGET_AGENT: Duration = Duration::from_secs(300);

/// Why an index is not placed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wait {
    pub reason: String,
    /// Since when it waits, whatever for.
    pub since: Duration,
}

#[derive(Debug, Clone, Default)]
pub struct Picture {
    pub pool: Pool,
    pub observed: Observed,
    /// The leader's: what it sent.
    pub ledger: Ledger,
    /// The leader's: why an index is not placed.
    pub waiting: BTreeMap<ProcessGuid, BTreeMap<u32, Wait>>,
    /// The leader's: requests to be checked, with the time they came.
    requests: VecDeque<(Duration, HealthRequest)>,
    /// Since when the bus is there.
    pub connected_since: Option<Duration>,
    /// When silence was last looked for.
    swept_at: Option<Duration>,
}

/// What users and other controllers want of the leader, beside the rows.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Asked {
    /// Requests of the health manager that reached a controller that does not lead.
    pub handed_on: Vec<HealthRequest>,
    /// Single instances to be replaced.
    pub restarts: Vec<(ProcessGuid, u32)>,
}

/// What is to be done now, and what came to light on the way.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Decided {
    pub actions: Vec<Action>,
    /// Starts that will not be seen any more.
    pub never_arrived: Vec<(Launch, &'static str)>,
    /// Requests of the health manager that are not followed, and why not.
    pub ignored: Vec<(ProcessGuid, String)>,
}

/// One start that looks for an agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    pub instance: InstanceId,
    pub process: ProcessGuid,
    pub version: Version,
    pub index: u32,
    /// When to give it up if nothing was seen.
    pub give_up_at: Duration,
}

/// For what room is held at an agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// Under which it is seen or given up.
    pub key: String,
    pub process: Option<ProcessGuid>,
    pub until: Duration,
}

impl Picture {
    /// The bus is there, for the first time or again.
    pub fn bus_came(&mut self, now: Duration) {
        self.connected_since = Some(now);
        self.swept_at = Some(now);
        self.observed.forgive_silence(now);
    }

    pub fn bus_went(&mut self) {
        self.connected_since = None;
        self.swept_at = None;
    }

    /// Whether the next round could decide otherwise because of it.
    pub fn advertised(&mut self, ad: Advertisement, now: Duration, fresh: Duration) -> bool {
        let appeared = self.pool.advertised(ad, now, fresh);
        appeared || !self.waiting.is_empty()
    }

    /// The same for a heartbeat.
    pub fn beat(&mut self, beat: &Heartbeat, now: Duration) -> bool {
        let was_known = self
            .observed
            .agent(&beat.dea)
            .is_some_and(|agent| agent.last_complete.is_some());
        let changed = self.observed.heartbeat(beat, now);
        let mut evacuates = false;
        for one in &beat.droplets {
            self.pool.seen(one.instance.as_str());
            evacuates |= one.state == InstanceState::Evacuating;
        }
        // A beat of one instance tells nothing of the others.
        if evacuates || beat.is_complete() {
            self.pool.evacuates(&beat.dea, evacuates);
        }
        for task in beat.yard_tasks.iter().flatten() {
            self.pool.seen(task.as_str());
        }
        !changed.is_empty() || !was_known
    }

    pub fn exited(&mut self, exit: &Exited, now: Duration) {
        self.observed.exited(exit, now);
        self.pool.withdrawn(exit.instance.as_str());
    }

    /// Gives up agents that are silent for too long. To be called every second while the bus is there: after
    /// a standstill of this controller it begins anew to listen.
    pub fn sweep(&mut self, now: Duration, lost_after: Duration) -> Vec<LostAgent> {
        if self.stood_still(now) {
            self.bus_came(now);
            return Vec::new();
        }
        self.swept_at = Some(now);
        let lost = self.observed.expire(now, lost_after);
        for agent in &lost {
            self.pool.lost(&agent.dea);
        }
        self.pool.expire(now, FORGET_AGENT);
        lost
    }

    fn stood_still(&self, now: Duration) -> bool {
        self.swept_at
            .is_some_and(|at| now.saturating_sub(at) >= STOOD_STILL)
    }

    /// Every agent has told what it runs, so that what is not seen is not there.
    pub fn is_warm(&self, now: Duration, advertisement_ttl: Duration) -> bool {
        let Some(since) = self.connected_since else {
            return false;
        };
        if self.stood_still(now) {
            return false;
        }
        let listened = now.saturating_sub(since);
        if listened < FIRST_ANSWERS {
            return false;
        }
        listened >= WARM_AT_LAST
            || self
                .observed
                .is_warm(self.pool.advertising(now, advertisement_ttl))
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

    /// Compares what the rows want with what is seen and what is on its way.
    pub fn decide(
        &mut self,
        wanted: &BTreeMap<ProcessGuid, Desired>,
        asked: Asked,
        sight: Sight,
    ) -> Decided {
        let now = sight.now;
        let mut decided = Decided::default();
        for (instance, launch, settled) in self.ledger.settle(&self.observed, now) {
            match settled {
                Settled::Seen => self.pool.seen(instance.as_str()),
                Settled::Exited => self.pool.withdrawn(instance.as_str()),
                Settled::NeverArrived { because } => {
                    self.pool.withdrawn(instance.as_str());
                    decided.never_arrived.push((launch, because));
                }
            }
        }
        self.ledger.keep_only(wanted);
        self.waiting.retain(|process, waiting| {
            let Some(wanted) = wanted.get(process).filter(|wanted| wanted.run) else {
                return false;
            };
            waiting.retain(|index, _| *index < wanted.instances);
            !waiting.is_empty()
        });
        for request in asked.handed_on {
            self.ask(now, request);
        }
        decided.actions = dispatch::plan(wanted, &self.observed, &self.ledger, sight);
        decided
            .actions
            .extend(self.restarts(wanted, &asked.restarts));
        self.note_stops(&decided.actions, now);
        self.follow_requests(wanted, now, &mut decided);
        decided
    }

    fn note_stops(&mut self, actions: &[Action], now: Duration) {
        for action in actions {
            if let Action::Stop { instances, .. } = action {
                self.stopping(instances, now);
            }
        }
    }

    /// Also before every agent was heard: the health manager asks from complete knowledge of its own.
    fn follow_requests(
        &mut self,
        wanted: &BTreeMap<ProcessGuid, Desired>,
        now: Duration,
        decided: &mut Decided,
    ) {
        let mut started: BTreeSet<(ProcessGuid, u32)> = BTreeSet::new();
        for action in &decided.actions {
            if let Action::Start { process, index, .. } = action {
                started.insert((process.clone(), *index));
            }
        }
        for (at, mut request) in std::mem::take(&mut self.requests) {
            if now.saturating_sub(at) >= REQUEST_PATIENCE {
                let reason = "it waited too long".to_string();
                decided.ignored.push((request.droplet.clone(), reason));
                continue;
            }
            let verdict = dispatch::verify(
                &request,
                wanted.get(&request.droplet),
                &self.observed,
                &self.ledger,
            );
            for ignored in verdict.ignored {
                decided.ignored.push((request.droplet.clone(), ignored));
            }
            // Nor must two of them stop what each was to leave for the other.
            self.note_stops(&verdict.actions, now);
            // Two requests of one round must not start one index twice.
            decided
                .actions
                .extend(verdict.actions.into_iter().filter(|action| match action {
                    Action::Start { process, index, .. } => {
                        started.insert((process.clone(), *index))
                    }
                    Action::Stop { .. } => true,
                }));
            if !verdict.held.is_empty() && now.saturating_sub(at) < HELD_REQUEST {
                request.indices = verdict.held;
                self.requests.push_back((at, request));
            }
        }
    }

    /// Users replace single instances: stop it, and count its index as newly desired.
    fn restarts(
        &mut self,
        wanted: &BTreeMap<ProcessGuid, Desired>,
        asked: &[(ProcessGuid, u32)],
    ) -> Vec<Action> {
        let mut actions = Vec::new();
        for (process, index) in asked {
            let Some(desired) = wanted.get(process) else {
                continue;
            };
            let instances: Vec<InstanceId> = self
                .observed
                .of_process(process)
                .filter(|one| {
                    one.index == *index
                        && one.version == desired.version
                        && !self.ledger.is_stopping(&one.id)
                })
                .map(|one| one.id.clone())
                .collect();
            self.ledger.forget(process, &desired.version, *index);
            if !instances.is_empty() {
                actions.push(Action::Stop {
                    process: process.clone(),
                    instances,
                    because: dispatch::USER_RESTARTS.to_string(),
                });
            }
        }
        actions
    }

    /// Chooses the agent of a start and takes the start down as sent.
    pub fn place(
        &mut self,
        candidate: Candidate,
        request: &PlacementRequest,
        fresh: Duration,
        now: Duration,
        randomness: u64,
    ) -> Decision {
        let Candidate {
            instance,
            process,
            version,
            index,
            give_up_at,
        } = candidate;
        let held = Held {
            key: instance.to_string(),
            process: Some(process.clone()),
            until: give_up_at,
        };
        let decision = self.hold_room(held, request, fresh, now, randomness);
        match &decision {
            Decision::Place { dea, .. } => {
                if let Some(waiting) = self.waiting.get_mut(&process) {
                    waiting.remove(&index);
                }
                self.waiting.retain(|_, waiting| !waiting.is_empty());
                let launch = Launch {
                    process,
                    version,
                    index,
                    dea: dea.clone(),
                    sent_at: now,
                    give_up_at,
                };
                self.ledger.sent_start(instance, launch);
            }
            Decision::Refuse(_) => self.ledger.forget(&process, &version, index),
        }
        decision
    }

    /// Chooses an agent and holds its room, so that the next choice does not count on it.
    pub fn hold_room(
        &mut self,
        held: Held,
        request: &PlacementRequest,
        fresh: Duration,
        now: Duration,
        randomness: u64,
    ) -> Decision {
        let decision = self.pool.choose(request, now, fresh, randomness);
        if let Decision::Place { dea, .. } = &decision {
            self.pool.reserve(Debit {
                key: held.key,
                dea: dea.clone(),
                memory_mb: request.memory_mb,
                disk_mb: request.disk_mb,
                process: held.process,
                expires_at: held.until,
            });
        }
        decision
    }

    /// Instances were told to stop.
    pub fn stopping(&mut self, instances: &[InstanceId], now: Duration) {
        for instance in instances {
            self.ledger.sent_stop(instance.clone(), now);
        }
    }

    /// A start was not sent after all.
    pub fn withdraw(&mut self, instance: &InstanceId) {
        self.ledger.withdraw(instance);
        self.pool.withdrawn(instance.as_str());
    }

    /// An agent came up anew.
    pub fn came_up(&mut self, dea: &DeaId) {
        self.pool.came_up(dea);
    }

    /// An agent takes no more work. Whether that is news.
    pub fn leaving(&mut self, goodbye: Shutdown, now: Duration) -> bool {
        if goodbye.yard_drain.is_none() {
            // It takes its instances down with it: none of them is a reason to stop a second one.
            let going: Vec<InstanceId> = self.observed.ids_on(&goodbye.id).cloned().collect();
            self.stopping(&going, now);
        }
        let took_work = self.pool.takes_work(&goodbye.id);
        self.pool.leaving(goodbye, now);
        took_work
    }
}

#[cfg(test)]
mod tests {
    use super::super::observed::tests::{beat, dea, heartbeat, process, seconds, version};
    use super::*;
    use proto::bus::health::HealthOperation;

    const FRESH: Duration = Duration::from_secs(10);

    fn ad(name: &str) -> Advertisement {
        Advertisement {
            id: dea(name),
            stacks: vec!["host".into()],
            available_memory: 1000,
            available_disk: 1000,
            app_id_to_count: BTreeMap::new(),
            placement_properties: proto::bus::dea::PlacementProperties::default(),
            url: None,
            yard_total_memory: Some(1000),
            yard_total_disk: Some(1000),
        }
    }

    fn wanted(instances: u32) -> BTreeMap<ProcessGuid, Desired> {
        let desired = Desired {
            version: version("v1"),
            instances,
            run: true,
            asleep: false,
            untried: false,
        };
        BTreeMap::from([(process("p"), desired)])
    }

    fn sight(now: u64) -> Sight {
        Sight {
            now: seconds(now),
            warm: true,
            fresh: seconds(30),
        }
    }

    fn request(index: u32) -> HealthRequest {
        HealthRequest {
            droplet: process("p"),
            op: HealthOperation::Start,
            last_updated: 0.0,
            version: Some(version("v1")),
            indices: vec![index],
            instances: vec![],
            flapping: None,
            yard_reason: None,
        }
    }

    fn place(picture: &mut Picture, name: &str, index: u32, now: u64) -> Decision {
        let candidate = Candidate {
            instance: InstanceId::new(name).expect("an id"),
            process: process("p"),
            version: version("v1"),
            index,
            give_up_at: seconds(now + 60),
        };
        let request = PlacementRequest {
            stack: "host".into(),
            memory_mb: 600,
            disk_mb: 10,
            siblings: BTreeSet::from([process("p")]),
        };
        picture.place(candidate, &request, FRESH, seconds(now), 0)
    }

    fn starts(decided: &Decided) -> Vec<u32> {
        let index = |action: &Action| match action {
            Action::Start { index, .. } => Some(*index),
            Action::Stop { .. } => None,
        };
        decided.actions.iter().filter_map(index).collect()
    }

    #[test]
    fn a_request_for_an_index_that_is_started_anyway_starts_nothing_twice() {
        let mut picture = Picture::default();
        assert!(picture.ask(seconds(1), request(0)));
        let decided = picture.decide(&wanted(1), Asked::default(), sight(1));
        assert_eq!(starts(&decided), [0]);
    }

    #[test]
    fn what_was_placed_is_held_until_it_is_taken_back() {
        let mut picture = Picture::default();
        picture.advertised(ad("dea-1"), seconds(0), FRESH);
        assert!(matches!(
            place(&mut picture, "i1", 0, 1),
            Decision::Place { .. }
        ));
        let decided = picture.decide(&wanted(1), Asked::default(), sight(1));
        assert!(starts(&decided).is_empty(), "it is on its way");
        assert!(matches!(
            place(&mut picture, "i2", 1, 1),
            Decision::Refuse(_)
        ));
        picture.withdraw(&InstanceId::new("i1").expect("an id"));
        let decided = picture.decide(&wanted(1), Asked::default(), sight(1));
        assert_eq!(starts(&decided), [0], "nobody sent it");
        assert!(matches!(
            place(&mut picture, "i3", 0, 1),
            Decision::Place { .. }
        ));
    }

    /// Two run, and the older one is on an agent that is shut down at this moment.
    #[test]
    fn what_an_agent_takes_down_with_it_is_no_reason_to_stop_another() {
        let stops = |leaves: bool| {
            let mut picture = Picture::default();
            for (name, id) in [("dea-1", "old"), ("dea-2", "new")] {
                let runs = beat(id, 0, InstanceState::Running);
                picture.beat(&heartbeat(name, Some(true), vec![runs]), seconds(1));
            }
            if leaves {
                let goodbye = Shutdown {
                    id: dea("dea-1"),
                    ip: "10.0.0.1".into(),
                    version: 0.1,
                    app_id_to_count: BTreeMap::new(),
                    yard_zone: None,
                    yard_drain: None,
                };
                picture.leaving(goodbye, seconds(2));
            }
            let stop = HealthRequest {
                op: HealthOperation::Stop,
                indices: vec![],
                instances: vec![InstanceId::new("new").expect("an id")],
                ..request(0)
            };
            picture.ask(seconds(2), stop);
            picture
                .decide(&wanted(1), Asked::default(), sight(2))
                .actions
                .len()
        };
        assert_eq!((stops(false), stops(true)), (1, 0));
    }

    /// The health manager asks for a replacement as soon as it hears that beat, which is before the goodbye.
    #[test]
    fn nothing_is_placed_where_instances_are_evacuating() {
        let mut picture = Picture::default();
        let beats = |picture: &mut Picture, complete, state| {
            let droplets = vec![beat("i1", 0, state)];
            picture.beat(&heartbeat("dea-1", Some(complete), droplets), seconds(1));
        };
        picture.advertised(ad("dea-1"), seconds(1), FRESH);
        beats(&mut picture, true, InstanceState::Evacuating);
        let refused = |picture: &mut Picture, name| {
            let decision = place(picture, name, 0, 1);
            picture.withdraw(&InstanceId::new(name).expect("an id"));
            matches!(decision, Decision::Refuse(_))
        };
        assert!(refused(&mut picture, "i2"));
        // One that was written before, and a beat that is not about all.
        picture.advertised(ad("dea-1"), seconds(1), FRESH);
        beats(&mut picture, false, InstanceState::Running);
        assert!(refused(&mut picture, "i3"));
        beats(&mut picture, true, InstanceState::Running);
        assert!(!refused(&mut picture, "i4"), "it takes work again");
        beats(&mut picture, false, InstanceState::Evacuating);
        assert!(refused(&mut picture, "i5"));
        picture.came_up(&dea("dea-1"));
        assert!(!refused(&mut picture, "i6"), "a new process of it");
    }

    /// The health manager changed its mind about which of two is one too many, and both requests waited.
    #[test]
    fn requests_of_one_round_do_not_stop_both_of_two() {
        let mut picture = Picture::default();
        for (name, id) in [("dea-1", "old"), ("dea-2", "new")] {
            let runs = beat(id, 0, InstanceState::Running);
            picture.beat(&heartbeat(name, Some(true), vec![runs]), seconds(1));
            let stop = HealthRequest {
                op: HealthOperation::Stop,
                indices: vec![],
                instances: vec![InstanceId::new(id).expect("an id")],
                ..request(0)
            };
            picture.ask(seconds(1), stop);
        }
        let decided = picture.decide(&wanted(1), Asked::default(), sight(2));
        assert_eq!(decided.actions.len(), 1, "{:?}", decided.actions);
        assert_eq!(decided.ignored.len(), 1, "{:?}", decided.ignored);
    }

    #[test]
    fn it_is_warm_when_every_agent_that_advertises_has_told_what_it_runs() {
        let mut picture = Picture::default();
        let warm = |picture: &Picture, now| picture.is_warm(seconds(now), FRESH);
        assert!(!warm(&picture, 100), "the bus is away");
        picture.bus_came(seconds(100));
        picture.advertised(ad("dea-1"), seconds(100), FRESH);
        assert!(!warm(&picture, 103));
        assert!(picture.beat(&heartbeat("dea-1", Some(true), vec![]), seconds(103)));
        assert!(!picture.beat(&heartbeat("dea-1", Some(true), vec![]), seconds(104)));
        assert!(!warm(&picture, 101) && warm(&picture, 103));
        picture.advertised(ad("dea-2"), seconds(103), FRESH);
        assert!(!warm(&picture, 104));
        for now in 104..=120 {
            picture.sweep(seconds(now), seconds(30));
        }
        assert!(warm(&picture, 120), "it advertises no more");
        picture.bus_went();
        assert!(!warm(&picture, 104));
    }

    /// A machine that was suspended for minutes: the clock went on, and what was said meanwhile waits unread.
    #[test]
    fn a_controller_that_stood_still_does_not_believe_in_an_empty_cluster() {
        let mut picture = Picture::default();
        let warm = |picture: &Picture, now| picture.is_warm(seconds(now), FRESH);
        picture.bus_came(seconds(0));
        picture.advertised(ad("dea-1"), seconds(0), FRESH);
        let running = || {
            heartbeat(
                "dea-1",
                Some(true),
                vec![beat("i1", 0, InstanceState::Running)],
            )
        };
        picture.beat(&running(), seconds(1));
        for now in 1..=40 {
            picture.sweep(seconds(now), seconds(30));
            picture.advertised(ad("dea-1"), seconds(now), FRESH);
            picture.beat(&running(), seconds(now));
        }
        assert!(warm(&picture, 40));
        assert!(!warm(&picture, 400), "nobody has looked since");
        let wakes = seconds(400);
        assert!(
            picture.sweep(wakes, seconds(30)).is_empty(),
            "nobody was silent"
        );
        assert_eq!(picture.connected_since, Some(wakes));
        assert!(!warm(&picture, 401), "answers are on their way");
        let decided = picture.decide(&wanted(1), Asked::default(), sight(401));
        assert!(starts(&decided).is_empty(), "it runs, as far as is known");
        // The agent died meanwhile: that is found out, in its time.
        let mut lost = Vec::new();
        for now in 401..=440 {
            lost.extend(picture.sweep(seconds(now), seconds(30)));
        }
        assert_eq!(lost.len(), 1);
        let decided = picture.decide(&wanted(1), Asked::default(), sight(440));
        assert_eq!(starts(&decided), [0]);
    }

    #[test]
    fn a_request_that_waited_too_long_is_dropped_and_one_that_is_early_looked_at_again() {
        let mut picture = Picture::default();
        picture.ask(seconds(0), request(0));
        let mut nothing = wanted(1);
        nothing.clear();
        let late = picture.decide(&nothing, Asked::default(), sight(31));
        let reasons: Vec<&str> = late.ignored.iter().map(|(_, why)| why.as_str()).collect();
        assert_eq!(reasons, ["it waited too long"], "it was not even looked at");
        picture.advertised(ad("dea-1"), seconds(31), FRESH);
        place(&mut picture, "i1", 0, 31);
        picture.ask(seconds(31), request(0));
        let held = picture.decide(&wanted(1), Asked::default(), sight(31));
        assert_eq!((starts(&held), held.ignored.len()), (vec![], 1));
        picture.withdraw(&InstanceId::new("i1").expect("an id"));
        let mut again = wanted(1);
        again.entry(process("p")).and_modify(|one| one.run = true);
        assert_eq!(
            starts(&picture.decide(&again, Asked::default(), sight(32))),
            [0]
        );
    }
}
