//! From an event to the first instruction of the action that a rule starts, on a whole cluster.
//!
//! One event at a time, apart from each other: how long one takes, not how many there are. After
//! each round the yardsticks have their turn.

use super::pipe::Pipe;
use crate::goal::{Goal, Measured, Reach};
use crate::machine::milliseconds;
use crate::statistics::{median, quantile};
use crate::yardsticks::spawn::{self, unix_nanos};
use crate::yardsticks::{nats, postgres};
use anyhow::{Context, ensure};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tests::automation::Api;
use tests::{Cluster, eventually};

const ROUNDS: usize = 12;
/// Events of a round.
const EVENTS: usize = 25;
/// Between two events: the first action has ended and is on record.
const APART: Duration = Duration::from_millis(80);
/// Events before the first that counts.
const WARMING: usize = 10;
/// Cold starts; each wants a sandbox to go first.
const COLD_ROUNDS: usize = 8;
/// With this an agent lets go of a sandbox that is idle, looking every other second.
const COLD_IDLE: &str = "1s";
const COLD_PAUSE: Duration = Duration::from_millis(4500);
const ENDS_WITHIN: Duration = Duration::from_secs(60);

/// The pipe that shell actions write to.
const PIPE: &str = "/tmp/stackyard-bench-first";

const PACK: &[(&str, &str)] = &[
    (
        "pack.yaml",
        "name: bench\nref: bench\ndescription: Tells when it began.\nversion: 1.0.0\nauthor: bench\nemail: bench@example.org\n",
    ),
    (
        "actions/stamp.yaml",
        "name: stamp\ndescription: Tells when it began, and where.\nrunner_type: python-script\nentry_point: stamp.py\nparameters:\n  number:\n    type: integer\n    required: true\n",
    ),
    (
        "actions/stamp.py",
        "import socket\nimport time\n\nfrom st2common.runners.base_action import Action\n\n\nclass Stamp(Action):\n    def run(self, number):\n        at = time.time_ns()\n        return {\"at\": at, \"number\": number, \"sandbox\": socket.gethostname()}\n",
    ),
];

pub async fn measure(
    cluster: &Cluster,
    api: &Api,
    bus: &nats::Server,
    database: Result<&postgres::Server, &str>,
) -> anyhow::Result<Vec<Goal>> {
    let mut goals = shells(api, bus, database).await?;
    goals.extend(pythons(cluster, api).await?);
    Ok(goals)
}

/// A rule that starts an action for every request to a webhook of its own.
async fn rule(api: &Api, name: &str, action: &str, parameters: Value) -> anyhow::Result<()> {
    let rule = json!({
        "name": name, "pack": "default", "enabled": true, "description": "Starts what is measured.",
        "trigger": {"type": "core.st2.webhook", "parameters": {"url": name}},
        "criteria": {"trigger.body.kind": {"type": "equals", "pattern": "measured"}},
        "action": {"ref": action, "parameters": parameters},
    });
    api.post("rules", &rule).await.map(|_| ())
}

async fn send(api: &Api, hook: &str, number: usize) -> anyhow::Result<()> {
    let body = json!({"kind": "measured", "number": number});
    api.post(&format!("webhooks/{hook}"), &body)
        .await
        .map(|_| ())
}

/// Runs an action by itself until it has succeeded.
async fn run(api: &Api, action: &str, parameters: Value) -> anyhow::Result<()> {
    let asked = json!({"action": action, "parameters": parameters});
    let id = api.post("executions", &asked).await?["id"]
        .as_str()
        .context("the id of an execution")?
        .to_string();
    eventually(action, ENDS_WITHIN, || async {
        let execution = api.get(&format!("executions/{id}")).await?;
        ensure!(execution["status"] == "succeeded", "{execution}");
        Ok(())
    })
    .await
}

struct Shells {
    /// Milliseconds of each event of a round, round by round.
    ours: Vec<Vec<f64>>,
    hops: Vec<f64>,
    inserts: Vec<f64>,
    spawns: Vec<f64>,
}

