//! Given a world, when it is planned, then. Times are in seconds.

use super::*;
use crate::domain::world::Sweep;
use proto::bus::health::{Beat, DesiredProcess, ExitReason, Exited, Heartbeat, RecordedCrash};
use proto::config::Settings;
use proto::ids::DeaId;

pub(super) fn policy() -> Policy {
    Policy::read(&Settings::default())
}

pub(super) fn process(name: &str) -> ProcessGuid {
    ProcessGuid::new(name).unwrap()
}

pub(super) fn version(name: &str) -> Version {
    Version::new(name).unwrap()
}

pub(super) fn instance(name: &str) -> InstanceId {
    InstanceId::new(name).unwrap()
}

pub(super) fn dea(name: &str) -> DeaId {
    DeaId::new(name).unwrap()
}

/// One world with a clock, told in short words.
pub(super) struct Given {
    pub world: World,
    pub policy: Policy,
    pub now: Millis,
}

/// Unix seconds at the clock's zero.
const EPOCH: f64 = 1_700_000_000.0;

impl Given {
    /// Heard and read, at second 100.
    pub fn new() -> Given {
        let mut given = Given {
            world: World::default(),
            policy: policy(),
            now: 0,
        };
        given.world.connected(0);
        given.now = 100_000;
        given
    }

    pub fn at(mut self, second: u64) -> Given {
        self.now = second * 1000;
        self
    }

    pub fn unix(&self) -> f64 {
        EPOCH + self.now as f64 / 1000.0
    }

    /// `("p", "v1", 3, "STARTED")`; replaces the whole set.
    pub fn desired(mut self, set: &[(&str, &str, u32, &str)]) -> Given {
        let mut processes = BTreeMap::new();
        for (row, (name, at, instances, state)) in set.iter().enumerate() {
            let (state, package) = match *state {
                "PENDING" => ("STARTED", "PENDING"),
                other => (other, "STAGED"),
            };
            let read = DesiredProcess {
                id: process(name),
                instances: *instances,
                state: state.into(),
                memory: 64,
                package_state: package.into(),
                version: version(at),
                updated_at: 1.0,
            };
            processes.insert(process(name), Wanted::read(row as i64 + 1, &read, self.now));
        }
        self.world.desired.replace(processes, self.now);
        self
    }

    /// A complete beat: `("i0", "p", "v1", 0, Running, since)`.
    pub fn beat(
        mut self,
        from: &str,
        all: &[(&str, &str, &str, u32, InstanceState, u64)],
    ) -> Given {
        self.hear(from, Some(true), all);
        self
    }

    pub fn hear(
        &mut self,
        from: &str,
        complete: Option<bool>,
        all: &[(&str, &str, &str, u32, InstanceState, u64)],
    ) {
        let droplets = all
            .iter()
            .map(|(id, name, at, index, state, since)| Beat {
                droplet: process(name),
                version: version(at),
                instance: instance(id),
                index: *index,
                state: *state,
                state_timestamp: EPOCH + *since as f64,
                cc_partition: None,
                yard_stats: None,
                yard_details: None,
            })
            .collect();
        let beat = Heartbeat {
            dea: dea(from),
            droplets,
            yard_complete: complete,
            yard_period: None,
            yard_zone: None,
            yard_tasks: None,
        };
        let unix = self.unix();
        self.world.heartbeat(&beat, self.now, unix, &self.policy);
    }

    pub fn exit(mut self, id: &str, name: &str, at: &str, index: u32, reason: ExitReason) -> Given {
        let exited = Exited {
            droplet: process(name),
            version: version(at),
            instance: instance(id),
            index,
            reason,
            crash_timestamp: None,
            exit_status: 1,
            exit_description: String::new(),
            cc_partition: None,
            yard_dea: None,
            yard_signal: None,
            yard_out_of_memory: None,
            yard_phase: None,
        };
        let unix = self.unix();
        self.world.exited(&exited, self.now, unix, &self.policy);
        self
    }

