//! Properties, held over a tiny simulated world: agents that do what they are asked, late, and die at
//! will. Whatever happens, the planner must be safe, idempotent, deterministic, and end where it should.

use super::tests::{dea, instance, policy, process, version};
use super::*;
use proptest::prelude::*;
use proto::bus::health::{Beat, DesiredProcess, ExitReason, Exited, Heartbeat};

const EPOCH: f64 = 1_700_000_000.0;
const AGENTS: usize = 3;

#[derive(Debug, Clone)]
enum Mishap {
    CrashOldest,
    /// An agent is silent for some seconds.
    Silence(usize, u64),
    /// An agent loses all it has, without a word.
    Wipe(usize),
    Scale(u32),
    NewVersion,
    /// Nobody hears anybody.
    BusAway(u64),
    /// A stray instance appears.
    Stray(u32),
    Wait(u64),
}

fn mishap() -> impl Strategy<Value = Mishap> {
    prop_oneof![
        3 => Just(Mishap::CrashOldest),
        2 => (0..AGENTS, 5u64..60).prop_map(|(agent, seconds)| Mishap::Silence(agent, seconds)),
        1 => (0..AGENTS).prop_map(Mishap::Wipe),
        2 => (0u32..5).prop_map(Mishap::Scale),
        1 => Just(Mishap::NewVersion),
        1 => (1u64..40).prop_map(Mishap::BusAway),
        2 => (0u32..6).prop_map(Mishap::Stray),
        3 => (1u64..50).prop_map(Mishap::Wait),
    ]
}

#[derive(Debug, Clone)]
struct Real {
    id: u64,
    version: u32,
    index: u32,
    started: u64,
}

/// What is really there.
struct Simulation {
    world: World,
    policy: Policy,
    now: u64,
    agents: Vec<Vec<Real>>,
    silent_until: Vec<u64>,
    away_until: u64,
    instances: u32,
    version: u32,
    next: u64,
    requests: usize,
}

impl Simulation {
    fn new() -> Simulation {
        let mut world = World::default();
        world.connected(0);
        Simulation {
            world,
            policy: policy(),
            now: 0,
            agents: vec![Vec::new(); AGENTS],
            silent_until: vec![0; AGENTS],
            away_until: 0,
            instances: 2,
            version: 1,
            next: 0,
            requests: 0,
        }
    }

    fn unix(&self) -> f64 {
        EPOCH + self.now as f64
    }

    fn millis(&self) -> Millis {
        self.now * 1000
    }

    fn spawn(&mut self, version: u32, index: u32) {
        self.next += 1;
        let agent = (self.next as usize) % AGENTS;
        self.agents[agent].push(Real {
            id: self.next,
            version,
            index,
            started: self.now,
        });
    }

    fn running(&self, real: &Real) -> bool {
        self.now >= real.started + 2
    }

    /// Instances that serve the desired version, by index.
    fn serving(&self) -> BTreeSet<u32> {
        self.agents
            .iter()
            .flatten()
            .filter(|real| {
                real.version == self.version && self.running(real) && real.index < self.instances
            })
            .map(|real| real.index)
            .collect()
    }

    fn read_desired(&mut self) {
        let read = DesiredProcess {
            id: process("p"),
            instances: self.instances,
            state: "STARTED".into(),
            memory: 1,
            package_state: "STAGED".into(),
            version: version(&format!("v{}", self.version)),
            updated_at: self.unix(),
        };
        let at = self.millis();
        self.world.desired.replace(
            BTreeMap::from([(process("p"), Wanted::read(1, &read, at))]),
            at,
        );
    }

    fn beat(&mut self, agent: usize) {
        let droplets = self.agents[agent]
            .iter()
            .map(|real| Beat {
                droplet: process("p"),
                version: version(&format!("v{}", real.version)),
                instance: instance(&format!("i{}", real.id)),
                index: real.index,
                state: if self.running(real) {
                    InstanceState::Running
                } else {
                    InstanceState::Starting
                },
                state_timestamp: EPOCH + real.started as f64,
                cc_partition: None,
                yard_stats: None,
                yard_details: None,
            })
            .collect();
        let beat = Heartbeat {
            dea: dea(&format!("d{agent}")),
            droplets,
            yard_complete: Some(true),
            yard_period: None,
            yard_zone: None,
            yard_tasks: None,
        };
        let (now, unix) = (self.millis(), self.unix());
        self.world.heartbeat(&beat, now, unix, &self.policy);
    }

