//! Whatever dies, users notice little, and everything comes back.

use anyhow::{Context, ensure};
use std::time::{Duration, Instant};
use tests::apps::*;
use tests::{Cluster, Load, Options, eventually};

pub async fn a_crashed_instance_is_back_within_a_second(cluster: &Cluster) -> anyhow::Result<()> {
    let folder = server(cluster, "crashing");
    push(cluster, "crashing", &folder, &["--memory", "64M"])
        .await?
        .success()?;
    let host = cluster.host("crashing");
    cluster.body(&host, "/").await?;
    let _ = cluster.get(&host, "/crash").await;
    let start = Instant::now();
    eventually(
        "an answer after the crash",
        Duration::from_secs(10),
        || async { cluster.body(&host, "/").await },
    )
    .await?;
    let took = start.elapsed();
    ensure!(took < Duration::from_secs(1), "back after {took:?}");
    println!("    back after {} ms", took.as_millis());
    let events = cluster.ok(["events", "crashing"]).await?;
    ensure!(events.stdout.contains("crash"), "{}", events.stdout);
    ensure!(
        events.stdout.contains('7'),
        "the exit status is told: {}",
        events.stdout
    );
    Ok(())
}

pub async fn each_daemon_may_be_killed_under_load(cluster: &Cluster) -> anyhow::Result<()> {
    let folder = server(cluster, "steady");
    push(
        cluster,
        "steady",
        &folder,
        &["--memory", "64M", "--instances", "2"],
    )
    .await?
    .success()?;
    wait_running(cluster, "steady", 2, Duration::from_secs(20)).await?;
    let mut faults = Vec::new();
    for component in [
        "controller-1",
        "stager-1",
        "health-manager-1",
        "collector-1",
        "ssh-proxy-1",
        "dea-1",
        "etcd",
        "nats",
        "router-1",
    ] {
        let load = Load::start(cluster, &cluster.host("steady"), "/", 4);
        tokio::time::sleep(Duration::from_millis(500)).await;
        let pid = cluster.kill(component)?;
        cluster.wait_restarted(component, pid).await?;
        tokio::time::sleep(Duration::from_secs(2)).await;
        let seen = load.stop().await;
        // A killed router takes the requests in flight with it: at most one of each client.
        let allowed = if component == "router-1" { 4 } else { 0 };
        if seen.failures.len() > allowed {
            faults.push(format!(
                "{component}: {} of {} failed, first {:?}",
                seen.failures.len(),
                seen.answered,
                seen.failures.first()
            ));
        }
        ensure!(
            seen.answered > 50,
            "{component}: only {} requests were answered",
            seen.answered
        );
    }
    ensure!(faults.is_empty(), "{}", faults.join("; "));
    wait_running(cluster, "steady", 2, Duration::from_secs(20)).await
}

pub async fn a_killed_node_harms_nobody_and_adopts_its_daemons(
    cluster: &Cluster,
) -> anyhow::Result<()> {
    let folder = server(cluster, "nodeless");
    push(cluster, "nodeless", &folder, &["--memory", "64M"])
        .await?
        .success()?;
    let pids = |status: proto::node::NodeStatus| {
        status
            .components
            .into_iter()
            .map(|component| (component.name, component.pid))
            .collect::<Vec<_>>()
    };
    let before = pids(cluster.node_status()?);
    let load = Load::start(cluster, &cluster.host("nodeless"), "/", 4);
    let node = tests::leftovers::node_process(&cluster.home.display().to_string())
        .context("the node has a process")?;
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(node),
        nix::sys::signal::Signal::SIGKILL,
    )?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    cluster.up().await?;
    let after = pids(cluster.node_status()?);
    ensure!(
        before == after,
        "the same processes go on: {before:?} {after:?}"
    );
    let killed = cluster.kill("router-1")?;
    cluster.wait_restarted("router-1", killed).await?;
    let seen = load.stop().await;
    ensure!(
        seen.failures.len() <= 4,
        "only what was in flight in the router breaks: {:?}",
        seen.failures
    );
    ensure!(seen.answered > 50, "only {} were answered", seen.answered);
    cluster
        .ok(["delete", "nodeless", "--force"])
        .await
        .map(drop)
}