    pub fn plan(&self) -> Plan {
        plan(&self.world, Scope::All, self.now, &self.policy)
    }

    /// Plans and writes down what was sent; the requests as `start p 0 (why)` / `stop p i0 (why)`.
    pub fn act(&mut self) -> Vec<String> {
        let plan = self.plan();
        self.world.commit(&plan, self.now);
        show(&plan)
    }
}

pub(super) fn show(plan: &Plan) -> Vec<String> {
    plan.requests
        .iter()
        .map(|request| match &request.operation {
            Operation::Start { index } => {
                format!("start {} {index} ({:?})", request.process, request.because)
            }
            Operation::Stop { instance } => format!(
                "stop {} {instance} ({:?})",
                request.process, request.because
            ),
        })
        .collect()
}

use InstanceState::{Crashed, Evacuating, Running, Starting};

#[test]
fn what_runs_as_desired_is_left_alone() {
    let mut given = Given::new().desired(&[("p", "v1", 2, "STARTED")]).beat(
        "d1",
        &[
            ("i0", "p", "v1", 0, Running, 1),
            ("i1", "p", "v1", 1, Starting, 1),
        ],
    );
    let plan = given.plan();
    assert_eq!(plan, Plan::default());
    assert!(given.act().is_empty());
}

#[test]
fn what_is_missing_for_no_known_reason_is_started_after_the_grace() {
    let mut given = Given::new()
        .desired(&[("p", "v1", 2, "STARTED")])
        .beat("d1", &[("i0", "p", "v1", 0, Running, 1)]);
    assert!(given.act().is_empty());
    assert_eq!(given.plan().held, BTreeMap::from([(Held::Grace, 1)]));
    assert_eq!(given.plan().next, Some(130_000));
    let mut given = given.at(129);
    assert!(given.act().is_empty());
    let mut given = given.at(130);
    assert_eq!(given.act(), ["start p 1 (Missing)"]);
    assert!(given.act().is_empty(), "not again at once");
    let mut given = given.at(134);
    assert!(given.act().is_empty());
    let mut given = given.at(135).desired(&[("p", "v1", 2, "STARTED")]);
    assert_eq!(
        given.act(),
        ["start p 1 (Missing)"],
        "again while it is not seen"
    );
    let mut given = given.at(136).beat(
        "d1",
        &[
            ("i0", "p", "v1", 0, Running, 1),
            ("i1", "p", "v1", 1, Starting, 1),
        ],
    );
    assert!(given.act().is_empty());
    given.world.tidy(given.now, &given.policy);
    assert!(
        given.world.memory.versions.is_empty(),
        "nothing to remember of what is well"
    );
}

#[test]
fn a_crash_is_answered_at_once_three_times_and_then_later_and_later() {
    let mut given = Given::new().desired(&[("p", "v1", 1, "STARTED")]);
    let mut delays = Vec::new();
    for round in 0..9 {
        let id = format!("i{round}");
        given = given
            .beat("d1", &[(&id, "p", "v1", 0, Running, 1_000_000)])
            .exit(&id, "p", "v1", 0, ExitReason::Crashed);
        let crashed = given.now;
        while given.act().is_empty() {
            let next = given.plan().next.unwrap();
            assert!(next > given.now);
            given.now = next;
            given.world.desired.complete_as_of = Some(given.now);
        }
        delays.push((given.now - crashed) / 1000);
        given.now += 1000;
    }
    assert_eq!(delays, [0, 0, 0, 30, 60, 120, 240, 480, 960]);
    let answer = given
        .world
        .status(&process("p"), "FLAPPING", None, &given.policy)
        .unwrap();
    assert_eq!(answer.indices.unwrap().len(), 1);
}

