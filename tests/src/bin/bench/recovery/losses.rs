//! An agent is lost with its hundred instances: when do all answer elsewhere?

use super::server::{Watcher, folder};
use crate::goal::{Goal, Measured, Reach};
use crate::machine::milliseconds;
use anyhow::{Context, ensure};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};
use tests::{Cluster, agents, eventually};

const APP: &str = "hundred";
const INSTANCES: usize = 100;
const SOON: Duration = Duration::from_secs(60);

pub async fn measure(cluster: &Cluster) -> anyhow::Result<Vec<Goal>> {
    // The lost one does not come back before it is over.
    let rests = ["config", "set", "node/restart/first_delay", "1m"];
    cluster.ok(rests).await?;
    let source = folder(cluster, APP, 0)?.display().to_string();
    let words = ["push", APP, "--path", &source, "--memory", "16M"];
    cluster.ok(words.iter().chain(&["--disk", "64M"])).await?;
    let watcher = Watcher::new(cluster, APP)?;
    let begun = Instant::now();
    let count = INSTANCES.to_string();
    cluster.ok(["scale", APP, "--instances", &count]).await?;
    let first = all_answer(&watcher, begun, &BTreeSet::new()).await?;
    let started = milliseconds(begun.elapsed());

    cluster
        .ok(["node", "role", "add", "machine-1", "dea"])
        .await?;
    eventually("a second agent takes work", SOON, || async {
        let listed = cluster.ok(["node", "list", "--json"]).await?.json()?;
        let agents = listed["agents"].as_array().context("agents")?;
        let ready = agents.iter().filter(|agent| agent["state"] == "ready");
        ensure!(ready.count() == 2, "{listed}");
        Ok(())
    })
    .await?;
    let shown = cluster.ok(["config", "get", "health-manager/agent/lost_after", "--json"]);
    let shown = shown.await?.json()?;
    let text = shown["value"].as_str().context("a duration")?;
    let lost_after: u32 = text.trim_end_matches('s').parse().context("in seconds")?;
    let lost_after = f64::from(lost_after) * 1000.0;

    agents::kill_with_containers(cluster, "dea-1")?;
    let begun = Instant::now();
    all_answer(&watcher, begun, &first).await?;
    let took = milliseconds(begun.elapsed());
    let beyond = took - lost_after - started;
    Ok(vec![Goal {
        what: format!(
            "an agent and its {INSTANCES} instances killed to all answering elsewhere, beyond the loss time and the start of {INSTANCES} instances alone (Y)"
        ),
        reach: Reach::BelowMilliseconds(3000.0),
        measured: Ok(Measured {
            yardstick: format!("{:.1} s", started / 1000.0),
            ours: format!(
                "{:.1} s (loss time {:.0} s; {:.1} s beyond both)",
                took / 1000.0,
                lost_after / 1000.0,
                beyond / 1000.0
            ),
            rounds: vec![beyond],
        }),
    }])
}

/// Asks until so many instances have answered that are none of these.
async fn all_answer(
    watcher: &Watcher,
    begun: Instant,
    others: &BTreeSet<String>,
) -> anyhow::Result<BTreeSet<String>> {
    let mut seen = BTreeSet::new();
    let all = watcher.until("all of them answer", begun, async |watcher| {
        let answered = watcher.ask().await;
        seen.extend(answered.filter(|instance| !others.contains(instance)));
        Ok(seen.len() == INSTANCES)
    });
    all.await?;
    Ok(seen)
}