const SHELL: &str =
    "event → rule → durable execution → first instruction of a shell action, warm, p50";
const SHELL_SLOWEST: &str = "the same, p99";

async fn shells(
    api: &Api,
    bus: &nats::Server,
    database: Result<&postgres::Server, &str>,
) -> anyhow::Result<Vec<Goal>> {
    let hook = "bench_shell";
    let command = format!("echo {{{{ trigger.body.number }}}} >{PIPE}");
    rule(api, hook, "core.local", json!({"cmd": command})).await?;
    let make = format!("rm -f {PIPE}; mkfifo -m 666 {PIPE}");
    run(api, "core.local", json!({"cmd": make})).await?;
    let pipe = Pipe::open(PIPE)?;
    let mut shells = Shells {
        ours: Vec::new(),
        hops: Vec::new(),
        inserts: Vec::new(),
        spawns: Vec::new(),
    };
    let mut number = 0;
    let mut one = async || {
        number += 1;
        let begun = Instant::now();
        send(api, hook, number).await?;
        let first = pipe.arrival(&number.to_string(), ENDS_WITHIN)?;
        tokio::time::sleep(APART).await;
        anyhow::Ok(milliseconds(first - begun))
    };
    for _ in 0..WARMING {
        one().await?;
    }
    for _ in 0..ROUNDS {
        let mut round = Vec::new();
        for _ in 0..EVENTS {
            round.push(one().await?);
        }
        shells.ours.push(round);
        shells.hops.push(median(&bus.hops(EVENTS).await?));
        shells.spawns.push(median(&spawn::shells(EVENTS)?));
        if let Ok(database) = database {
            shells.inserts.push(median(&database.inserts(EVENTS)?));
        }
    }
    Ok(shells.goals(database.err()))
}

impl Shells {
    fn goals(&self, without_database: Option<&str>) -> Vec<Goal> {
        let all = self.ours.concat();
        let text = format!(
            "p50 {:.2} ms, p99 {:.2} ms",
            quantile(&all, 0.5),
            quantile(&all, 0.99)
        );
        let yardsticks: Vec<f64> = (0..self.inserts.len())
            .map(|round| self.hops[round] + self.inserts[round] + self.spawns[round])
            .collect();
        let ratios = self
            .ours
            .iter()
            .zip(&yardsticks)
            .map(|(ours, yardstick)| median(ours) / yardstick)
            .collect();
        let yardstick = format!(
            "{:.2} ms ({:.2} + {:.2} + {:.2})",
            median(&yardsticks),
            median(&self.hops),
            median(&self.inserts),
            median(&self.spawns)
        );
        let typical = match without_database {
            Some(why) => Err(why.to_string()),
            None => Ok(Measured {
                yardstick,
                ours: text.clone(),
                rounds: ratios,
            }),
        };
        vec![
            Goal {
                what: SHELL.into(),
                reach: Reach::AtMost(2.0),
                measured: typical,
            },
            Goal {
                what: SHELL_SLOWEST.into(),
                reach: Reach::BelowMilliseconds(25.0),
                measured: Ok(Measured {
                    yardstick: String::new(),
                    ours: text,
                    rounds: vec![quantile(&all, 0.99)],
                }),
            },
        ]
    }
}

/// What a Python action told of itself.
#[derive(Debug)]
struct Stamp {
    unix_nanos: i128,
    sandbox: String,
}

const PYTHON_HOOK: &str = "bench_python";
const PYTHON_WARM: &str = "event → … → first line of a Python action, warm";
const PYTHON_COLD: &str = "event → … → first line of a Python action, cold";

