//! The cluster in virtual time (`tests::simulator`): many small ones with a bad day, some with a good one, a
//! large one, and some in which a rule is broken on purpose, to see that somebody notices.
//!
//! A run that fails prints its seed; `STACKYARD_SEED` repeats it, the same to the last step.
//! `STACKYARD_LINES` shows that many of its last steps instead of 60.
//! `STACKYARD_TRIALS` runs that many times as many seeds, and the largest cluster.

#![expect(
    clippy::print_stdout,
    reason = "a failing seed speaks to who repeats it"
)]

use dea::domain::capacity::Resources;
use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Mutex;
use std::time::Instant;
use tests::simulator::cluster::Mishap;
use tests::simulator::message::Place;
use tests::simulator::network::Weather;
use tests::simulator::{Outcome, Sabotage, Scenario};

/// Seeds of `make test`, for each scenario.
const SEEDS: u64 = 60;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn seeds() -> Vec<u64> {
    match number("STACKYARD_SEED") {
        Some(seed) => vec![seed],
        None => (0..SEEDS * number("STACKYARD_TRIALS").unwrap_or(1)).collect(),
    }
}

/// What the runs of one test came to.
struct Counts {
    begun: Instant,
    lasted: u64,
    runs: u64,
    steps: u64,
    delivered: u64,
    started: u64,
    stopped: u64,
    longest: u64,
}

impl Counts {
    fn begin() -> Counts {
        Counts {
            begun: Instant::now(),
            lasted: 0,
            runs: 0,
            steps: 0,
            delivered: 0,
            started: 0,
            stopped: 0,
            longest: 0,
        }
    }

    fn add(&mut self, outcome: &Outcome) {
        self.runs += 1;
        self.lasted += outcome.lasted;
        self.steps += outcome.steps;
        self.delivered += outcome.delivered;
        self.started += outcome.started;
        self.stopped += outcome.stopped;
        self.longest = self.longest.max(outcome.settled_after);
    }

    /// Writes them into docs/trials.md, if this is a trial; with what other tests have written there.
    fn note(&self, trial: &'static str) {
        static ROWS: Mutex<BTreeMap<&str, String>> = Mutex::new(BTreeMap::new());
        if number("STACKYARD_TRIALS").is_none() || number("STACKYARD_SEED").is_some() {
            return;
        }
        let counts = format!(
            "{} seeds, {} s of virtual time in {} s, {} steps, {} messages delivered, {} instances started, {} told to stop; 0 violations; \
             settled at last {} s after the last fault",
            self.runs,
            self.lasted / 1000,
            self.begun.elapsed().as_secs(),
            self.steps,
            self.delivered,
            self.started,
            self.stopped,
            self.longest / 1000
        );
        let mut rows = ROWS.lock().expect("no holder panics");
        rows.insert(trial, counts);
        let rows: Vec<(&str, String)> = rows.clone().into_iter().collect();
        let text = format!(
            "The pure parts of controllers, agents, health managers and routers in virtual time; every invariant is judged after every step. \
            A seed of the small clusters is repeated by STACKYARD_SEED=… cargo test -p tests --test simulator. The trials of a run share one process, \
            as many at a time as there are processors, which had {} MiB of memory at most. Profile: {}.",
            most_memory().unwrap_or_default() >> 10,
            if cfg!(debug_assertions) {
                "dev"
            } else {
                "release"
            }
        );
        tests::trials::write("The cluster in virtual time", &text, &rows)
            .expect("the page is written");
    }
}

/// The most memory that this process ever had, in KiB.
fn most_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Runs a seed; a violation fails the test with all that is needed to repeat it.
fn check(test: &str, scenario: &Scenario, seed: u64) -> Outcome {
    let mut scenario = scenario.clone();
    if let Some(lines) = number("STACKYARD_LINES") {
        (scenario.in_words, scenario.lines) = (true, lines as usize);
    }
    let outcome = scenario.run(seed);
    if let Some(violation) = &outcome.violation {
        for line in &outcome.last {
            println!("{line}");
        }
        panic!(
            "seed {seed}, after {:.3} s, step {}, digest {:016x}: {}\nrepeat it: STACKYARD_SEED={seed} cargo test -p tests --test simulator {test}",
            violation.at as f64 / 1000.0,
            outcome.steps,
            outcome.digest,
            violation.what
        );
    }
    outcome
}

#[test]
fn whatever_befalls_a_small_cluster_it_comes_to_what_is_wanted() {
    let mut counts = Counts::begin();
    for seed in seeds() {
        let test = "whatever_befalls_a_small_cluster";
        let outcome = check(test, &Scenario::small(seed), seed);
        println!("seed {seed}: {outcome}");
        counts.add(&outcome);
    }
    counts.note("small clusters with a bad day");
}

#[test]
fn on_a_good_day_users_get_what_they_want() {
    let mut counts = Counts::begin();
    for seed in seeds() {
        let outcome = check("on_a_good_day", &Scenario::fair(seed), seed);
        println!("seed {seed}: {outcome}");
        counts.add(&outcome);
    }
    counts.note("small clusters with a good day");
}