pub async fn a_killed_agent_finds_its_instances_again(cluster: &Cluster) -> anyhow::Result<()> {
    let folder = server(cluster, "adopted");
    push(cluster, "adopted", &folder, &["--memory", "64M"])
        .await?
        .success()?;
    let before = cluster.ok(["app", "adopted", "--json"]).await?.json()?;
    let pid = cluster.kill("dea-1")?;
    cluster.wait_restarted("dea-1", pid).await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let after = cluster.ok(["app", "adopted", "--json"]).await?.json()?;
    let guid = |value: &serde_json::Value| {
        value["processes"][0]["instances"][0]["guid"]
            .as_str()
            .map(str::to_string)
    };
    ensure!(guid(&before).is_some(), "the instance has a guid: {before}");
    ensure!(
        guid(&before) == guid(&after),
        "the same instance runs: {before} {after}"
    );
    // Its crash is still noticed by the agent that adopted it.
    let host = cluster.host("adopted");
    let _ = cluster.get(&host, "/crash").await;
    eventually(
        "an answer after the crash",
        Duration::from_secs(10),
        || async { cluster.body(&host, "/").await },
    )
    .await
    .map(drop)
}

pub async fn the_bus_may_be_away_for_thirty_seconds(cluster: &Cluster) -> anyhow::Result<()> {
    let folder = server(cluster, "busless");
    push(cluster, "busless", &folder, &["--memory", "64M"])
        .await?
        .success()?;
    let load = Load::start(cluster, &cluster.host("busless"), "/", 4);
    let pid = nix::unistd::Pid::from_raw(cluster.pid("nats")?);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGSTOP)?;
    tokio::time::sleep(Duration::from_secs(30)).await;
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGCONT)?;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let seen = load.stop().await;
    seen.without_failure(1000)?;
    wait_running(cluster, "busless", 1, Duration::from_secs(20)).await?;
    // And the cluster works as before.
    push(cluster, "busless", &folder, &["--memory", "64M"])
        .await?
        .success()
        .map(drop)
}

pub async fn two_clusters_run_side_by_side(cluster: &Cluster) -> anyhow::Result<()> {
    let other = Cluster::start(Options::default()).await?;
    let tried = async {
        for (each, text) in [(cluster, "first"), (&other, "second")] {
            let folder = app(each, "side", &[("index.html", text)]);
            push(each, "side", &folder, &["--memory", "64M"])
                .await?
                .success()?;
        }
        for (each, text) in [(cluster, "first"), (&other, "second")] {
            let body = each.body(&each.host("side"), "/").await?;
            ensure!(body.contains(text), "{body}");
        }
        anyhow::Ok(())
    }
    .await;
    other.destroy().await?;
    tried?;
    // Taking one down leaves the other as it was.
    cluster.body(&cluster.host("side"), "/").await?;
    cluster.ok(["delete", "side", "--force"]).await.map(drop)
}

pub async fn down_leaves_nothing_and_up_brings_the_same_apps_back(
    cluster: &Cluster,
) -> anyhow::Result<()> {
    let folder = server(cluster, "durable");
    push(cluster, "durable", &folder, &["--memory", "64M"])
        .await?
        .success()?;
    let file = cluster.cluster_file()?;
    cluster.down().await?;
    let left = cluster.leftovers(&file);
    ensure!(left.is_empty(), "left behind: {}", left.join("\n"));
    cluster.up().await?;
    let again = cluster.up().await?;
    ensure!(
        again.took < Duration::from_secs(10),
        "a second up has nothing to do: {:?}",
        again.took
    );
    eventually("the app of before", Duration::from_secs(30), || async {
        cluster.body(&cluster.host("durable"), "/").await
    })
    .await
    .map(drop)
}
