//! An agent dies with all it ran, is cut off, or only restarts.

use crate::agents::*;
use anyhow::{Context, ensure};
use nix::sys::signal::Signal;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};
use tests::apps::{push, server};
use tests::{Cluster, Load, eventually};

/// An app of three instances that outlives every test here, and one of a single instance.
pub const STEADY: &str = "steady";
pub const SINGLE: &str = "single";

/// How long an agent may be silent in this suite.
const LOST_AFTER: Duration = Duration::from_secs(8);
/// What a replacement may take beyond that, on a slow and busy machine.
const REPLACED: Duration = Duration::from_secs(30);

/// Both apps are there, one instance on each agent, and losses are noticed soon. What was done before stays.
pub async fn prepare(cluster: &Cluster) -> anyhow::Result<()> {
    if cluster.yard(["app", SINGLE]).await?.status == 0 {
        return wait_all_ready(cluster).await;
    }
    for (key, value) in [
        ("health-manager/agent/lost_after", "8s"),
        ("dea/heartbeat/period", "1s"),
    ] {
        cluster.ok(["config", "set", key, value]).await?;
    }
    for (name, instances) in [(STEADY, "3"), (SINGLE, "1")] {
        let folder = server(cluster, name);
        push(
            cluster,
            name,
            &folder,
            &["--memory", "64M", "--instances", instances],
        )
        .await?
        .success()?;
    }
    let places = wait_settled(cluster, &AGENTS, STEADY, 3).await?;
    let agents: BTreeSet<&str> = places.iter().map(|place| place.agent).collect();
    ensure!(agents.len() == 3, "one on each agent: {places:?}");
    wait_settled(cluster, &AGENTS, SINGLE, 1).await.map(drop)
}

pub async fn an_agent_lost_with_its_containers_is_replaced(
    cluster: &Cluster,
) -> anyhow::Result<()> {
    prepare(cluster).await?;
    let (lost, others) = ("dea-2", ["dea-1", "dea-3"]);
    // Its machine does not come back before it is over.
    cluster
        .ok(["config", "set", "node/restart/first_delay", "40s"])
        .await?;
    let load = Load::start(cluster, &cluster.host(STEADY), "/", 4);
    let begun = Instant::now();
    kill_with_containers(cluster, lost)?;
    wait_all_indices(cluster, &others, STEADY, 3).await?;
    let running = begun.elapsed();
    let host = cluster.host(STEADY);
    for index in 0..3 {
        eventually(&format!("an answer of index {index}"), SOON, || async {
            let body = cluster.body(&host, "/").await?;
            ensure!(body.trim().ends_with(&index.to_string()), "{body}");
            Ok(())
        })
        .await?;
    }
    let answered = begun.elapsed();
    let seen = load.stop().await;
    println!(
        "    elsewhere {:.1} s after the kill, answering after {:.1} s (an agent is lost after {} s); {} of {} requests failed",
        running.as_secs_f64(),
        answered.as_secs_f64(),
        LOST_AFTER.as_secs(),
        seen.failures.len(),
        seen.answered
    );
    ensure!(
        running > LOST_AFTER.saturating_sub(Duration::from_secs(2)),
        "before it was lost: {running:?}"
    );
    ensure!(answered < LOST_AFTER + REPLACED, "{answered:?}");
    // Those on their way to the dead break, and nothing else.
    ensure!(
        seen.failures.len() <= 4,
        "{} of {} failed: {:?}",
        seen.failures.len(),
        seen.answered,
        seen.failures.first()
    );
    wait_state(cluster, lost, "lost").await?;
    eventually("the loss is told as the cause", SOON, || async {
        let told = cluster.ok(["why", STEADY]).await?.stdout;
        let cause = format!("its agent {lost} was lost");
        ensure!(
            told.contains("was started again on") && told.contains(&cause),
            "{told}"
        );
        Ok(())
    })
    .await?;
    cluster
        .ok(["config", "unset", "node/restart/first_delay"])
        .await?;
    // It returns with nothing, and takes work again.
    eventually("the agent is back", Duration::from_secs(90), || async {
        let seen = crate::agents::seen(cluster, lost).await?;
        ensure!(seen.state == "ready", "{seen:?}");
        Ok(())
    })
    .await?;
    wait_settled(cluster, &AGENTS, STEADY, 3).await?;
    cluster.ok(["scale", STEADY, "--instances", "6"]).await?;
    let places = wait_settled(cluster, &AGENTS, STEADY, 6).await?;
    ensure!(
        places.iter().any(|place| place.agent == lost),
        "it gets work: {places:?}"
    );
    cluster.ok(["scale", STEADY, "--instances", "3"]).await?;
    wait_settled(cluster, &AGENTS, STEADY, 3).await.map(drop)
}

