//! An agent is emptied, on purpose and without anybody noticing.

use crate::agents::*;
use crate::losses::{SINGLE, STEADY, prepare};
use anyhow::{Context, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tests::{Cluster, Load, eventually};

/// The agent that runs the app of a single instance.
async fn home_of_the_single(cluster: &Cluster) -> anyhow::Result<Place> {
    let places = wait_settled(cluster, &AGENTS, SINGLE, 1).await?;
    places.into_iter().next().context("it runs somewhere")
}

fn others(agent: &str) -> Vec<&'static str> {
    AGENTS.into_iter().filter(|other| *other != agent).collect()
}

/// What was recorded about an agent.
async fn events(cluster: &Cluster, agent: &str) -> anyhow::Result<BTreeSet<String>> {
    let shown = cluster.ok(["node", "inspect", agent, "--json"]).await?;
    let shown = shown.json()?;
    let events = shown["events"].as_array().context("it has events")?;
    let kinds = events.iter().filter_map(|event| event["type"].as_str());
    Ok(kinds.map(str::to_string).collect())
}

async fn wait_event(cluster: &Cluster, agent: &str, kind: &str) -> anyhow::Result<()> {
    eventually(&format!("{kind} of {agent}"), SOON, || async {
        let events = events(cluster, agent).await?;
        ensure!(events.contains(kind), "{events:?}");
        Ok(())
    })
    .await
}

pub async fn a_drain_moves_everything_and_no_request_fails(
    cluster: &Cluster,
) -> anyhow::Result<()> {
    prepare(cluster).await?;
    let old = home_of_the_single(cluster).await?;
    let (one, many) = (
        Load::start(cluster, &cluster.host(SINGLE), "/", 4),
        Load::start(cluster, &cluster.host(STEADY), "/", 4),
    );
    let drained = cluster.ok(["node", "drain", old.agent, "--json"]).await?;
    println!("    empty after {:.1} s", drained.took.as_secs_f64());
    let told = drained.json()?;
    ensure!(
        told["drained"] == true && told["drain"]["left"] == 0,
        "{told}"
    );
    // It is empty because the others run it, not because its time was over.
    ensure!(
        told["drain"]["ends_in_seconds"].as_f64() > Some(60.0),
        "{told}"
    );
    let elsewhere = others(old.agent);
    wait_settled(cluster, &elsewhere, SINGLE, 1).await?;
    wait_settled(cluster, &elsewhere, STEADY, 3).await?;
    let left = places(cluster, &[old.agent], STEADY).await?;
    ensure!(left.is_empty(), "{left:?}");
    one.stop().await.without_failure(50)?;
    many.stop().await.without_failure(50)?;

    let shown = wait_state(cluster, old.agent, "drained").await?;
    ensure!(
        shown.drain.is_some_and(|drain| drain.left == 0),
        "{shown:?}"
    );
    let home = cluster.home.display().to_string();
    let status = cluster.ok(["status", "--home", &home]).await?.stdout;
    ensure!(
        status.contains(&format!("{} is emptied", old.agent)),
        "{status}"
    );
    for kind in ["audit.agent.drain", "agent.draining", "agent.drained"] {
        wait_event(cluster, old.agent, kind).await?;
    }

    // Nothing new goes there; a second drain changes nothing.
    cluster.ok(["node", "drain", old.agent]).await?;
    cluster.ok(["scale", STEADY, "--instances", "6"]).await?;
    wait_settled(cluster, &elsewhere, STEADY, 6).await?;

    cluster.ok(["node", "undrain", old.agent]).await?;
    wait_state(cluster, old.agent, "ready").await?;
    wait_event(cluster, old.agent, "audit.agent.undrain").await?;
    cluster.ok(["scale", STEADY, "--instances", "9"]).await?;
    let places = wait_settled(cluster, &AGENTS, STEADY, 9).await?;
    let here = places.iter().filter(|place| place.agent == old.agent);
    ensure!(
        here.count() == 3,
        "the empty one gets what is new: {places:?}"
    );
    cluster.ok(["scale", STEADY, "--instances", "3"]).await?;
    wait_settled(cluster, &AGENTS, STEADY, 3).await?;

    let nobody = cluster.yard(["node", "drain", "dea-9"]).await?;
    ensure!(
        nobody.status == 7 && nobody.stderr.contains("there is no agent dea-9"),
        "{nobody:?}"
    );
    Ok(())
}

async fn count(cluster: &Cluster, agent: &str, what: &str) -> anyhow::Result<u64> {
    cluster.varz(agent).await?[what]
        .as_u64()
        .with_context(|| format!("{agent} counts its {what}"))
}

