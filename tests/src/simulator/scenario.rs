//! What is tried: how large the cluster is, what its users do, and what befalls it.

use super::apps::Conduct;
use super::cluster::{Mishap, Simulation, Wish};
use super::invariants::Violation;
use super::message::Place;
use super::network::Weather;
use super::random::Random;
use super::{Millis, Sabotage};
use dea::domain::capacity::Resources;
use std::collections::BTreeSet;
use std::fmt;

const LINES: usize = 60;
/// Longest back-off of the health manager.
const LONGEST_DELAY: Millis = 960_000;
/// Everything else: an agent is lost, graces pass, requests are repeated, routes are pruned.
const SETTLES_WITHIN: Millis = 300_000;

#[derive(Debug, Clone)]
pub struct Scenario {
    pub name: &'static str,
    pub agents: usize,
    pub zones: usize,
    pub offered: Resources,
    pub controllers: usize,
    pub managers: usize,
    pub routers: usize,
    /// Apps that run from the beginning, and how many instances each has.
    pub apps: usize,
    pub instances: u32,
    pub memory_mb: u64,
    /// How long users and mishaps go on.
    pub storm: Millis,
    pub wishes: usize,
    pub mishaps: usize,
    pub weather: Weather,
    pub failing_preparations: u64,
    /// Messages are encoded and decoded.
    pub wire: bool,
    /// The trace is written in words.
    pub in_words: bool,
    /// How many lines of it are kept for who looks for the reason of a violation.
    pub lines: usize,
    /// Rounds of a controller that come together are one.
    pub gather: Millis,
    pub sabotage: Option<Sabotage>,
    /// How long everything must be as wanted, and nothing may happen after that.
    pub quiet: Millis,
    /// Mishaps that happen in any case, and when.
    pub certain: Vec<(Millis, Mishap)>,
}

/// How a run ended.
#[derive(Debug, Clone)]
pub struct Outcome {
    pub seed: u64,
    pub digest: u64,
    pub steps: u64,
    pub delivered: u64,
    pub started: u64,
    pub stopped: u64,
    pub extras: u64,
    /// How long after the last fault everything was as wanted.
    pub settled_after: Millis,
    /// How long the whole run was, in virtual time.
    pub lasted: Millis,
    pub violation: Option<Violation>,
    /// The last steps.
    pub last: Vec<String>,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} steps, {} messages, {} instances started, {} told to stop, {} second ones explained; settled after {:.1} s",
            self.steps,
            self.delivered,
            self.started,
            self.stopped,
            self.extras,
            self.settled_after as f64 / 1000.0
        )
    }
}

impl Scenario {
    /// A handful of agents and a bad day, different for each seed.
    pub fn small(seed: u64) -> Scenario {
        let mut random = Random::of(seed ^ 0x5ca1_ab1e);
        let agents = random.between(2, 8) as usize;
        let instances = random.between(1, 4) as u32;
        Scenario {
            name: "small",
            agents,
            zones: random.between(1, 3) as usize,
            offered: Resources {
                memory_mb: 4_096,
                disk_mb: 8_192,
            },
            controllers: random.between(1, 2) as usize,
            managers: random.between(1, 2) as usize,
            routers: random.between(1, 2) as usize,
            apps: random.between(1, 5) as usize,
            instances,
            memory_mb: 64,
            storm: random.between(60_000, 240_000),
            wishes: random.between(2, 12) as usize,
            mishaps: random.between(1, 14) as usize,
            weather: Weather {
                lost: random.between(0, 3) * random.between(0, 20),
                doubled: random.between(0, 1) * random.between(0, 60),
                late: random.between(0, 2) * random.between(0, 40),
                late_by: random.between(50, 4_000),
            },
            failing_preparations: random.between(0, 1) * random.between(0, 60),
            wire: random.chance(300),
            in_words: true,
            lines: LINES,
            gather: 5,
            sabotage: None,
            quiet: 80_000,
            certain: Vec::new(),
        }
    }

    /// As small, without any fault of bus or machines: users, and programs that end.
    pub fn fair(seed: u64) -> Scenario {
        Scenario {
            name: "fair",
            mishaps: 0,
            weather: Weather::CALM,
            failing_preparations: 0,
            ..Scenario::small(seed)
        }
    }

    /// 1,000 agents for every 10,000 instances.
    pub fn large(agents: usize) -> Scenario {
        Scenario {
            name: "large",
            agents,
            zones: 3,
            offered: Resources {
                memory_mb: 2_048,
                disk_mb: 4_096,
            },
            controllers: 1,
            managers: 1,
            routers: 1,
            apps: agents / 2,
            instances: 20,
            memory_mb: 64,
            storm: 30_000,
            wishes: 6,
            mishaps: 8,
            weather: Weather {
                lost: 1,
                doubled: 1,
                late: 2,
                late_by: 2_000,
            },
            failing_preparations: 0,
            wire: false,
            in_words: false,
            lines: LINES,
            gather: 500,
            sabotage: None,
            quiet: 15_000,
            certain: Vec::new(),
        }
    }

    pub fn run(&self, seed: u64) -> Outcome {
        let mut simulation = Simulation::new(self, seed);
        let ended = self.go(&mut simulation);
        let (settled_after, violation) = match ended {
            Ok(settled_after) => (settled_after, None),
            Err(violation) => (0, Some(violation)),
        };
        Outcome {
            seed,
            digest: simulation.trace.digest(),
            steps: simulation.trace.steps,
            delivered: simulation.delivered,
            started: simulation.invariants.started,
            stopped: simulation.invariants.stopped,
            extras: simulation.invariants.extras_explained,
            settled_after,
            lasted: simulation.now,
            violation,
            last: simulation.trace.last().cloned().collect(),
        }
    }