async fn pythons(cluster: &Cluster, api: &Api) -> anyhow::Result<Vec<Goal>> {
    let folder = tests::apps::app(cluster, "bench", PACK);
    cluster.yard_in(&folder, ["push"]).await?.success()?;
    let parameters = json!({"number": "{{ trigger.body.number }}"});
    rule(api, PYTHON_HOOK, "bench.stamp", parameters).await?;
    let mut pythons = Pythons { api, sent: 0 };
    pythons.round(WARMING).await?;
    let (mut warm, mut warm_spawns) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let events = pythons.round(EVENTS).await?;
        warm.push(events.iter().map(|(took, _)| *took).collect::<Vec<_>>());
        warm_spawns.push(median(&spawn::pythons(5)?));
    }
    cluster
        .ok(["config", "set", "dea/pack/idle", COLD_IDLE])
        .await?;
    let (mut cold, mut cold_spawns) = (Vec::new(), Vec::new());
    let mut before = String::new();
    for _ in 0..COLD_ROUNDS {
        tokio::time::sleep(COLD_PAUSE).await;
        for (took, sandbox) in pythons.round(1).await? {
            ensure!(
                sandbox != before,
                "the sandbox {sandbox} had not gone: nothing cold was measured"
            );
            before = sandbox;
            cold.push(vec![took]);
        }
        cold_spawns.push(median(&spawn::pythons(5)?));
    }
    cluster.ok(["config", "unset", "dea/pack/idle"]).await?;
    Ok(vec![
        python_goal(PYTHON_WARM, Reach::AtMost(0.2), &warm, &warm_spawns),
        python_goal(PYTHON_COLD, Reach::AtMost(1.1), &cold, &cold_spawns),
    ])
}

fn python_goal(what: &str, reach: Reach, ours: &[Vec<f64>], spawns: &[f64]) -> Goal {
    let all = ours.concat();
    let ratios = ours.iter().zip(spawns);
    Goal {
        what: what.into(),
        reach,
        measured: Ok(Measured {
            yardstick: format!("{:.1} ms", median(spawns)),
            ours: format!(
                "p50 {:.2} ms, p99 {:.2} ms",
                quantile(&all, 0.5),
                quantile(&all, 0.99)
            ),
            rounds: ratios.map(|(ours, spawn)| median(ours) / spawn).collect(),
        }),
    }
}

struct Pythons<'a> {
    api: &'a Api,
    sent: usize,
}

impl Pythons<'_> {
    /// Sends events, then reads when their actions began: milliseconds and sandbox of each.
    async fn round(&mut self, events: usize) -> anyhow::Result<Vec<(f64, String)>> {
        let mut begun = BTreeMap::new();
        for _ in 0..events {
            self.sent += 1;
            begun.insert(self.sent, unix_nanos());
            send(self.api, PYTHON_HOOK, self.sent).await?;
            tokio::time::sleep(APART).await;
        }
        let stamps = eventually("what actions tell of themselves", ENDS_WITHIN, || async {
            let stamps = self.stamps(events).await?;
            ensure!(
                begun.keys().all(|number| stamps.contains_key(number)),
                "{} of {events} have ended: {stamps:?}",
                stamps.len()
            );
            Ok(stamps)
        })
        .await?;
        Ok(stamps
            .into_iter()
            .filter_map(|(number, stamp)| {
                let begun = begun.get(&number)?;
                let took = (stamp.unix_nanos - begun) as f64 / 1e6;
                Some((took, stamp.sandbox))
            })
            .collect())
    }

    /// Of the newest executions, by number.
    async fn stamps(&self, newest: usize) -> anyhow::Result<BTreeMap<usize, Stamp>> {
        let path = format!(
            "executions?rule=default.{PYTHON_HOOK}&limit={newest}&include_attributes=status,result"
        );
        let executions = self.api.get(&path).await?;
        let mut stamps = BTreeMap::new();
        for execution in executions.as_array().into_iter().flatten() {
            ensure!(
                execution["status"] != "failed",
                "an action failed: {execution}"
            );
            let result = &execution["result"]["result"];
            if let (Some(at), Some(number), Some(sandbox)) = (
                result["at"].as_i64(),
                result["number"].as_u64(),
                result["sandbox"].as_str(),
            ) {
                let stamp = Stamp {
                    unix_nanos: at.into(),
                    sandbox: sandbox.to_string(),
                };
                stamps.insert(usize::try_from(number)?, stamp);
            }
        }
        Ok(stamps)
    }
}