#[test]
fn an_instance_that_ran_well_counts_its_crashes_anew() {
    let mut given = Given::new().desired(&[("p", "v1", 1, "STARTED")]);
    for round in 0..10u64 {
        let id = format!("i{round}");
        given = given
            .beat("d1", &[(&id, "p", "v1", 0, Running, 100 + round * 400)])
            .at(100 + round * 400 + 301);
        given = given
            .desired(&[("p", "v1", 1, "STARTED")])
            .beat("d1", &[(&id, "p", "v1", 0, Running, 100 + round * 400)]);
        given = given.exit(&id, "p", "v1", 0, ExitReason::Crashed);
        assert_eq!(given.act(), ["start p 0 (Crashed { crashes: 1 })"]);
        given = given.at(100 + (round + 1) * 400);
    }
}

#[test]
fn the_same_crash_told_twice_counts_once() {
    let mut given = Given::new()
        .desired(&[("p", "v1", 1, "STARTED")])
        .beat("d1", &[("i0", "p", "v1", 0, Running, 1)]);
    for _ in 0..5 {
        given = given
            .exit("i0", "p", "v1", 0, ExitReason::Crashed)
            .beat("d1", &[("i0", "p", "v1", 0, Crashed, 100)]);
    }
    assert_eq!(given.act(), ["start p 0 (Crashed { crashes: 1 })"]);
    // A beat that was under way when it died does not bring it back.
    let mut given = given.at(106);
    given.hear("d1", Some(false), &[("i0", "p", "v1", 0, Running, 1)]);
    given = given.desired(&[("p", "v1", 1, "STARTED")]);
    assert_eq!(given.act(), ["start p 0 (Crashed { crashes: 1 })"]);
    // The heartbeat may be the first to tell.
    let mut given = Given::new()
        .desired(&[("p", "v1", 1, "STARTED")])
        .beat("d1", &[("i9", "p", "v1", 0, Crashed, 99)]);
    assert_eq!(given.act(), ["start p 0 (Crashed { crashes: 1 })"]);
    let crashed = given
        .world
        .status(&process("p"), "CRASHED", None, &given.policy)
        .unwrap();
    assert_eq!(crashed.instances.unwrap()[0].instance, instance("i9"));
}

/// `("i0", 90, Some(5))`: instance, second of the crash, how long it ran.
fn recorded(crashes: &[(&str, u64, Option<f64>)]) -> Vec<RecordedCrash> {
    crashes
        .iter()
        .map(|(id, second, ran)| RecordedCrash {
            droplet: process("p"),
            version: version("v1"),
            instance: instance(id),
            index: 0,
            at: EPOCH + *second as f64,
            ran: *ran,
        })
        .collect()
}

impl Given {
    fn recall(mut self, crashes: &[(&str, u64, Option<f64>)]) -> Given {
        let unix = self.unix();
        self.world
            .recall(&recorded(crashes), self.now, unix, &self.policy);
        self
    }
}

#[test]
fn a_health_manager_that_begins_goes_on_with_the_back_off() {
    // Five in a row: the fifth is answered after a minute, of which ten seconds are over.
    let five = [
        ("i5", 1000, Some(3.0)),
        ("i4", 900, Some(299.0)),
        ("i3", 600, None),
        ("i2", 590, Some(1.0)),
        ("i0", 570, Some(5000.0)),
        ("older", 560, Some(1.0)),
    ];
    let mut given = Given::new()
        .at(1010)
        .desired(&[("p", "v1", 1, "STARTED")])
        .recall(&five);
    assert!(given.act().is_empty());
    assert_eq!(given.plan().held, BTreeMap::from([(Held::BackOff, 1)]));
    assert_eq!(given.plan().next, Some(1_060_000));
    let mut given = given.at(1059);
    assert!(given.act().is_empty());
    let mut given = given.at(1060).desired(&[("p", "v1", 1, "STARTED")]);
    assert_eq!(given.act(), ["start p 0 (Crashed { crashes: 5 })"]);
}

