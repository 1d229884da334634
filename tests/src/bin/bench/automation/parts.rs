//! What the parts take alone: a start in the agent, its actions, the engine with its store, the rules.

use crate::examples::{number, numbers, run};
use crate::goal::{Goal, Measured, Reach};
use crate::statistics::{median, ratios};
use crate::yardsticks::{nats, postgres};
use anyhow::Context;
use serde_json::Value;

/// The core of what is measured on one core.
const CORE: usize = 0;
const EXECUTION_ROUNDS: usize = 3;
/// Inserts of the yardstick between two rounds.
const INSERTS: usize = 5000;
const RULE_ROUNDS: usize = 5;
/// Messages of the yardstick between two rounds.
const MESSAGES: usize = 500_000;

pub async fn measure() -> anyhow::Result<Vec<Goal>> {
    let mut goals = starts().await?;
    goals.extend(actions().await?);
    goals.extend(executions().await?);
    goals.extend(rules().await?);
    goals.extend(settings().await?);
    Ok(goals)
}

/// The program alternates the agent and its yardsticks itself.
async fn starts() -> anyhow::Result<Vec<Goal>> {
    let document = run("starts_bench", &[], None).await?;
    let goal = |what: &str, most: f64, [yardstick, ours, ratios]: [&str; 3]| {
        anyhow::Ok(Goal {
            what: what.into(),
            reach: Reach::AtMost(most),
            measured: Ok(Measured {
                yardstick: format!("{:.2} ms", number(&document, yardstick)?),
                ours: format!("{:.2} ms", number(&document, ours)?),
                rounds: numbers(&document, ratios)?,
            }),
        })
    };
    Ok(vec![
        goal(
            "instance start from the pool",
            3.0,
            ["/orders_ms", "/from_pool_ms", "ratios"],
        )?,
        goal(
            "instance start without the pool, droplet present (Y: its pieces alone)",
            1.15,
            ["/bare_ms", "/cold_ms", "cold_ratios"],
        )?,
        goal(
            "the same, processor time of all who have a part in it",
            1.1,
            ["/bare_cpu_ms", "/cold_cpu_ms", "cold_cpu_ratios"],
        )?,
    ])
}

/// The program alternates the agent and the loop itself: both have to be on one core in turn.
async fn actions() -> anyhow::Result<Vec<Goal>> {
    let document = run("actions_bench", &[], None).await?;
    let goal = |what: &str, ours: f64, bare: f64, ratio| {
        anyhow::Ok(Goal {
            what: what.into(),
            reach: Reach::AtLeast(0.7),
            measured: Ok(Measured {
                yardstick: format!("{bare:.0}/s"),
                ours: format!("{ours:.0}/s"),
                rounds: vec![number(&document, ratio)?],
            }),
        })
    };
    Ok(vec![
        goal(
            "shell actions per second, one core",
            number(&document, "/actions_per_second")?,
            number(&document, "/spawns_per_second")?,
            "/ratio",
        )?,
        goal(
            "shell actions per second of CPU time",
            1000.0 / number(&document, "/action_cpu_ms")?,
            1000.0 / number(&document, "/spawn_cpu_ms")?,
            "/cpu_ratio",
        )?,
    ])
}

/// The program measures the store's own event and all followers in turns.
async fn settings() -> anyhow::Result<Vec<Goal>> {
    let document = run("settings_bench", &[], None).await?;
    let list = |name| numbers(&document, name);
    let (events, applied, slowest) = (
        list("event_ms")?,
        list("applied_ms")?,
        list("applied_p99_ms")?,
    );
    Ok(vec![
        Goal {
            what: "a setting written to applied in each of eight daemons (Y: to the watch event)"
                .into(),
            reach: Reach::AtMost(3.0),
            measured: Ok(Measured {
                yardstick: format!("{:.2} ms", median(&events)),
                ours: format!("{:.2} ms", median(&applied)),
                rounds: list("ratios")?,
            }),
        },
        Goal {
            what: "the same, the slowest of a hundred".into(),
            reach: Reach::BelowMilliseconds(20.0),
            measured: Ok(Measured {
                yardstick: String::new(),
                ours: format!("{:.2} ms", median(&slowest)),
                rounds: slowest,
            }),
        },
    ])
}

