//! Dispatch in a small world: one process, one agent that loses and delays starts, a health
//! manager, and a user who changes his mind. Whatever the order of events, it converges.

use super::super::observed::Observed;
use super::super::observed::tests::{dea, heartbeat, instance, process, seconds, version};
use super::*;
use proptest::prelude::*;
use proto::bus::health::{Beat, ExitReason, Exited};

/// Milliseconds of one tick.
const TICK: u64 = 250;

#[derive(Debug, Clone)]
enum Event {
    Scale(u32),
    Restart,
    Stop,
    Start,
    /// One instance dies.
    Crash(usize),
    /// The next start is lost on its way.
    LoseStart,
    /// The next start arrives this late.
    DelayStart(u64),
    /// The controller loses its memory.
    NewLeader,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        (0u32..6).prop_map(Event::Scale),
        Just(Event::Restart),
        Just(Event::Stop),
        Just(Event::Start),
        (0usize..6).prop_map(Event::Crash),
        Just(Event::LoseStart),
        (0u64..3000).prop_map(Event::DelayStart),
        Just(Event::NewLeader),
    ]
}

#[derive(Debug, Clone)]
struct Copy {
    version: Version,
    index: u32,
    arrives_at: u64,
    runs_at: u64,
    stops_at: Option<u64>,
}

struct World {
    wanted: Desired,
    versions: u32,
    copies: BTreeMap<String, Copy>,
    observed: Observed,
    ledger: Ledger,
    exits: Vec<Exited>,
    lose: bool,
    delay: u64,
    next: u32,
    now: u64,
    /// Since when the health manager misses an index.
    missing: BTreeMap<u32, u64>,
    trouble: Option<String>,
}

impl World {
    fn new() -> World {
        World {
            wanted: Desired {
                version: version("v0"),
                instances: 2,
                run: true,
                asleep: false,
                untried: false,
            },
            versions: 0,
            copies: BTreeMap::new(),
            observed: Observed::default(),
            ledger: Ledger::default(),
            exits: Vec::new(),
            lose: false,
            delay: 0,
            next: 0,
            now: 0,
            missing: BTreeMap::new(),
            trouble: None,
        }
    }

    fn apply(&mut self, event: Event) {
        match event {
            Event::Scale(instances) => self.wanted.instances = instances,
            Event::Restart => {
                self.versions += 1;
                self.wanted.version = version(&format!("v{}", self.versions));
            }
            Event::Stop => self.wanted.run = false,
            Event::Start => self.wanted.run = true,
            Event::Crash(which) => {
                let here: Vec<String> = self
                    .copies
                    .iter()
                    .filter(|(_, copy)| copy.arrives_at <= self.now)
                    .map(|(id, _)| id.clone())
                    .collect();
                if let Some(id) = here.get(which) {
                    self.end(&id.clone(), ExitReason::Crashed);
                }
            }
            Event::LoseStart => self.lose = true,
            Event::DelayStart(delay) => self.delay = delay,
            Event::NewLeader => self.ledger = Ledger::default(),
        }
    }

    fn end(&mut self, id: &str, reason: ExitReason) {
        let Some(copy) = self.copies.remove(id) else {
            return;
        };
        self.exits.push(Exited {
            droplet: process("p"),
            version: copy.version,
            instance: instance(id),
            index: copy.index,
            reason,
            crash_timestamp: None,
            exit_status: 1,
            exit_description: String::new(),
            cc_partition: None,
            yard_dea: Some(dea("dea-1")),
            yard_signal: None,
            yard_out_of_memory: None,
            yard_phase: None,
        });
    }

    fn tick(&mut self) {
        self.now += TICK;
        let now = Duration::from_millis(self.now);
        let stopped: Vec<String> = self
            .copies
            .iter()
            .filter(|(_, copy)| copy.stops_at.is_some_and(|at| at <= self.now))
            .map(|(id, _)| id.clone())
            .collect();
        for id in stopped {
            self.end(&id, ExitReason::Stopped);
        }
        for exit in std::mem::take(&mut self.exits) {
            self.observed.exited(&exit, now);
        }
        let beats: Vec<Beat> = self
            .copies
            .iter()
            .filter(|(_, copy)| copy.arrives_at <= self.now)
            .map(|(id, copy)| Beat {
                droplet: process("p"),
                version: copy.version.clone(),
                instance: instance(id),
                index: copy.index,
                state: if copy.runs_at <= self.now {
                    InstanceState::Running
                } else {
                    InstanceState::Starting
                },
                state_timestamp: 1.0,
                cc_partition: None,
                yard_stats: None,
                yard_details: None,
            })
            .collect();
        self.observed
            .heartbeat(&heartbeat("dea-1", Some(true), beats), now);
        let desired = BTreeMap::from([(process("p"), self.wanted.clone())]);
        self.ledger.settle(&self.observed, now);
        self.ledger.keep_only(&desired);
        let sight = Sight {
            now,
            warm: true,
            fresh: seconds(30),
        };
        let actions = plan(&desired, &self.observed, &self.ledger, sight);
        assert_eq!(
            actions,
            plan(&desired, &self.observed, &self.ledger, sight),
            "deterministic"
        );
        self.act(actions);
        self.health_manager();
    }