fn large(test: &str, agents: usize, seeds: u64, trial: &'static str) {
    let first = number("STACKYARD_SEED");
    let mut counts = Counts::begin();
    for seed in first.map_or(1..=seeds, |seed| seed..=seed) {
        let outcome = check(test, &Scenario::large(agents), seed);
        println!("seed {seed}: {outcome}");
        counts.add(&outcome);
    }
    counts.note(trial);
}

#[test]
fn a_thousand_agents_with_ten_thousand_instances_survive_a_bad_minute() {
    let seeds = number("STACKYARD_TRIALS").unwrap_or(1);
    large(
        "a_thousand_agents",
        1_000,
        seeds,
        "1,000 agents, 10,000 instances",
    );
}

#[test]
fn ten_thousand_agents_with_a_hundred_thousand_instances_survive_it_too() {
    if number("STACKYARD_TRIALS").is_none() {
        println!("only with STACKYARD_TRIALS: it takes minutes");
        return;
    }
    large(
        "ten_thousand_agents",
        10_000,
        1,
        "10,000 agents, 100,000 instances",
    );
}

#[test]
fn a_seed_runs_the_same_to_the_last_step() {
    for seed in 100..110 {
        let (first, again) = (
            Scenario::small(seed).run(seed),
            Scenario::small(seed).run(seed),
        );
        assert_eq!(
            (first.digest, first.steps, first.last),
            (again.digest, again.steps, again.last),
            "seed {seed}"
        );
        let other = Scenario::small(seed).run(seed + 1);
        assert_ne!(first.digest, other.digest);
    }
}

/// The cluster of [`a_broken_rule_prints_its_seed_and_how_to_repeat_it`], and what is wrong with it.
fn broken(seed: u64) -> Scenario {
    Scenario {
        sabotage: Some(Sabotage::BeatsLeaveOut),
        ..Scenario::fair(seed)
    }
}

/// Fails on purpose, for the test that follows.
#[test]
#[ignore = "it fails on purpose"]
fn a_cluster_with_a_broken_rule() {
    for seed in seeds() {
        check("a_cluster_with_a_broken_rule", &broken(seed), seed);
    }
}