/// What one run of the executions' program showed, and the yardstick before it.
struct Executions {
    inserts: f64,
    document: Value,
}

async fn executions() -> anyhow::Result<Vec<Goal>> {
    let database = postgres::Server::start().await?;
    let mut rounds = Vec::new();
    for _ in 0..EXECUTION_ROUNDS {
        let inserts = match &database {
            Ok(database) => database.inserts_per_second(INSERTS)?,
            Err(_) => f64::NAN,
        };
        let document = run("executions_bench", &[], None).await?;
        rounds.push(Executions { inserts, document });
    }
    let values = |pointer: &str| {
        rounds
            .iter()
            .map(|round| number(&round.document, pointer))
            .collect::<anyhow::Result<Vec<f64>>>()
    };
    let inserts: Vec<f64> = rounds.iter().map(|round| round.inserts).collect();
    let mut goals = Vec::new();
    for (what, pointer, reach) in [
        (
            "executions of nothing per second in the engine, each durable (group commit)",
            "/engine_per_second",
            Reach::AtLeast(2.0),
        ),
        (
            "the same through the handlers of the API, 64 clients in its process",
            "/api_per_second",
            Reach::AtLeast(0.5),
        ),
    ] {
        let ours = values(pointer)?;
        let measured = Measured {
            yardstick: format!("{:.0}/s", median(&inserts)),
            ours: format!("{:.0}/s", median(&ours)),
            rounds: ratios(&ours, &inserts),
        };
        goals.push(Goal {
            what: what.into(),
            reach,
            measured: match &database {
                Ok(_) => Ok(measured),
                Err(why) => Err(why.clone()),
            },
        });
    }
    for (what, pointer) in [
        ("first page of 100,000 executions", "/list_plain_ms"),
        ("the same with two filters", "/list_two_filters_ms"),
    ] {
        let times = values(pointer)?;
        goals.push(Goal {
            what: what.into(),
            reach: Reach::BelowMilliseconds(50.0),
            measured: Ok(Measured {
                yardstick: String::new(),
                ours: format!("{:.1} ms", median(&times)),
                rounds: times,
            }),
        });
    }
    Ok(goals)
}

/// Sets of rules of which one is as the rules of a cluster are, and others are harder.
async fn rules() -> anyhow::Result<Vec<Goal>> {
    let bus = nats::Server::start(Some(CORE)).await?;
    let mut messages = Vec::new();
    let mut sets: Vec<(String, Vec<f64>)> = Vec::new();
    for _ in 0..RULE_ROUNDS {
        messages.push(bus.messages_per_second(MESSAGES)?);
        let document = run("rules_bench", &[], Some(CORE)).await?;
        let scenarios = document["scenarios"].as_array();
        for scenario in scenarios.context("rules_bench names no scenarios")? {
            let name = scenario["name"].as_str().context("a scenario has a name")?;
            let rate = number(scenario, "/events_per_second")?;
            match sets.iter_mut().find(|(known, _)| known == name) {
                Some((_, rates)) => rates.push(rate),
                None => sets.push((name.to_string(), vec![rate])),
            }
        }
    }
    let goals = sets.into_iter().map(|(name, ours)| Goal {
        what: format!("events per second judged against 1,000 rules, one core: {name}"),
        reach: Reach::AtLeast(0.1),
        measured: Ok(Measured {
            yardstick: format!("{:.0}/s", median(&messages)),
            ours: format!("{:.0}/s", median(&ours)),
            rounds: ratios(&ours, &messages),
        }),
    });
    Ok(goals.collect())
}