#[test]
fn what_is_recorded_and_heard_counts_once() {
    let three = [("i0", 90, None), ("i1", 92, None), ("i2", 94, None)];
    let mut given = Given::new()
        .beat("d1", &[("i2", "p", "v1", 0, Crashed, 94)])
        .exit("i1", "p", "v1", 0, ExitReason::Crashed)
        .desired(&[("p", "v1", 1, "STARTED")])
        .recall(&three)
        .exit("i0", "p", "v1", 0, ExitReason::Crashed)
        .beat("d1", &[("i2", "p", "v1", 0, Crashed, 94)])
        .recall(&three);
    assert_eq!(given.act(), ["start p 0 (Crashed { crashes: 3 })"]);
    // An agent's beat that was under way brings none of them back.
    given.hear("d1", Some(false), &[("i0", "p", "v1", 0, Running, 80)]);
    assert!(
        given
            .world
            .observed
            .of(&process("p"))
            .all(|(id, _)| id.as_str() == "i2")
    );
}

#[test]
fn recorded_crashes_do_not_delay_what_runs_or_what_they_do_not_concern() {
    let flapping: Vec<_> = ["a", "b", "c", "d", "e", "f"]
        .iter()
        .enumerate()
        .map(|(number, id)| (*id, 80 + number as u64, None))
        .collect();
    // It runs again: nothing is missing, and a crash after a good run counts from one.
    let mut given = Given::new()
        .desired(&[("p", "v1", 1, "STARTED")])
        .recall(&flapping)
        .beat("d1", &[("g", "p", "v1", 0, Running, 99)]);
    assert!(given.act().is_empty());
    assert_eq!(given.plan(), Plan::default());
    let mut given = given.at(400).desired(&[("p", "v1", 1, "STARTED")]).exit(
        "g",
        "p",
        "v1",
        0,
        ExitReason::Crashed,
    );
    assert_eq!(given.act(), ["start p 0 (Crashed { crashes: 1 })"]);

    // Another version, a stopped process, an index that is not desired: nothing is remembered.
    for desired in [
        ("p", "v2", 1, "STARTED"),
        ("p", "v1", 1, "STOPPED"),
        ("p", "v1", 0, "STARTED"),
        ("q", "v1", 1, "STARTED"),
    ] {
        let given = Given::new().desired(&[desired]).recall(&flapping);
        assert!(given.world.memory.versions.is_empty(), "{desired:?}");
    }

    // Its successor was due long ago and is not on record as crashed.
    let mut given = Given::new()
        .at(85 + 120 + 300)
        .desired(&[("p", "v1", 1, "STARTED")])
        .recall(&flapping);
    assert!(given.act().is_empty());
    assert_eq!(given.plan().held, BTreeMap::from([(Held::Grace, 1)]));
}

#[test]
fn index_zero_is_the_canary_of_what_crashes_again_and_again() {
    let mut given = Given::new().desired(&[("p", "v1", 3, "STARTED")]);
    // Within the immediate restarts each index is answered for itself.
    for round in 0..3 {
        for index in 0..3 {
            let id = format!("i{round}-{index}");
            given = given.exit(&id, "p", "v1", index, ExitReason::Crashed);
        }
        assert_eq!(given.act().len(), 3);
    }
    for index in 0..3 {
        given = given.exit(&format!("x{index}"), "p", "v1", index, ExitReason::Crashed);
    }
    assert!(given.act().is_empty());
    assert_eq!(
        given.plan().held,
        BTreeMap::from([(Held::BackOff, 1), (Held::Canary, 2)])
    );
    let mut given = given.at(130);
    assert_eq!(given.act(), ["start p 0 (Crashed { crashes: 4 })"]);
    assert_eq!(given.plan().held.get(&Held::Canary), Some(&2));
    let mut given = given
        .at(131)
        .beat("d1", &[("d", "p", "v1", 0, Starting, 131)]);
    assert!(given.act().is_empty());
    let mut given = given
        .at(132)
        .beat("d1", &[("d", "p", "v1", 0, Running, 132)]);
    assert_eq!(
        given.act(),
        [
            "start p 1 (Crashed { crashes: 4 })",
            "start p 2 (Crashed { crashes: 4 })"
        ]
    );
}