/// The agent and one instance on it.
async fn inhabited(cluster: &Cluster) -> anyhow::Result<Place> {
    let places = wait_settled(cluster, &AGENTS, STEADY, 3).await?;
    places
        .into_iter()
        .max_by_key(|place| (place.agent, place.index))
        .context("somebody runs it")
}

pub async fn an_agent_that_is_cut_off_serves_on_and_its_extras_stop_last(
    cluster: &Cluster,
) -> anyhow::Result<()> {
    prepare(cluster).await?;
    let old = inhabited(cluster).await?;
    let others: Vec<&'static str> = AGENTS
        .into_iter()
        .filter(|agent| *agent != old.agent)
        .collect();
    let load = Load::start(cluster, &cluster.host(STEADY), "/", 4);
    signal(cluster, old.agent, Signal::SIGSTOP)?;
    let replaced = wait_all_indices(cluster, &others, STEADY, 3).await;
    let answer = direct(&old).await;
    let pid = signal(cluster, old.agent, Signal::SIGCONT)?;
    replaced?;
    answer.context("what is cut off serves on")?;
    // From now on there are more than wanted; at no time are there fewer. Nothing starts meanwhile, so
    // that the order in which the agents are asked does not matter.
    let enough = BTreeSet::from([0, 1, 2]);
    let places = eventually("the extras are stopped", SOON, || async {
        let places = places(cluster, &AGENTS, STEADY).await?;
        if running_indices(&places) == enough {
            let living = places.iter().filter(|place| place.state != "CRASHED");
            ensure!(living.count() == 3, "{places:?}");
        }
        Ok(places)
    })
    .await?;
    ensure!(
        running_indices(&places) == enough,
        "fewer than wanted run: {places:?}"
    );
    ensure!(cluster.pid(old.agent)? == pid, "it is the same process");
    let seen = load.stop().await;
    seen.without_failure(100)?;
    wait_all_ready(cluster).await
}

/// A request to an instance itself, past the router.
async fn direct(place: &Place) -> anyhow::Result<String> {
    let client = reqwest::Client::builder().no_proxy().build()?;
    let answer = client
        .get(format!("http://{}/", place.address))
        .timeout(Duration::from_secs(20))
        .send()
        .await?
        .error_for_status()?;
    Ok(answer.text().await?)
}

pub async fn an_agent_that_restarts_finds_its_own_again(cluster: &Cluster) -> anyhow::Result<()> {
    prepare(cluster).await?;
    let before = wait_settled(cluster, &AGENTS, STEADY, 3).await?;
    let load = Load::start(cluster, &cluster.host(STEADY), "/", 4);
    for agent in AGENTS {
        let pid = cluster.kill(agent)?;
        cluster.wait_restarted(agent, pid).await?;
    }
    let after = wait_settled(cluster, &AGENTS, STEADY, 3).await?;
    let of = |places: &[Place]| -> BTreeSet<(&'static str, String)> {
        places
            .iter()
            .map(|place| (place.agent, place.instance.clone()))
            .collect()
    };
    ensure!(of(&before) == of(&after), "{before:?} {after:?}");
    load.stop().await.without_failure(50)?;
    wait_all_ready(cluster).await
}