    /// One second.
    fn tick(&mut self) -> Result<(), TestCaseError> {
        self.now += 1;
        let away = self.now < self.away_until;
        if away {
            self.world.disconnected();
        } else if self.world.hearing_since.is_none() {
            self.world.connected(self.millis());
        }
        if !away {
            for agent in 0..AGENTS {
                // Changes are told at once, the rest every ten seconds; here: every five.
                if self.now >= self.silent_until[agent]
                    && (self.now + agent as u64).is_multiple_of(5)
                {
                    self.beat(agent);
                }
            }
            if self.now.is_multiple_of(20) {
                self.read_desired();
            }
            let (now, unix) = (self.millis(), self.unix());
            self.world.sweep(now, unix, &self.policy);
        }
        let now = self.millis();
        let made = plan(&self.world, Scope::All, now, &self.policy);
        prop_assert_eq!(
            &made,
            &plan(&self.world, Scope::All, now, &self.policy),
            "the same world, the same plan"
        );
        prop_assert!(
            !away || made.requests.is_empty(),
            "nothing is asked while the bus is away"
        );
        self.world.commit(&made, now);
        let again = plan(&self.world, Scope::All, now, &self.policy);
        prop_assert!(
            again.requests.is_empty(),
            "what was asked is not asked again at once: {:?}",
            again.requests
        );
        self.requests += made.requests.len();
        self.obey(&made)
    }

    /// The controller and the agents, and what must never happen to them.
    fn obey(&mut self, made: &Plan) -> Result<(), TestCaseError> {
        for request in &made.requests {
            match &request.operation {
                Operation::Start { index } => {
                    let wanted = &self.world.desired.processes[&request.process];
                    prop_assert!(*index < wanted.instances);
                    prop_assert_eq!(&request.version, &wanted.version);
                    // The controller checks again.
                    if *index < self.instances
                        && request.version == version(&format!("v{}", self.version))
                    {
                        self.spawn(self.version, *index);
                    }
                }
                Operation::Stop { instance: id } => {
                    let number: u64 = id.as_str()[1..].parse().unwrap();
                    let before = self.serving();
                    let was = self
                        .agents
                        .iter()
                        .flatten()
                        .find(|real| real.id == number)
                        .cloned();
                    for agent in &mut self.agents {
                        agent.retain(|real| real.id != number);
                    }
                    let wanted = &self.world.desired.processes[&process("p")];
                    let current = wanted.instances == self.instances
                        && wanted.version == version(&format!("v{}", self.version));
                    let stale = self.silent_until.iter().any(|until| self.now < until + 40);
                    if current && !stale && was.is_some() {
                        prop_assert_eq!(
                            before,
                            self.serving(),
                            "a stop took away what is desired: {:?}",
                            request
                        );
                    }
                }
            }
        }
        Ok(())
    }

    fn crash_oldest(&mut self) {
        let oldest = self
            .agents
            .iter()
            .flatten()
            .min_by_key(|real| real.id)
            .cloned();
        let Some(real) = oldest else { return };
        for agent in &mut self.agents {
            agent.retain(|one| one.id != real.id);
        }
        if self.now < self.away_until {
            return;
        }
        let exited = Exited {
            droplet: process("p"),
            version: version(&format!("v{}", real.version)),
            instance: instance(&format!("i{}", real.id)),
            index: real.index,
            reason: ExitReason::Crashed,
            crash_timestamp: None,
            exit_status: 1,
            exit_description: String::new(),
            cc_partition: None,
            yard_dea: None,
            yard_signal: None,
            yard_out_of_memory: None,
            yard_phase: None,
        };
        let (now, unix) = (self.millis(), self.unix());
        self.world.exited(&exited, now, unix, &self.policy);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_the_desired_number_runs_in_the_end(mishaps in proptest::collection::vec(mishap(), 0..14)) {
        let mut world = Simulation::new();
        for mishap in mishaps {
            match mishap {
                Mishap::CrashOldest => world.crash_oldest(),
                Mishap::Silence(agent, seconds) => world.silent_until[agent] = world.now + seconds,
                Mishap::Wipe(agent) => world.agents[agent].clear(),
                Mishap::Scale(instances) => world.instances = instances,
                Mishap::NewVersion => world.version += 1,
                Mishap::BusAway(seconds) => world.away_until = world.now + seconds,
                Mishap::Stray(index) => { let version = world.version; world.spawn(version, index) }
                Mishap::Wait(seconds) => for _ in 0..seconds { world.tick()? },
            }
            world.tick()?;
        }
        // Long enough for the longest back-off that this many crashes can cause.
        let mut calm = 0;
        for _ in 0..3000 {
            let before = world.requests;
            world.tick()?;
            calm = if world.requests == before { calm + 1 } else { 0 };
            if calm > 1000 {
                break;
            }
        }
        let all: Vec<(u32, u32)> = {
            let mut all: Vec<_> = world.agents.iter().flatten().map(|real| (real.version, real.index)).collect();
            all.sort_unstable();
            all
        };
        let expected: Vec<(u32, u32)> = (0..world.instances).map(|index| (world.version, index)).collect();
        prop_assert_eq!(all, expected);
    }
}
