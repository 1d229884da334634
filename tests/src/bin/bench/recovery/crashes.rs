//! An instance is killed: how long the router still chooses it, what requests feel of it, and when a replacement
//! answers.

use super::server::{PROGRAM, Watcher, folder};
use crate::goal::{Goal, Measured, Reach};
use crate::platform::starts_sum;
use crate::statistics::{median, quantile};
use anyhow::{Context, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};
use tests::{Cluster, Load, agents};

const KILLS: usize = 40;
const REPLACEMENTS: usize = 20;
/// Clients of the app whose instances are killed.
const CLIENTS: usize = 4;
/// Between two of them everything comes to rest, and the pool is filled.
const REST: Duration = Duration::from_millis(700);

pub async fn measure(cluster: &Cluster) -> anyhow::Result<Vec<Goal>> {
    // However often it crashes, it is restarted at once.
    for (key, value) in [
        ("health-manager/crash/immediate_restarts", "100"),
        ("health-manager/crash/first_delay", "100ms"),
        ("health-manager/crash/max_delay", "100ms"),
    ] {
        cluster.ok(["config", "set", key, value]).await?;
    }
    let mut goals = forgotten(cluster).await?;
    goals.push(replaced(cluster).await?);
    Ok(goals)
}

async fn push(cluster: &Cluster, app: &str, instances: usize) -> anyhow::Result<Watcher> {
    let source = folder(cluster, app, 0)?.display().to_string();
    let instances = instances.to_string();
    let words = ["push", app, "--path", &source, "--memory", "32M"];
    let more = ["--disk", "64M", "--instances", &instances];
    cluster.ok(words.iter().chain(&more)).await?;
    Watcher::new(cluster, app)
}

async fn settled(watcher: &Watcher, count: usize) -> anyhow::Result<BTreeSet<String>> {
    let waiting = watcher.until("all instances", Instant::now(), async |watcher| {
        Ok(watcher.chosen().await?.len() == count)
    });
    waiting.await?;
    tokio::time::sleep(REST).await;
    watcher.chosen().await
}

fn kill_one(cluster: &Cluster) -> anyhow::Result<Instant> {
    let running = agents::running(cluster, "dea-1", PROGRAM)?;
    let victim = running.first().context("an instance runs")?;
    let begun = Instant::now();
    kill(Pid::from_raw(*victim), Signal::SIGKILL)?;
    Ok(begun)
}

async fn forgotten(cluster: &Cluster) -> anyhow::Result<Vec<Goal>> {
    let app = "twins";
    let watcher = push(cluster, app, 2).await?;
    let load = Load::start(cluster, &cluster.host(app), "/", CLIENTS);
    let mut times = Vec::new();
    for _ in 0..KILLS {
        let before = settled(&watcher, 2).await?;
        let begun = kill_one(cluster)?;
        let gone = watcher.until("the router forgets it", begun, async |watcher| {
            Ok(!before.is_subset(&watcher.chosen().await?))
        });
        times.push(gone.await?);
    }
    let seen = load.stop().await;
    ensure!(seen.answered > 0, "nobody asked");
    cluster.ok(["delete", app, "--force"]).await?;
    let goal = |what: &str, ours: String, reach, rounds| Goal {
        what: what.into(),
        reach,
        measured: Ok(Measured {
            yardstick: String::new(),
            ours,
            rounds,
        }),
    };
    let failed = seen.failures.len() as f64;
    let slowest = quantile(&times, 0.99);
    Ok(vec![
        goal(
            "an instance killed to the router no longer choosing it, p50",
            format!("{:.2} ms", median(&times)),
            Reach::BelowMilliseconds(5.0),
            times,
        ),
        goal(
            "the same, p99",
            format!("{slowest:.2} ms"),
            Reach::BelowMilliseconds(20.0),
            vec![slowest],
        ),
        goal(
            "requests that failed meanwhile",
            format!("{failed:.0} of {} ({KILLS} kills)", seen.answered),
            Reach::AtMostCount(0.0),
            vec![failed],
        ),
    ])
}

async fn replaced(cluster: &Cluster) -> anyhow::Result<Goal> {
    let app = "single";
    let watcher = push(cluster, app, 1).await?;
    let (mut times, mut own, mut beyond) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..REPLACEMENTS {
        settled(&watcher, 1).await?;
        let before = watcher.ask().await;
        ensure!(before.is_some(), "it does not answer");
        let started = starts_sum(cluster).await?;
        let begun = kill_one(cluster)?;
        let answers = watcher.until("a replacement answers", begun, async |watcher| {
            let answered = watcher.ask().await;
            Ok(answered.is_some() && answered != before)
        });
        let took = answers.await?;
        let after = starts_sum(cluster).await?;
        ensure!(
            after.1 == started.1 + 1.0,
            "one start: {started:?}, {after:?}"
        );
        let start = (after.0 - started.0) * 1000.0;
        times.push(took);
        own.push(start);
        beyond.push(took - start);
    }
    cluster.ok(["delete", app, "--force"]).await?;
    Ok(Goal {
        what: "an instance killed to a replacement answering, beyond the start of that in its agent (Y)".into(),
        reach: Reach::BelowMilliseconds(50.0),
        measured: Ok(Measured {
            yardstick: format!("{:.1} ms", median(&own)),
            ours: format!("{:.1} ms ({:.1} ms beyond Y)", median(&times), median(&beyond)),
            rounds: beyond,
        }),
    })
}