#[test]
fn an_app_that_was_stopped_is_given_the_whole_grace_again() {
    let mut given = Given::new().desired(&[("p", "v1", 1, "STARTED")]);
    assert!(given.act().is_empty());
    let mut given = given.at(120).desired(&[("p", "v1", 1, "STOPPED")]);
    given.world.tidy(given.now, &given.policy);
    let mut given = given.at(140).desired(&[("p", "v1", 1, "STARTED")]);
    assert!(given.act().is_empty());
    assert_eq!(given.plan().next, Some(170_000));
}

#[test]
fn an_agent_that_beats_seldom_is_not_lost_between_its_beats() {
    let mut given = Given::new().desired(&[("p", "v1", 1, "STARTED")]);
    let beat = Heartbeat {
        dea: dea("d1"),
        droplets: Vec::new(),
        yard_complete: Some(true),
        yard_period: Some(60.0),
        yard_zone: None,
        yard_tasks: None,
    };
    let unix = given.unix();
    given.world.heartbeat(&beat, given.now, unix, &given.policy);
    let lost = |given: &mut Given| {
        let swept = given.world.sweep(given.now, unix, &given.policy);
        swept.lost.len()
    };
    let mut given = given.at(250);
    assert_eq!(lost(&mut given), 0);
    let mut given = given.at(251);
    assert_eq!(lost(&mut given), 1);
}

#[test]
fn after_a_return_of_the_bus_stops_wait_for_the_agents_or_for_their_time() {
    let seen = [("i0", "p", "v1", 0, Running, 1)];
    let mut given = Given::new().desired(&[]).beat("d1", &seen);
    given.world.connected(given.now);
    assert_eq!(given.plan().next, Some(102_000));
    // The only agent told all it has, but another may still be about to.
    let mut given = given.at(101).beat("d1", &seen).desired(&[]);
    assert!(given.act().is_empty());
    let mut given = given.at(102).desired(&[]);
    assert_eq!(given.act(), ["stop p i0 (Undesired)"]);
    // One that is known did not tell yet.
    let mut given = Given::new().beat("d1", &seen).beat("d2", &[]).at(101);
    given.world.connected(given.now);
    let mut given = given.at(104).beat("d1", &seen).desired(&[]);
    assert!(given.act().is_empty());
    assert_eq!(given.plan().next, Some(131_000));
}

#[test]
fn a_health_manager_that_slept_takes_no_agent_for_lost() {
    let seen = [("i0", "p", "v1", 0, Running, 1)];
    let desired = [("p", "v1", 1, "STARTED")];
    let sweep = |given: &mut Given| {
        let unix = given.unix();
        given.world.sweep(given.now, unix, &given.policy)
    };
    let mut given = Given::new().desired(&desired).beat("d1", &seen);
    assert_eq!(sweep(&mut given), Sweep::default());
    // A machine that was suspended for ten minutes: the beats of that time wait unread.
    let mut given = given.at(700);
    let swept = sweep(&mut given);
    assert!(swept.slept && swept.lost.is_empty());
    assert_eq!(given.world.observed.count(Running), 1);
    let mut given = given.desired(&desired);
    assert!(given.act().is_empty(), "nothing is missing");
    // From here on silence counts again, and no earlier.
    for second in 701..=730 {
        given = given.at(second);
        assert_eq!(sweep(&mut given), Sweep::default());
    }
    let mut given = given.at(731).desired(&desired);
    assert_eq!(sweep(&mut given).lost, [dea("d1")]);
    assert_eq!(given.act(), ["start p 0 (AgentLost)"]);
}