/// Runs [`a_cluster_with_a_broken_rule`] in a process of its own; what it prints.
fn printed(seed: Option<&str>) -> String {
    let mut command = Command::new(std::env::current_exe().expect("a test knows its own path"));
    command.args(["a_cluster_with_a_broken_rule", "--exact", "--ignored"]);
    command
        .env_remove("STACKYARD_SEED")
        .env_remove("STACKYARD_TRIALS");
    if let Some(seed) = seed {
        command.env("STACKYARD_SEED", seed);
    }
    let output = command.output().expect("a test runs");
    assert!(!output.status.success(), "nobody noticed the broken rule");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// From the first of the last steps to the line that says how to repeat it.
fn told(printed: &str) -> Vec<&str> {
    let steps = printed
        .lines()
        .skip_while(|line| !line.contains(" stdout ----"));
    let until_repeat = steps.scan(false, |over, line| {
        let show = !*over;
        *over |= line.starts_with("repeat it: ");
        show.then_some(line)
    });
    // The number of the thread is another one each time.
    until_repeat
        .filter(|line| !line.starts_with("thread "))
        .collect()
}

#[test]
fn a_broken_rule_prints_its_seed_and_how_to_repeat_it() {
    let first = printed(None);
    let line = told(&first)
        .into_iter()
        .find_map(|line| line.strip_prefix("repeat it: STACKYARD_SEED="))
        .unwrap_or_else(|| panic!("no line says how to repeat it: {first}"));
    let (seed, command) = line.split_once(' ').expect("a seed and a command");
    assert_eq!(
        command,
        "cargo test -p tests --test simulator a_cluster_with_a_broken_rule"
    );
    assert!(first.contains(&format!("seed {seed}, after ")), "{first}");
    let again = printed(Some(seed));
    assert!(told(&first).len() > 10, "{first}");
    assert_eq!(told(&first), told(&again));
}

/// What is said about a broken rule in the first seeds that notice it.
fn caught(sabotage: Sabotage, scenario: impl Fn(u64) -> Scenario, says: &str) {
    let mut noticed = Vec::new();
    for seed in 0..20 {
        let broken = Scenario {
            sabotage: Some(sabotage),
            ..scenario(seed)
        };
        let Some(violation) = broken.run(seed).violation else {
            continue;
        };
        if violation.what.contains(says) {
            return;
        }
        noticed.push(violation.what);
    }
    panic!("nobody says {says:?}; what is said is {noticed:#?}");
}

/// The bus is away for longer than routes and agents last without it.
fn long_outage(seed: u64) -> Scenario {
    Scenario {
        mishaps: 0,
        wishes: 0,
        storm: 260_000,
        certain: vec![(30_000, Mishap::BusAway(200_000))],
        ..Scenario::small(seed)
    }
}

#[test]
fn a_long_outage_of_the_bus_stops_nothing() {
    for seed in 0..10 {
        check(
            "a_long_outage_of_the_bus_stops_nothing",
            &long_outage(seed),
            seed,
        );
    }
}

#[test]
fn a_health_manager_that_trusts_silence_is_caught() {
    caught(
        Sabotage::ManagerTrustsSilence,
        long_outage,
        "while its bus is away",
    );
}

#[test]
fn a_router_that_prunes_without_a_bus_is_caught() {
    caught(Sabotage::RouterPrunesAlone, long_outage, "forgets");
}

/// Leaders stand still and are replaced, commands are late by up to a minute, and agents die meanwhile.
fn former_leaders(seed: u64) -> Scenario {
    let mut certain: Vec<(u64, Mishap)> = (1..8)
        .map(|turn| {
            let leader = Place::Controller(turn % 2);
            (turn as u64 * 25_000, Mishap::Suspend(leader, 12_000))
        })
        .collect();
    certain.extend((1..40).map(|turn| {
        let agent = Place::Agent(turn % 2);
        (turn as u64 * 5_000, Mishap::Kill(agent, 500))
    }));
    Scenario {
        agents: 2,
        controllers: 2,
        mishaps: 0,
        wishes: 16,
        storm: 200_000,
        weather: Weather {
            late: 300,
            late_by: 60_000,
            ..Weather::CALM
        },
        certain,
        ..Scenario::small(seed)
    }
}

#[test]
fn no_agent_obeys_a_former_leader_also_after_it_was_restarted() {
    for seed in 0..20 {
        let test = "no_agent_obeys_a_former_leader";
        check(test, &former_leaders(seed), seed);
    }
}

#[test]
fn an_agent_that_obeys_a_former_leader_is_caught() {
    caught(Sabotage::AgentObeysAnybody, former_leaders, "of epoch");
}

#[test]
fn a_router_that_mixes_names_up_is_caught() {
    caught(Sabotage::RouterMixesNames, Scenario::fair, "leads to");
}

#[test]
fn an_agent_that_starts_what_it_knows_is_caught() {
    let scenario = |seed| {
        let mut scenario = Scenario::small(seed);
        scenario.weather.doubled = 300;
        scenario
    };
    caught(
        Sabotage::AgentForgetsIds,
        scenario,
        "while it runs on agent",
    );
}

#[test]
fn an_agent_that_takes_more_than_it_has_is_caught() {
    let scenario = |seed| Scenario {
        agents: 2,
        offered: Resources {
            memory_mb: 256,
            disk_mb: 8_192,
        },
        apps: 2,
        instances: 2,
        wishes: 20,
        ..Scenario::fair(seed)
    };
    caught(Sabotage::AgentTakesTooMuch, scenario, "holds Resources");
}

#[test]
fn beats_that_leave_out_an_instance_are_caught() {
    caught(Sabotage::BeatsLeaveOut, Scenario::fair, "");
}

#[test]
fn spoilt_messages_are_caught() {
    caught(Sabotage::SpoiltBytes, Scenario::fair, "");
}

/// A machine that was suspended for minutes: nobody was silent, and what ran before runs still.
#[test]
fn a_controller_that_stands_still_for_minutes_starts_and_stops_nothing() {
    for seed in 0..20 {
        let undisturbed = Scenario {
            controllers: 1,
            wishes: 0,
            storm: 340_000,
            ..Scenario::fair(seed)
        };
        let suspended = Scenario {
            certain: vec![(30_000, Mishap::Suspend(Place::Controller(0), 300_000))],
            ..undisturbed.clone()
        };
        let test = "a_controller_that_stands_still_for_minutes";
        let (without, with) = (
            check(test, &undisturbed, seed),
            check(test, &suspended, seed),
        );
        assert_eq!(
            (without.started, without.stopped),
            (with.started, with.stopped),
            "seed {seed}"
        );
    }
}

/// Every clock is set, back and forth: nobody may notice.
#[test]
fn clocks_that_are_set_start_and_stop_nothing() {
    for seed in 0..20 {
        let undisturbed = Scenario {
            wishes: 0,
            storm: 400_000,
            ..Scenario::fair(seed)
        };
        let (agents, managers) = (0..undisturbed.agents, 0..undisturbed.managers);
        let controllers = 0..undisturbed.controllers;
        let places = agents
            .map(Place::Agent)
            .chain(managers.map(Place::Manager))
            .chain(controllers.map(Place::Controller));
        let sets = [
            (30_000, -3_600_000),
            (200_000, 7_200_000),
            (350_000, -45_000),
        ];
        let set = Scenario {
            certain: places
                .flat_map(|place| sets.map(|(at, by)| (at, Mishap::Clock(place, by))))
                .collect(),
            ..undisturbed.clone()
        };
        let test = "clocks_that_are_set_start_and_stop_nothing";
        let (without, with) = (check(test, &undisturbed, seed), check(test, &set, seed));
        assert_eq!(
            (without.started, without.stopped),
            (with.started, with.stopped),
            "seed {seed}"
        );
    }
}