/// How many of these each agent has.
async fn counts(cluster: &Cluster, what: &str) -> anyhow::Result<BTreeMap<&'static str, u64>> {
    let mut counts = BTreeMap::new();
    for agent in AGENTS {
        counts.insert(agent, count(cluster, agent, what).await?);
    }
    Ok(counts)
}

pub async fn sensors_and_the_sandboxes_of_packs_move_too(cluster: &Cluster) -> anyhow::Result<()> {
    let folder = tests::cluster::source_root().join("samples/pack");
    let folder = folder.display().to_string();
    cluster.ok(["push", "--path", &folder]).await?;
    // That of the sample and the built-in one.
    let before = eventually("the sensors run", SOON, || async {
        let counts = counts(cluster, "sensors").await?;
        ensure!(counts.values().sum::<u64>() == 2, "{counts:?}");
        Ok(counts)
    })
    .await?;
    let (old, _) = before
        .into_iter()
        .max_by_key(|(_, sensors)| *sensors)
        .context("there are agents")?;
    let run = async || -> anyhow::Result<Value> {
        let words = ["run", "greeter.greet", "name=Ada", "--json"];
        cluster.ok(words).await?.json()
    };
    ensure!(run().await?["status"] == "succeeded");
    cluster.ok(["node", "drain", old]).await?;
    eventually("the sensors run elsewhere", SOON, || async {
        let counts = counts(cluster, "sensors").await?;
        ensure!(
            counts[old] == 0 && counts.values().sum::<u64>() == 2,
            "{old} is emptied: {counts:?}"
        );
        Ok(())
    })
    .await?;
    eventually("no sandbox of a pack is left", SOON, || async {
        let packs = count(cluster, old, "packs").await?;
        ensure!(packs == 0, "{packs} are left");
        Ok(())
    })
    .await?;
    for _ in 0..3 {
        ensure!(run().await?["status"] == "succeeded");
    }
    ensure!(count(cluster, old, "packs").await? == 0, "{old} has work");
    cluster.ok(["node", "undrain", old]).await?;
    wait_all_ready(cluster).await
}

pub async fn a_signal_empties_an_agent_until_it_starts_anew(
    cluster: &Cluster,
) -> anyhow::Result<()> {
    prepare(cluster).await?;
    let old = home_of_the_single(cluster).await?;
    let load = Load::start(cluster, &cluster.host(SINGLE), "/", 4);
    let pid = signal(cluster, old.agent, Signal::SIGUSR2)?;
    wait_state(cluster, old.agent, "drained").await?;
    wait_settled(cluster, &others(old.agent), SINGLE, 1).await?;
    wait_settled(cluster, &others(old.agent), STEADY, 3).await?;
    load.stop().await.without_failure(50)?;
    ensure!(cluster.pid(old.agent)? == pid, "the process stays");
    wait_event(cluster, old.agent, "agent.draining").await?;
    let killed = cluster.kill(old.agent)?;
    cluster.wait_restarted(old.agent, killed).await?;
    wait_state(cluster, old.agent, "ready").await.map(drop)
}

pub async fn a_drain_without_room_elsewhere_is_bounded(cluster: &Cluster) -> anyhow::Result<()> {
    prepare(cluster).await?;
    let before = wait_settled(cluster, &AGENTS, STEADY, 3).await?;
    let old: Vec<String> = before.into_iter().map(|place| place.instance).collect();
    cluster
        .ok(["config", "set", "dea/drain/timeout", "15s"])
        .await?;
    for agent in AGENTS {
        cluster.ok(["node", "drain", agent, "--no-wait"]).await?;
    }
    // Nobody can take them: they serve on, and still do after a while.
    let load = Load::start(cluster, &cluster.host(STEADY), "/", 2);
    tokio::time::sleep(Duration::from_secs(3)).await;
    load.stop().await.without_failure(10)?;
    for agent in AGENTS {
        wait_state(cluster, agent, "drained").await?;
        ensure!(places(cluster, &[agent], STEADY).await?.is_empty());
    }
    cluster.ok(["config", "unset", "dea/drain/timeout"]).await?;
    for agent in AGENTS {
        cluster.ok(["node", "undrain", agent]).await?;
    }
    let after = wait_settled(cluster, &AGENTS, STEADY, 3).await?;
    ensure!(
        after.iter().all(|place| !old.contains(&place.instance)),
        "they were started anew: {after:?}"
    );
    Ok(())
}