#[test]
fn the_instances_of_a_lost_agent_are_started_at_once() {
    let mut given = Given::new()
        .desired(&[("p", "v1", 2, "STARTED"), ("q", "v1", 1, "STARTED")])
        .beat(
            "d1",
            &[
                ("i0", "p", "v1", 0, Running, 1),
                ("q0", "q", "v1", 0, Running, 1),
            ],
        )
        .beat("d2", &[("i1", "p", "v1", 1, Running, 1)]);
    given = given
        .at(125)
        .beat("d2", &[("i1", "p", "v1", 1, Running, 1)])
        .at(131);
    let unix = given.unix();
    let swept = given.world.sweep(given.now, unix, &given.policy);
    assert_eq!(swept.lost, [dea("d1")]);
    assert_eq!(swept.change.processes.len(), 2);
    assert_eq!(
        given.act(),
        ["start q 0 (AgentLost)", "start p 0 (AgentLost)"],
        "the one that lost more first"
    );

    // The replacements run, then the agent comes back: the newest goes.
    given = given
        .at(135)
        .desired(&[("p", "v1", 2, "STARTED"), ("q", "v1", 1, "STARTED")]);
    given = given.beat(
        "d2",
        &[
            ("i1", "p", "v1", 1, Running, 1),
            ("i9", "p", "v1", 0, Starting, 134),
            ("q9", "q", "v1", 0, Running, 134),
        ],
    );
    assert!(given.act().is_empty());
    given = given.beat(
        "d1",
        &[
            ("i0", "p", "v1", 0, Running, 1),
            ("q0", "q", "v1", 0, Running, 1),
        ],
    );
    assert_eq!(
        given.act(),
        ["stop p i9 (Duplicate)", "stop q q9 (Duplicate)"]
    );
}

#[test]
fn an_agent_that_goes_orderly_is_replaced_at_once() {
    for reason in [ExitReason::DeaShutdown, ExitReason::DeaEvacuation] {
        let mut given = Given::new()
            .desired(&[("p", "v1", 1, "STARTED")])
            .exit("i0", "p", "v1", 0, reason);
        assert_eq!(given.act(), ["start p 0 (AgentShutdown)"]);
    }
    let mut given = Given::new().desired(&[("p", "v1", 1, "STARTED")]).exit(
        "i0",
        "p",
        "v1",
        0,
        ExitReason::Stopped,
    );
    assert!(given.act().is_empty(), "whoever stopped it knows why");
}

#[test]
fn an_evacuating_instance_leaves_when_its_replacement_runs() {
    let mut given = Given::new()
        .desired(&[("p", "v1", 1, "STARTED")])
        .beat("d1", &[("i0", "p", "v1", 0, Evacuating, 99)]);
    assert_eq!(given.act(), ["start p 0 (Evacuating)"]);
    given = given.beat("d2", &[("i1", "p", "v1", 0, Starting, 100)]);
    assert!(given.act().is_empty());
    given = given.beat("d2", &[("i1", "p", "v1", 0, Running, 100)]);
    assert_eq!(given.act(), ["stop p i0 (Replaced)"]);
    // A replacement that crashes is not started in a circle.
    let mut given = Given::new()
        .desired(&[("p", "v1", 1, "STARTED")])
        .beat("d1", &[("i0", "p", "v1", 0, Evacuating, 99)]);
    for round in 0..4 {
        given = given.exit(&format!("x{round}"), "p", "v1", 0, ExitReason::Crashed);
    }
    assert!(given.act().is_empty());
    assert_eq!(given.plan().held.get(&Held::BackOff), Some(&1));
}

#[test]
fn extras_go_only_when_all_that_is_desired_runs() {
    let extra = [
        ("i0", "p", "v1", 0, Running, 1),
        ("i1", "p", "v1", 1, Starting, 1),
        ("i2", "p", "v1", 2, Running, 1),
        ("o0", "p", "v0", 0, Running, 1),
    ];
    let mut given = Given::new()
        .desired(&[("p", "v1", 2, "STARTED")])
        .beat("d1", &extra);
    assert!(given.act().is_empty());
    assert_eq!(
        given.plan().held,
        BTreeMap::from([(Held::NotAllRunning, 2)])
    );
    let mut given = given.beat(
        "d1",
        &[
            extra[0],
            ("i1", "p", "v1", 1, Running, 1),
            extra[2],
            extra[3],
        ],
    );
    assert_eq!(given.act(), ["stop p i2 (Extra)", "stop p o0 (OldVersion)"]);
    assert!(given.act().is_empty(), "asked a moment ago");
}

