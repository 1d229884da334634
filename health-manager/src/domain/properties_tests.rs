//! Properties of single plans over arbitrary worlds, however odd: what a plan may never contain.

use super::tests::{Given, process};
use super::*;
use proptest::prelude::*;
use proto::bus::health::ExitReason;

const PROCESSES: [&str; 2] = ["p", "q"];
const STATES: [InstanceState; 4] = [
    InstanceState::Starting,
    InstanceState::Running,
    InstanceState::Crashed,
    InstanceState::Evacuating,
];

/// One instance: process, agent, version, index, state, second it began.
type Drawn = (usize, usize, u32, u32, usize, u64);

#[derive(Debug, Clone)]
struct Draw {
    /// For each process: version, instances, state; `None` is not in the set.
    wanted: Vec<Option<(u32, u32, usize)>>,
    instances: Vec<Drawn>,
    /// Instance that exits, and why.
    exits: Vec<(usize, usize)>,
    /// Seconds: the bus came, the desired state was read, each agent was heard, now.
    bus_at: Option<u64>,
    read_at: Option<u64>,
    heard_at: [u64; 3],
    now: u64,
    window: usize,
}

fn draw() -> impl Strategy<Value = Draw> {
    let wanted = proptest::collection::vec(
        proptest::option::weighted(0.9, (1u32..3, 0u32..4, 0usize..6)),
        2,
    );
    let instances = proptest::collection::vec(
        (0usize..2, 0usize..3, 1u32..3, 0u32..5, 0usize..4, 0u64..90),
        0..12,
    );
    let exits = proptest::collection::vec((0usize..12, 0usize..4), 0..4);
    let times = (
        proptest::option::weighted(0.95, 0u64..170),
        proptest::option::weighted(0.95, 50u64..190),
        [150u64..190, 150u64..190, 150u64..190],
        190u64..215,
        1usize..6,
    );
    (wanted, instances, exits, times).prop_map(
        |(wanted, instances, exits, (bus_at, read_at, heard_at, now, window))| Draw {
            wanted,
            instances,
            exits,
            bus_at,
            read_at,
            heard_at,
            now,
            window,
        },
    )
}

fn id(number: usize) -> String {
    format!("i{number}")
}

fn version_name(number: u32) -> &'static str {
    if number == 1 { "v1" } else { "v2" }
}

fn given(draw: &Draw) -> Given {
    let mut given = Given::new();
    given.world = World::default();
    given.policy.window = draw.window;
    if let Some(at) = draw.bus_at {
        given.world.connected(at * 1000);
    }
    let mut order: Vec<usize> = (0..3).collect();
    order.sort_by_key(|agent| draw.heard_at[*agent]);
    for agent in order {
        given = given.at(draw.heard_at[agent]);
        let names: Vec<(String, &Drawn)> = draw
            .instances
            .iter()
            .enumerate()
            .filter(|(_, one)| one.1 == agent)
            .map(|(number, one)| (id(number), one))
            .collect();
        let beats: Vec<_> = names
            .iter()
            .map(|(name, one)| {
                (
                    name.as_str(),
                    PROCESSES[one.0],
                    version_name(one.2),
                    one.3,
                    STATES[one.4],
                    one.5,
                )
            })
            .collect();
        given.hear(&format!("d{agent}"), Some(true), &beats);
    }
    if let Some(at) = draw.read_at {
        let set: Vec<_> = draw
            .wanted
            .iter()
            .zip(PROCESSES)
            .filter_map(|(wanted, name)| {
                let (at, instances, state) = (*wanted)?;
                let state = [
                    "STARTED", "STARTED", "STARTED", "STARTED", "STOPPED", "PENDING",
                ][state];
                Some((name, version_name(at), instances, state))
            })
            .collect();
        given = given.at(at).desired(&set);
    }
    given = given.at(draw.now);
    for (number, reason) in &draw.exits {
        if let Some(one) = draw.instances.get(*number) {
            let reason = [
                ExitReason::Stopped,
                ExitReason::Crashed,
                ExitReason::DeaShutdown,
                ExitReason::DeaEvacuation,
            ][*reason];
            given = given.exit(
                &id(*number),
                PROCESSES[one.0],
                version_name(one.2),
                one.3,
                reason,
            );
        }
    }
    given
}