    fn go(&self, simulation: &mut Simulation) -> Result<Millis, Violation> {
        simulation.plant(self.apps, self.instances, self.memory_mb)?;
        simulation.begin();
        simulation.run_until(20_000)?;
        simulation.mishap_at(simulation.now, Mishap::Weather(self.weather));
        let (from, to) = (simulation.now, simulation.now + self.storm);
        for _ in 0..self.wishes {
            let at = simulation.random.between(from, to);
            let wish = self.some_wish(&mut simulation.random);
            simulation.wish_at(at, wish);
        }
        for _ in 0..self.mishaps {
            let at = simulation.random.between(from, to);
            let mishap = self.some_mishap(&mut simulation.random);
            simulation.mishap_at(at, mishap);
        }
        for (at, mishap) in &self.certain {
            simulation.mishap_at(*at, mishap.clone());
        }
        simulation.run_until(to)?;
        let looped = simulation.apps.crash_loops() || self.failing_preparations > 0;
        simulation.calm_down()?;
        let crashed = looped || self.mishaps > 0 || !self.certain.is_empty();
        let bound = SETTLES_WITHIN + if crashed { LONGEST_DELAY } else { 0 };
        let settled = self.settle(simulation, to, bound)?;
        let before = (simulation.invariants.started, simulation.invariants.stopped);
        simulation.run_until(simulation.now + self.quiet)?;
        let after = (simulation.invariants.started, simulation.invariants.stopped);
        let difference = simulation.difference();
        if before != after || difference.is_some() {
            return Err(Violation {
                at: simulation.now,
                what: format!(
                    "it had settled, and does not stay so: starts and stops were {before:?}, are {after:?}; {difference:?}"
                ),
            });
        }
        Ok(settled)
    }

    /// Until everything is as wanted; an error if it takes longer than the bound.
    fn settle(
        &self,
        simulation: &mut Simulation,
        from: Millis,
        bound: Millis,
    ) -> Result<Millis, Violation> {
        let mut settled_since = None;
        loop {
            simulation.run_until(simulation.now + 1_000)?;
            let difference = simulation.difference();
            match difference {
                None => {
                    let since = *settled_since.get_or_insert(simulation.now);
                    // What is still being repeated comes to rest.
                    if simulation.now - since >= self.quiet {
                        return Ok(since - from);
                    }
                }
                Some(difference) => {
                    settled_since = None;
                    if simulation.now - from > bound {
                        return Err(Violation {
                            at: simulation.now,
                            what: format!(
                                "not as wanted {} s after the last fault: {difference}",
                                bound / 1000
                            ),
                        });
                    }
                }
            }
        }
    }

    fn some_wish(&self, random: &mut Random) -> Wish {
        let app = random.index(1_000_000);
        // What is wanted fits also when an agent is away.
        let most = u64::from(self.instances) + 2;
        match random.between(0, 9) {
            0 | 1 => Wish::Push {
                instances: random.between(1, 3) as u32,
                web: random.chance(700),
            },
            2..=4 => Wish::Scale {
                app,
                instances: random.between(0, most) as u32,
            },
            5 => Wish::Stop(app),
            6 => Wish::Start(app),
            7 => Wish::Remove(app),
            8 => Wish::Replace(
                app,
                Conduct {
                    boot: random.between(1, 20_000),
                    crashes_after: None,
                },
            ),
            _ => Wish::Replace(
                app,
                Conduct {
                    boot: 100,
                    crashes_after: Some(random.between(200, 20_000)),
                },
            ),
        }
    }

    fn some_place(&self, random: &mut Random) -> Place {
        match random.between(0, 9) {
            0..=5 => Place::Agent(random.index(self.agents)),
            6 | 7 => Place::Controller(random.index(self.controllers)),
            8 => Place::Manager(random.index(self.managers)),
            _ => Place::Router(random.index(self.routers)),
        }
    }

    /// Some of the places, at least one of them.
    fn some_island(&self, random: &mut Random) -> BTreeSet<Place> {
        let agents = (0..self.agents).map(Place::Agent);
        let controllers = (0..self.controllers).map(Place::Controller);
        let managers = (0..self.managers).map(Place::Manager);
        let routers = (0..self.routers).map(Place::Router);
        let all = agents.chain(controllers).chain(managers).chain(routers);
        let share = random.between(100, 500);
        let mut island: BTreeSet<Place> = all.filter(|_| random.chance(share)).collect();
        island.insert(self.some_place(random));
        island
    }

    fn some_mishap(&self, random: &mut Random) -> Mishap {
        let place = self.some_place(random);
        let agent = random.index(self.agents);
        match random.between(0, 17) {
            0..=2 => Mishap::Crash(agent),
            3 | 4 => {
                let span = random.between(100, 90_000);
                Mishap::Cut(place, span, random.between(0, 10_000))
            }
            5 | 6 => Mishap::Kill(place, random.between(500, 60_000)),
            7 => Mishap::Wipe(agent, random.between(5_000, 90_000)),
            8 => Mishap::Leave(agent, random.between(1_000, 20_000)),
            9 | 10 => Mishap::Suspend(place, random.between(500, 60_000)),
            11 => Mishap::BusAway(random.between(500, 200_000)),
            12 => Mishap::Part(self.some_island(random), random.between(500, 90_000)),
            13 | 14 => {
                let back = random.between(500, 60_000);
                Mishap::KillMidway(place, random.between(0, 12), back)
            }
            15 => {
                let by = random.between(1_000, 4_000_000) as i64;
                Mishap::Clock(place, if random.chance(500) { by } else { -by })
            }
            _ => Mishap::Drain(agent, random.between(5_000, 180_000)),
        }
    }
}