#[test]
fn of_duplicates_the_oldest_running_one_stays() {
    let mut given = Given::new().desired(&[("p", "v1", 1, "STARTED")]).beat(
        "d1",
        &[
            ("a", "p", "v1", 0, Starting, 1),
            ("b", "p", "v1", 0, Running, 50),
            ("c", "p", "v1", 0, Running, 20),
            ("d", "p", "v1", 0, Running, 90),
        ],
    );
    assert_eq!(
        given.act(),
        [
            "stop p d (Duplicate)",
            "stop p b (Duplicate)",
            "stop p a (Duplicate)"
        ]
    );
    let mut given = Given::new().desired(&[("p", "v1", 1, "STARTED")]).beat(
        "d1",
        &[
            ("a", "p", "v1", 0, Starting, 1),
            ("b", "p", "v1", 0, Starting, 2),
        ],
    );
    assert!(given.act().is_empty(), "none of them runs yet");
    // The oldest is on an agent that was not heard lately, it may be dead: what surely runs stays.
    let mut given = Given::new()
        .desired(&[("p", "v1", 1, "STARTED")])
        .beat("d1", &[("a", "p", "v1", 0, Running, 1)]);
    given = given
        .at(125)
        .desired(&[("p", "v1", 1, "STARTED")])
        .beat("d2", &[("b", "p", "v1", 0, Running, 120)]);
    assert_eq!(given.act(), ["stop p a (Duplicate)"]);
}

#[test]
fn what_nobody_desires_is_stopped_on_fresh_and_complete_knowledge_only() {
    let lonely = [("i0", "p", "v1", 0, Running, 1)];
    // Seen after the set was read: it may be newer than the set.
    let mut given = Given::new().desired(&[]).at(101).beat("d1", &lonely);
    assert!(given.act().is_empty());
    assert_eq!(
        given.plan().held,
        BTreeMap::from([(Held::StaleInstance, 1)])
    );
    let mut given = given.at(102).desired(&[]);
    assert_eq!(given.act(), ["stop p i0 (Undesired)"]);
    // Nothing without a set, nothing from an old one, nothing while the bus is away.
    let mut given = Given::new().beat("d1", &lonely);
    assert!(given.act().is_empty());
    assert_eq!(
        given.plan().held,
        BTreeMap::from([(Held::NoDesiredState, 1)])
    );
    let mut given = Given::new()
        .beat("d1", &lonely)
        .at(101)
        .desired(&[])
        .at(222)
        .beat("d1", &lonely);
    assert!(given.act().is_empty());
    assert_eq!(
        given.plan().held,
        BTreeMap::from([(Held::StaleDesiredState, 1)])
    );
    let mut given = Given::new().beat("d1", &lonely).at(101).desired(&[]);
    given.world.disconnected();
    assert!(given.act().is_empty());
    assert_eq!(given.plan().held, BTreeMap::from([(Held::NotHearing, 1)]));
    // Not before everybody had the time to speak.
    given.world.connected(given.now);
    assert!(given.act().is_empty());
    assert_eq!(given.plan().held.get(&Held::Listening), Some(&1));
    let mut given = given.at(131).beat("d1", &lonely);
    assert_eq!(given.act(), ["stop p i0 (Undesired)"]);
}

#[test]
fn a_stopped_app_is_stopped_and_an_unstaged_one_left_alone() {
    let seen = [
        ("i0", "p", "v1", 0, Running, 1),
        ("i1", "p", "v1", 1, Crashed, 1),
    ];
    let mut given = Given::new()
        .beat("d1", &seen)
        .at(101)
        .desired(&[("p", "v1", 2, "STOPPED")]);
    assert_eq!(given.act(), ["stop p i0 (Stopped)"]);
    let mut given = Given::new()
        .beat("d1", &seen)
        .at(101)
        .desired(&[("p", "v1", 2, "PENDING")]);
    assert!(given.act().is_empty());
}

