//! What a cluster does to its machine, and that it is put back, also if the node was killed.
//!
//! These clusters live in a network namespace of the test's own: forwarding is a setting of each, so
//! that it can be switched off here without harm to anybody.

use anyhow::{Context, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tests::apps::*;
use tests::cluster::told;
use tests::leftovers::node_process;
use tests::runner::skipped;
use tests::{Cluster, Options, eventually};

/// A network namespace with nothing but its loopback, forwarding off.
struct Network {
    name: String,
}

impl Network {
    fn create(name: &str) -> anyhow::Result<Network> {
        let network = Network {
            name: format!("{name}-{}", std::process::id()),
        };
        told(Command::new("ip").args(["netns", "add", &network.name]))?;
        network.inside(&["ip", "link", "set", "lo", "up"])?;
        network.inside(&["sh", "-c", "echo 0 > /proc/sys/net/ipv4/ip_forward"])?;
        Ok(network)
    }

    fn path(&self) -> PathBuf {
        Path::new("/run/netns").join(&self.name)
    }

    fn inside(&self, words: &[&str]) -> anyhow::Result<String> {
        told(
            Command::new("nsenter")
                .arg(format!("--net={}", self.path().display()))
                .args(words),
        )
    }

    fn forwards(&self) -> anyhow::Result<bool> {
        let value = self.inside(&["cat", "/proc/sys/net/ipv4/ip_forward"])?;
        Ok(value.trim() == "1")
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let _ = told(Command::new("ip").args(["netns", "delete", &self.name]));
    }
}

/// Settings of the machine are put back by the last cluster only.
fn alone(test: &str) -> bool {
    let others = std::fs::read_dir("/run/stackyard/machine").map(|entries| entries.count());
    if others.unwrap_or(0) == 0 {
        return true;
    }
    skipped(test, "another cluster runs on this machine");
    false
}

async fn start(network: &Network) -> anyhow::Result<Cluster> {
    Cluster::start(Options {
        hosts: true,
        network: Some(network.path()),
        ..Options::default()
    })
    .await
}

fn hosts() -> String {
    std::fs::read_to_string("/etc/hosts").unwrap_or_default()
}

/// `kill -9` of the node; its daemons and apps go on.
async fn kill_node(cluster: &Cluster) -> anyhow::Result<()> {
    let home = cluster.home.display().to_string();
    let node = node_process(&home).context("the node has a process")?;
    kill(Pid::from_raw(node), Signal::SIGKILL)?;
    eventually("the node's end", Duration::from_secs(5), || async {
        ensure!(node_process(&home) != Some(node), "it lives");
        Ok(())
    })
    .await
}

fn processes(cluster: &Cluster) -> anyhow::Result<Vec<(String, Option<u32>)>> {
    let parts = cluster.node_status()?.components.into_iter();
    Ok(parts.map(|part| (part.name, part.pid)).collect())
}

pub async fn the_machine_is_left_as_it_was_found(_: &()) -> anyhow::Result<()> {
    if !alone("the_machine_is_left_as_it_was_found") {
        return Ok(());
    }
    let network = Network::create("yard-found")?;
    let before = hosts();
    let cluster = start(&network).await?;
    let tried = a_life(&cluster, &network, &before).await;
    if let Err(error) = tried {
        cluster.print_logs();
        cluster.destroy().await.context(format!("{error:#}"))?;
        return Err(error);
    }
    let home = cluster.home.display().to_string();
    let file = cluster.cluster_file()?;
    let destroyed = cluster
        .ok(["destroy", "--yes", "--home", &home, "--json"])
        .await?
        .json()?;
    ensure!(
        destroyed["destroyed"] == true && destroyed["cluster"] == file.id.as_str(),
        "{destroyed}"
    );
    ensure!(!cluster.home.exists(), "its data is still there");
    as_before(&cluster, &file, &network, &before)
}

fn as_before(
    cluster: &Cluster,
    file: &proto::node::ClusterFile,
    network: &Network,
    hosts_before: &str,
) -> anyhow::Result<()> {
    let left = cluster.leftovers(file);
    ensure!(left.is_empty(), "left behind: {}", left.join("\n"));
    ensure!(!network.forwards()?, "the machine still forwards");
    ensure!(hosts() == hosts_before, "the hosts file is {:?}", hosts());
    Ok(())
}

async fn a_life(cluster: &Cluster, network: &Network, before: &str) -> anyhow::Result<()> {
    let file = cluster.cluster_file()?;
    let home = cluster.home.display().to_string();
    let folder = app(cluster, "kept", &[("index.html", "hello")]);
    push(cluster, "kept", &folder, &["--memory", "64M"])
        .await?
        .success()?;
    ensure!(network.forwards()?, "apps reach the outside");
    eventually(
        "the names of the cluster",
        Duration::from_secs(5),
        || async {
            for name in ["api", "kept"] {
                let name = cluster.host(name);
                ensure!(
                    hosts()
                        .lines()
                        .any(|line| line.ends_with(&format!(" {name}"))),
                    "{name} is not in the hosts file"
                );
            }
            Ok(())
        },
    )
    .await?;

    // Once more changes nothing.
    let parts = processes(cluster)?;
    let names = hosts();
    let again = cluster
        .yard(cluster.up_arguments().into_iter().chain(["--json".into()]))
        .await?
        .success()?;
    ensure!(again.json()?["logged_in"] == true, "{}", again.stdout);
    ensure!(
        again.took < Duration::from_secs(10),
        "it took {:?}",
        again.took
    );
    ensure!(processes(cluster)? == parts, "other processes than before");
    ensure!(hosts() == names, "other names than before");

    let down = cluster
        .ok(["down", "--home", &home, "--json"])
        .await?
        .json()?;
    ensure!(
        down["was_running"] == true
            && down["stopped"].as_array().map(Vec::len) == Some(parts.len()),
        "{down}"
    );
    as_before(cluster, &file, network, before)?;
    let down = cluster
        .ok(["down", "--home", &home, "--json"])
        .await?
        .json()?;
    ensure!(
        down["was_running"] == false,
        "nothing was there to stop: {down}"
    );

    // The same after the death of the node, its apps running: nothing is started to end the rest.
    cluster.up().await?;
    wait_running(cluster, "kept", 1, Duration::from_secs(30)).await?;
    let starts = cluster.log("node").matches("a part was started").count();
    kill_node(cluster).await?;
    ensure!(network.forwards()?, "its apps still need it");
    ensure!(!cluster.leftovers(&file).is_empty(), "its daemons live");
    let down = cluster
        .ok(["down", "--home", &home, "--json"])
        .await?
        .json()?;
    ensure!(down["was_running"] == false, "{down}");
    as_before(cluster, &file, network, before)?;
    ensure!(
        cluster.log("node").matches("a part was started").count() == starts,
        "something was started only to be stopped"
    );

    // After the death of all of it at once.
    cluster.up().await?;
    wait_running(cluster, "kept", 1, Duration::from_secs(30)).await?;
    let parts = processes(cluster)?;
    kill_node(cluster).await?;
    for pid in parts.iter().filter_map(|(_, pid)| *pid) {
        kill(Pid::from_raw(pid as i32), Signal::SIGKILL)?;
    }
    cluster.down().await?;
    as_before(cluster, &file, network, before)?;

    cluster.up().await?;
    wait_running(cluster, "kept", 1, Duration::from_secs(30)).await
}

pub async fn a_cluster_that_stops_takes_nothing_from_one_whose_node_is_dead(
    _: &(),
) -> anyhow::Result<()> {
    if !alone("a_cluster_that_stops_takes_nothing_from_one_whose_node_is_dead") {
        return Ok(());
    }
    let network = Network::create("yard-two")?;
    let before = hosts();
    let one = start(&network).await?;
    let file = one.cluster_file()?;
    let tried = async {
        let other = start(&network).await?;
        let killed = kill_node(&one).await;
        other.destroy().await?;
        killed?;
        ensure!(
            network.forwards()?,
            "the apps of the other cluster still need it"
        );
        ensure!(
            hosts().contains(&one.host("api")),
            "the names of the other cluster stay"
        );
        one.ok(["apps"]).await?;
        one.down().await?;
        as_before(&one, &file, &network, &before)
    }
    .await;
    one.destroy().await?;
    tried
}