/// Indices below the desired number that a RUNNING instance of the desired version holds.
fn served(world: &World, name: &ProcessGuid, wanted: &Wanted) -> BTreeSet<u32> {
    world
        .observed
        .of(name)
        .filter(|(_, seen)| seen.is_running() && seen.version == wanted.version)
        .map(|(_, seen)| seen.index)
        .filter(|index| *index < wanted.instances)
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn no_stop_takes_away_what_is_desired(draw in draw()) {
        let given = given(&draw);
        let made = given.plan();
        let mut after = given.world.clone();
        let mut others = BTreeSet::new();
        for request in &made.requests {
            if let Operation::Stop { instance } = &request.operation {
                let seen = given.world.observed.processes[&request.process][instance].clone();
                prop_assert!(given.now - seen.last_seen <= given.policy.lost_after, "not seen lately: {request:?}");
                after.observed.exited(&request.process, instance, given.now);
                if matches!(request.because, Because::Extra | Because::OldVersion) {
                    others.insert(request.process.clone());
                }
            }
        }
        for (name, wanted) in &given.world.desired.processes {
            if wanted.state != WantedState::Started {
                continue;
            }
            let before = served(&given.world, name, wanted);
            prop_assert_eq!(&before, &served(&after, name, wanted));
            if others.contains(name) {
                prop_assert_eq!(before.len(), wanted.instances as usize, "others go only when all desired run");
            }
        }
    }

    #[test]
    fn old_knowledge_stops_nothing_and_stale_desires_start_nothing(draw in draw()) {
        let given = given(&draw);
        let made = given.plan();
        let age = given.world.desired.age(given.now);
        let fresh = age.is_some_and(|age| age <= given.policy.stale_after);
        let hears = given.world.hearing_since.is_some();
        if !fresh || !hears {
            prop_assert!(made.requests.is_empty());
            prop_assert!(!made.held.is_empty(), "a plan without requests says why");
        }
        if !given.world.is_warm(given.now, &given.policy) {
            let stops = made.requests.iter().filter(|request| matches!(request.operation, Operation::Stop { .. })).count();
            prop_assert_eq!(stops, 0);
        }
    }

    #[test]
    fn only_what_is_desired_and_not_there_is_started_within_the_window(draw in draw()) {
        let given = given(&draw);
        let made = given.plan();
        let mut starts = BTreeSet::new();
        for request in &made.requests {
            if let Operation::Start { index } = request.operation {
                let wanted = &given.world.desired.processes[&request.process];
                prop_assert_eq!(wanted.state, WantedState::Started);
                prop_assert!(index < wanted.instances);
                prop_assert_eq!(&request.version, &wanted.version);
                let held = given.world.observed.of(&request.process)
                    .any(|(_, seen)| seen.is_live() && seen.index == index && seen.version == wanted.version);
                prop_assert!(!held, "index {} is held", index);
                prop_assert!(starts.insert((request.process.clone(), index)), "asked once");
            }
        }
        prop_assert!(starts.len() <= draw.window);
    }

    #[test]
    fn the_same_world_gives_the_same_plan_and_a_sent_plan_an_empty_one(draw in draw()) {
        let mut given = given(&draw);
        let made = given.plan();
        prop_assert_eq!(&made, &given.plan());
        given.world.commit(&made, given.now);
        let again = given.plan();
        prop_assert!(again.requests.is_empty(), "{:?}", again.requests);
        prop_assert!(again.noticed.is_empty() && again.settled.is_empty(), "{:?} {:?}", again.noticed, again.settled);
    }

    #[test]
    fn planning_a_part_asks_what_planning_all_asks_of_it(draw in draw()) {
        let mut given = given(&draw);
        given.policy.window = 100;
        let all = given.plan();
        let only = BTreeSet::from([process("p")]);
        let part = plan(&given.world, Scope::Only(&only), given.now, &given.policy);
        let of_part: Vec<_> = all.requests.into_iter().filter(|request| request.process == process("p")).collect();
        prop_assert_eq!(part.requests, of_part);
    }
}

#[test]
fn the_draw_is_not_all_boredom() {
    // A property over worlds in which nothing is planned would prove nothing.
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    let (mut starts, mut stops) = (0, 0);
    for _ in 0..500 {
        let drawn = draw().new_tree(&mut runner).unwrap().current();
        for request in given(&drawn).plan().requests {
            match request.operation {
                Operation::Start { .. } => starts += 1,
                Operation::Stop { .. } => stops += 1,
            }
        }
    }
    assert!(starts > 50 && stops > 50, "{starts} starts, {stops} stops");
}