#[test]
fn not_more_starts_than_the_window_and_evacuations_first() {
    let names: Vec<String> = (0..5).map(|n| format!("p{n}")).collect();
    let set: Vec<(&str, &str, u32, &str)> = names
        .iter()
        .map(|name| (name.as_str(), "v1", 1, "STARTED"))
        .collect();
    let mut given = Given::new().desired(&set);
    given.policy.window = 2;
    for name in &names[..4] {
        given = given.exit(&format!("x{name}"), name, "v1", 0, ExitReason::DeaShutdown);
    }
    given = given.beat("d1", &[("e", "p4", "v1", 0, Evacuating, 1)]);
    assert_eq!(
        given.act(),
        ["start p4 0 (Evacuating)", "start p0 0 (AgentShutdown)"]
    );
    assert!(given.act().is_empty());
    assert_eq!(given.plan().held.get(&Held::Window), Some(&3));
    // One is seen: one more may go.
    given = given.beat("d2", &[("n", "p0", "v1", 0, Starting, 100)]);
    assert_eq!(given.act(), ["start p1 0 (AgentShutdown)"]);
}

#[test]
fn starts_in_vain_do_not_hold_up_the_others() {
    let mut given = Given::new().desired(&[("a", "v1", 1, "STARTED"), ("b", "v1", 1, "STARTED")]);
    given.policy.window = 1;
    given = given.exit("x", "a", "v1", 0, ExitReason::DeaShutdown);
    let mut asked_b = false;
    given = given.exit("y", "b", "v1", 0, ExitReason::DeaShutdown);
    for second in 100..200 {
        given = given
            .at(second)
            .desired(&[("a", "v1", 1, "STARTED"), ("b", "v1", 1, "STARTED")]);
        asked_b |= given
            .act()
            .iter()
            .any(|request| request.starts_with("start b"));
    }
    assert!(asked_b);
}

#[test]
fn a_partial_beat_says_nothing_of_the_others() {
    let mut given = Given::new().desired(&[("p", "v1", 2, "STARTED")]).beat(
        "d1",
        &[
            ("i0", "p", "v1", 0, Running, 1),
            ("i1", "p", "v1", 1, Running, 1),
        ],
    );
    given.hear("d1", Some(false), &[("i0", "p", "v1", 0, Running, 1)]);
    // A stranger's beat about one instance is partial, about none or several it is complete.
    given.hear("d1", None, &[("i0", "p", "v1", 0, Running, 1)]);
    assert_eq!(
        given
            .world
            .health(&process("p"), &version("v1"))
            .unwrap()
            .healthy,
        2
    );
    given.hear("d1", None, &[]);
    assert_eq!(
        given
            .world
            .health(&process("p"), &version("v1"))
            .unwrap()
            .healthy,
        0
    );
}

#[test]
fn a_change_read_singly_outlives_an_older_set() {
    let mut given = Given::new().desired(&[("p", "v1", 1, "STARTED")]);
    let read = DesiredProcess {
        id: process("p"),
        instances: 5,
        state: "STARTED".into(),
        memory: 1,
        package_state: "STAGED".into(),
        version: version("v2"),
        updated_at: 9.0,
    };
    given
        .world
        .desired
        .update(&process("p"), Some(Wanted::read(1, &read, 105_000)));
    let old = given.world.desired.processes.clone();
    let mut set = old.clone();
    set.insert(
        process("p"),
        Wanted {
            updated_at: 1.0,
            instances: 1,
            ..old[&process("p")].clone()
        },
    );
    given.world.desired.replace(set, 104_000);
    assert_eq!(given.world.desired.processes[&process("p")].instances, 5);
}