    /// Asks for what is missing for three seconds, and for all but one of what is there twice.
    fn health_manager(&mut self) {
        for index in 0..8 {
            let live: Vec<InstanceId> = self
                .observed
                .of_process(&process("p"))
                .filter(|one| {
                    one.version == self.wanted.version && one.index == index && one.is_live()
                })
                .map(|one| one.id.clone())
                .collect();
            let wanted = self.wanted.run && index < self.wanted.instances;
            if !wanted || !live.is_empty() {
                self.missing.remove(&index);
            }
            let since = *self.missing.entry(index).or_insert(self.now);
            if wanted && live.is_empty() && self.now - since >= 3000 {
                self.missing.insert(index, self.now);
                self.ask(HealthOperation::Start, vec![index], vec![]);
            }
            if live.len() > 1 {
                self.ask(HealthOperation::Stop, vec![], live);
            }
        }
    }

    fn ask(&mut self, op: HealthOperation, indices: Vec<u32>, instances: Vec<InstanceId>) {
        let request = HealthRequest {
            droplet: process("p"),
            op,
            last_updated: 0.0,
            version: Some(self.wanted.version.clone()),
            indices,
            instances,
            flapping: None,
            yard_reason: None,
        };
        let verdict = verify(&request, Some(&self.wanted), &self.observed, &self.ledger);
        self.act(verdict.actions);
    }

    fn act(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Start { version, index, .. } => {
                    if !self.wanted.run
                        || index >= self.wanted.instances
                        || version != self.wanted.version
                    {
                        self.trouble = Some(format!(
                            "index {index} of {version} was started, which nobody wants"
                        ));
                    }
                    self.next += 1;
                    let id = format!("i{}", self.next);
                    let now = Duration::from_millis(self.now);
                    let launch = Launch {
                        process: process("p"),
                        version: version.clone(),
                        index,
                        dea: dea("dea-1"),
                        sent_at: now,
                        give_up_at: now + seconds(60),
                    };
                    self.ledger.sent_start(instance(&id), launch);
                    let delay = std::mem::take(&mut self.delay);
                    if !std::mem::take(&mut self.lose) {
                        let arrives_at = self.now + delay;
                        let copy = Copy {
                            version,
                            index,
                            arrives_at,
                            runs_at: arrives_at + 500,
                            stops_at: None,
                        };
                        self.copies.insert(id, copy);
                    }
                }
                Action::Stop { instances, .. } => {
                    for id in instances {
                        self.ledger
                            .sent_stop(id.clone(), Duration::from_millis(self.now));
                        if let Some(copy) = self.copies.get_mut(id.as_str()) {
                            copy.stops_at.get_or_insert(self.now + 500);
                        }
                    }
                }
            }
        }
    }

    fn doubled(&self) -> bool {
        let mut seen = BTreeSet::new();
        self.copies
            .values()
            .filter(|copy| copy.stops_at.is_none())
            .any(|copy| !seen.insert((copy.version.clone(), copy.index)))
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn it_converges_whatever_happens(events in proptest::collection::vec((0u32..12, event()), 0..30)) {
        let mut world = World::new();
        let forgetful = events.iter().any(|(_, event)| matches!(event, Event::NewLeader));
        for (pause, event) in events {
            for _ in 0..pause {
                world.tick();
                prop_assert_eq!(&world.trouble, &None);
                // A leader that lost its memory may start again what was still on its way.
                prop_assert!(forgetful || !world.doubled(), "an index runs twice at {} ms", world.now);
            }
            world.apply(event);
        }
        for _ in 0..(60_000 / TICK) {
            world.tick();
        }
        let mut indices: Vec<u32> = world.copies.values().map(|copy| copy.index).collect();
        indices.sort_unstable();
        let expected: Vec<u32> = if world.wanted.run { (0..world.wanted.instances).collect() } else { vec![] };
        prop_assert_eq!(indices, expected);
        prop_assert!(world.copies.values().all(|copy| copy.version == world.wanted.version));
        let asked = world.next;
        for _ in 0..40 {
            world.tick();
        }
        prop_assert_eq!(world.next, asked, "at rest nothing more is started");
    }
}
