//! Deployments in a small world: dispatch acts on the rows that a deployment changes, one agent
//! runs what it is told, a health manager restarts what crashed. Some starts get lost.

use super::super::dispatch::{self, Action, Desired, Launch, Ledger, Sight};
use super::super::observed::tests::{dea, heartbeat, instance, process, seconds, version};
use super::super::observed::{Observed, ProcessScope};
use super::*;
use proptest::prelude::*;
use proto::bus::health::{Beat, ExitReason, Exited, InstanceState};
use std::collections::BTreeMap;

const POLICY: Policy = Policy {
    start_timeout: Duration::from_secs(60),
    max_crashes: 3,
};

/// One agent and the rows: what dispatch and deployment act on.
struct World {
    rows: BTreeMap<ProcessGuid, Desired>,
    rolling: Option<Rolling>,
    /// Where it still pauses; a user continues it at once.
    stops: Vec<u32>,
    /// Instance to (process, version, index, starts running at, dies at).
    agent: BTreeMap<String, Copy>,
    observed: Observed,
    ledger: Ledger,
    exits: Vec<Exited>,
    next: u32,
    now: u64,
    /// The new version crashes as it starts.
    broken: bool,
    finished: Option<&'static str>,
    /// Milliseconds from a start to running.
    slowness: u64,
    /// Every how manieth start is lost on its way (0: none).
    lose_each: u32,
}

#[derive(Clone)]
struct Copy {
    process: ProcessGuid,
    version: proto::ids::Version,
    index: u32,
    runs_at: u64,
}

impl World {
    fn new(
        wanted: u32,
        max_in_flight: u32,
        stops: Vec<u32>,
        broken: bool,
        slowness: u64,
        lose_each: u32,
    ) -> World {
        let row = |name: &str, instances| Desired {
            version: version(name),
            instances,
            run: true,
            asleep: false,
            untried: false,
        };
        let mut world = World {
            rows: BTreeMap::from([
                (process("old"), row("v1", wanted)),
                (process("new"), row("v2", 0)),
            ]),
            rolling: None,
            stops,
            agent: BTreeMap::new(),
            observed: Observed::default(),
            ledger: Ledger::default(),
            exits: Vec::new(),
            next: 0,
            now: 0,
            broken,
            finished: None,
            slowness,
            lose_each,
        };
        for index in 0..wanted {
            let id = format!("old{index}");
            let copy = Copy {
                process: process("old"),
                version: version("v1"),
                index,
                runs_at: 0,
            };
            world.agent.insert(id, copy);
        }
        world.rolling = Some(Rolling {
            phase: Phase::Deploying,
            wanted,
            max_in_flight,
            stop_at: None,
            new_instances: 0,
            others: vec![],
            previous: Some(process("old")),
            step_since: seconds(0),
            app_started: true,
        });
        world
    }

    fn time(&self) -> Duration {
        Duration::from_millis(self.now)
    }

    fn serving(&self) -> u32 {
        let count = self
            .agent
            .values()
            .filter(|copy| copy.runs_at <= self.now)
            .count();
        u32::try_from(count).unwrap()
    }

    fn tick(&mut self) {
        self.now += 250;
        let now = self.time();
        let mut died = Vec::new();
        if self.broken {
            for (id, copy) in &self.agent {
                if copy.process == process("new") && copy.runs_at <= self.now {
                    died.push((id.clone(), copy.clone()));
                }
            }
        }
        for (id, copy) in died {
            self.agent.remove(&id);
            self.exits.push(exited(&id, &copy, ExitReason::Crashed));
        }
        for exit in std::mem::take(&mut self.exits) {
            self.observed.exited(&exit, now);
            // The health manager: restarts a crash at once.
            if exit.reason == ExitReason::Crashed && self.rows.contains_key(&exit.droplet) {
                let row = &self.rows[&exit.droplet];
                if exit.index < row.instances {
                    let start = Action::Start {
                        process: exit.droplet,
                        version: row.version.clone(),
                        index: exit.index,
                        because: String::new(),
                    };
                    self.act(vec![start]);
                }
            }
        }
        let beats = self
            .agent
            .iter()
            .map(|(id, copy)| Beat {
                droplet: copy.process.clone(),
                version: copy.version.clone(),
                instance: instance(id),
                index: copy.index,
                state: if copy.runs_at <= self.now {
                    InstanceState::Running
                } else {
                    InstanceState::Starting
                },
                state_timestamp: 0.0,
                cc_partition: None,
                yard_stats: None,
                yard_details: None,
            })
            .collect();
        self.observed
            .heartbeat(&heartbeat("dea-1", Some(true), beats), now);
        self.ledger.settle(&self.observed, now);
        self.ledger.keep_only(&self.rows);
        let sight = Sight {
            now,
            warm: true,
            fresh: seconds(30),
        };
        let actions = dispatch::plan(&self.rows, &self.observed, &self.ledger, sight);
        self.act(actions);
        self.deploy();
    }

