//! The cluster in virtual time (`tests::simulator`): many small ones with a bad day, some with a good one, a
//! large one, and some in which a rule is broken on purpose, to see that somebody notices.
//!
//! A run that fails prints its seed; `STACKYARD_SEED` repeats it, the same to the last step.
//! `STACKYARD_TRIALS` runs that many times as many seeds, and the largest cluster.

#![expect(
    clippy::print_stdout,
    reason = "a failing seed speaks to who repeats it"
)]

use dea::domain::capacity::Resources;
use tests::simulator::cluster::Mishap;
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

/// Runs a seed; a violation fails the test with all that is needed to repeat it.
fn check(test: &str, scenario: &Scenario, seed: u64) -> Outcome {
    let outcome = scenario.run(seed);
    if let Some(violation) = &outcome.violation {
        for line in &outcome.last {
            println!("{line}");
        }
        panic!(
            "seed {seed}, after {:.3} s: {}\nrepeat it: STACKYARD_SEED={seed} cargo test -p tests --test simulator {test}",
            violation.at as f64 / 1000.0,
            violation.what
        );
    }
    outcome
}

#[test]
fn whatever_befalls_a_small_cluster_it_comes_to_what_is_wanted() {
    for seed in seeds() {
        let outcome = check(
            "whatever_befalls_a_small_cluster",
            &Scenario::small(seed),
            seed,
        );
        println!("seed {seed}: {outcome}");
    }
}

#[test]
fn on_a_good_day_users_get_what_they_want() {
    for seed in seeds() {
        let outcome = check("on_a_good_day", &Scenario::fair(seed), seed);
        println!("seed {seed}: {outcome}");
    }
}

#[test]
fn a_thousand_agents_with_ten_thousand_instances_survive_a_bad_minute() {
    let seed = number("STACKYARD_SEED").unwrap_or(1);
    let outcome = check("a_thousand_agents", &Scenario::large(1_000), seed);
    println!("seed {seed}: {outcome}");
}

#[test]
fn ten_thousand_agents_with_a_hundred_thousand_instances_survive_it_too() {
    if number("STACKYARD_TRIALS").is_none() {
        println!("only with STACKYARD_TRIALS: it takes minutes");
        return;
    }
    let seed = number("STACKYARD_SEED").unwrap_or(1);
    let outcome = check("ten_thousand_agents", &Scenario::large(10_000), seed);
    println!("seed {seed}: {outcome}");
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