    fn act(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Start {
                    process,
                    version,
                    index,
                    ..
                } => {
                    self.next += 1;
                    let id = format!("i{}", self.next);
                    let now = self.time();
                    let launch = Launch {
                        process: process.clone(),
                        version: version.clone(),
                        index,
                        dea: dea("dea-1"),
                        sent_at: now,
                        give_up_at: now + seconds(60),
                    };
                    self.ledger.sent_start(instance(&id), launch);
                    if self.lose_each == 0 || !self.next.is_multiple_of(self.lose_each) {
                        self.agent.insert(
                            id,
                            Copy {
                                process,
                                version,
                                index,
                                runs_at: self.now + self.slowness,
                            },
                        );
                    }
                }
                Action::Stop { instances, .. } => {
                    for id in instances {
                        self.ledger.sent_stop(id.clone(), self.time());
                        if let Some(copy) = self.agent.remove(id.as_str()) {
                            self.exits
                                .push(exited(id.as_str(), &copy, ExitReason::Stopped));
                        }
                    }
                }
            }
        }
    }

    fn deploy(&mut self) {
        let Some(mut rolling) = self.rolling.take() else {
            return;
        };
        let now = self.time();
        let scope = |name: &'static str, row: &Desired| {
            let (process, version) = (process(name), row.version.clone());
            (process, version, row.instances)
        };
        let (guid, new_version, instances) = scope("new", &self.rows[&process("new")]);
        let new = ProcessScope {
            process: &guid,
            version: &new_version,
            instances,
        };
        let crashes = self.observed.crashes(&guid, &new_version);
        let seen = Seen {
            running: u32::try_from(self.observed.running_indices(&new, SETTLE, now).len()).unwrap(),
            crashes: crashes.map(|crashes| crashes.count).unwrap_or_default(),
            last_crash: crashes.map(|crashes| crashes.last.clone()),
            waiting: None,
        };
        let (old_guid, old_version, old_instances) = scope("old", &self.rows[&process("old")]);
        let old = ProcessScope {
            process: &old_guid,
            version: &old_version,
            instances: old_instances,
        };
        rolling.new_instances = instances;
        rolling.stop_at = self.stops.first().copied();
        rolling.others = vec![Other {
            process: old_guid.clone(),
            instances: old_instances,
            running: u32::try_from(self.observed.running_indices(&old, SETTLE, now).len()).unwrap(),
            live: u32::try_from(
                self.observed
                    .of_process(&old_guid)
                    .filter(|one| one.is_live())
                    .count(),
            )
            .unwrap(),
        }];
        match step(&rolling, &seen, &POLICY, now) {
            Step::Wait { .. } => {}
            Step::Scale { new, others, .. } => {
                self.rows.get_mut(&guid).unwrap().instances = new;
                for (process, count) in others {
                    self.rows.get_mut(&process).unwrap().instances = count;
                }
                rolling.step_since = now;
            }
            Step::Pause { .. } => {
                self.stops.remove(0);
                rolling.step_since = now;
            }
            Step::Finish { .. } => {
                self.rows.remove(&old_guid);
                self.finished = Some("finished");
                return;
            }
            Step::TakeBack { .. } => {
                rolling.phase = Phase::Canceling;
                rolling.step_since = now;
            }
            Step::Removed { .. } => {
                self.rows.remove(&guid);
                self.finished = Some("taken back");
                return;
            }
        }
        self.rolling = Some(rolling);
    }
}

fn exited(id: &str, copy: &Copy, reason: ExitReason) -> Exited {
    Exited {
        droplet: copy.process.clone(),
        version: copy.version.clone(),
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
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Whatever the numbers, and even if starts get lost: it ends, with the wanted number of one
    /// version, and at no moment fewer instances served than wanted.
    #[test]
    fn converges_and_never_serves_with_fewer(
        wanted in 1u32..7, max_in_flight in 1u32..4, broken in any::<bool>(),
        canary in any::<bool>(), weights in prop::collection::btree_set(1u32..=100, 0..4),
        slowness in 0u64..6000, lose_each in prop_oneof![Just(0u32), 2u32..5],
    ) {
        let weights: Vec<u32> = weights.into_iter().collect();
        let at = if canary { stops(&weights, wanted) } else { Vec::new() };
        let mut world = World::new(wanted, max_in_flight, at, broken, slowness, lose_each);
        let mut ticks = 0;
        while world.finished.is_none() && ticks < 4000 {
            world.tick();
            ticks += 1;
            prop_assert!(world.serving() >= wanted, "{} serve at {} ms", world.serving(), world.now);
        }
        prop_assert!(broken || world.stops.is_empty(), "it went past {:?}", world.stops);
        prop_assert_eq!(world.finished, Some(if broken { "taken back" } else { "finished" }));
        for _ in 0..200 {
            world.tick();
            prop_assert!(world.serving() >= wanted);
        }
        let left = if broken { process("old") } else { process("new") };
        prop_assert!(world.agent.values().all(|copy| copy.process == left));
        prop_assert_eq!(world.agent.len(), usize::try_from(wanted).unwrap());
    }
}
