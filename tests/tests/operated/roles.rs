//! Roles of the machine, changed while the cluster runs: what is added works at once, what is removed is
//! emptied first, and what would hurt is refused.

use anyhow::{Context, ensure};
use serde_json::Value;
use std::collections::BTreeSet;
use std::time::Duration;
use tests::apps::*;
use tests::{Cluster, Load, eventually};

const MACHINE: &str = "machine-1";
const APP: &str = "roaming";
const SOON: Duration = Duration::from_secs(60);

async fn add(cluster: &Cluster, role: &str, more: &[&str]) -> anyhow::Result<Value> {
    let words = ["node", "role", "add", MACHINE, role, "--json"];
    cluster.ok(words.iter().chain(more)).await?.json()
}

async fn remove(cluster: &Cluster, role: &str, more: &[&str]) -> anyhow::Result<Value> {
    let words = ["node", "role", "remove", MACHINE, role, "--json"];
    cluster.ok(words.iter().chain(more)).await?.json()
}

/// The daemons of a role, as the machine's node tells of them.
async fn daemons(cluster: &Cluster, role: &str) -> anyhow::Result<Vec<(String, String)>> {
    let shown = cluster.ok(["node", "inspect", MACHINE, "--json"]).await?;
    let shown = shown.json()?;
    let daemons = shown["daemons"].as_array().context("it has daemons")?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_string();
    Ok(daemons
        .iter()
        .filter(|daemon| daemon["role"] == role)
        .map(|daemon| (text(&daemon["name"]), text(&daemon["state"])))
        .collect())
}

async fn wait_daemons(cluster: &Cluster, role: &str, names: &[&str]) -> anyhow::Result<()> {
    eventually(&format!("{names:?} have the role {role}"), SOON, || async {
        let seen = daemons(cluster, role).await?;
        let ready = seen.iter().all(|(_, state)| state == "ready");
        let there: Vec<&str> = seen.iter().map(|(name, _)| name.as_str()).collect();
        ensure!(ready && there == names, "{seen:?}");
        Ok(())
    })
    .await
}

/// The agents that run instances of the app.
async fn agents_of(cluster: &Cluster, name: &str) -> anyhow::Result<Vec<String>> {
    let status = cluster.ok(["node", "list", "--json"]).await?.json()?;
    let mut agents = Vec::new();
    for agent in status["agents"].as_array().context("agents")? {
        let id = agent["id"].as_str().unwrap_or_default();
        let Ok(text) = cluster.status_text(id, "/instances").await else {
            continue;
        };
        let document: Value = serde_json::from_str(&text)?;
        let app = cluster.ok(["app", name, "--json"]).await?.json()?;
        let process = app["processes"][0]["guid"].as_str().context("a process")?;
        let instances = document["instances"].as_array().context("instances")?;
        agents.extend(
            instances
                .iter()
                .filter(|instance| instance["process"] == process && instance["state"] == "RUNNING")
                .map(|_| id.to_string()),
        );
    }
    Ok(agents)
}

pub async fn a_router_is_added_and_finishes_its_requests_before_it_goes(
    cluster: &Cluster,
) -> anyhow::Result<()> {
    // Six of them fit where little disk is left.
    let room = ["--memory", "32M", "--disk", "64M"];
    push(cluster, APP, &server(cluster, APP), &room)
        .await?
        .success()?;
    let second = cluster.port + 1;
    let host = cluster.host(APP);
    let refused = cluster.get_at(second, &host, "/").await;
    ensure!(refused.is_err(), "nobody listens there yet: {refused:?}");

    let added = add(cluster, "router", &[]).await?;
    ensure!(added["done"] == true && added["count"] == 2, "{added}");
    // It is ready once it knows the routes of the others.
    eventually("the second router serves", SOON, || async {
        let answer = cluster.get_at(second, &host, "/").await?;
        ensure!(answer.status() == 200, "{}", answer.status());
        Ok(())
    })
    .await?;

    let load = Load::start(cluster, &host, "/", 2);
    let slow = cluster.get_at(second, &host, "/slow");
    let leaving = async {
        eventually("the slow request is on its way", SOON, || async {
            let routes = cluster.status_text("router-2", "/routes").await?;
            let one = routes.replace(' ', "").contains("\"in_flight\":1");
            ensure!(one, "{routes}");
            Ok(())
        })
        .await?;
        remove(cluster, "router", &[]).await
    };
    let (slow, removed) = tokio::join!(slow, leaving);
    let (slow, removed) = (slow.context("the slow request")?, removed?);
    ensure!(slow.status() == 200, "{}", slow.status());
    ensure!(
        removed["done"] == true && removed["count"] == 1,
        "{removed}"
    );
    load.stop().await.without_failure(20)?;
    let refused = cluster.get_at(second, &host, "/").await;
    ensure!(
        refused.is_err(),
        "nobody listens there any more: {refused:?}"
    );
    wait_daemons(cluster, "router", &["router-1"]).await
}

pub async fn an_agent_is_added_and_emptied_before_it_goes(cluster: &Cluster) -> anyhow::Result<()> {
    cluster.ok(["scale", APP, "--instances", "4"]).await?;
    wait_running(cluster, APP, 4, SOON).await?;
    let before = cluster.pid("dea-1")?;
    let load = Load::start(cluster, &cluster.host(APP), "/", 2);
    let added = add(cluster, "dea", &["--count", "2"]).await?;
    ensure!(added["done"] == true && added["count"] == 3, "{added}");
    // Three agents share the machine's memory: the first one is started anew for its part of it.
    cluster.wait_restarted("dea-1", before).await?;
    wait_daemons(cluster, "dea", &["dea-1", "dea-2", "dea-3"]).await?;
    cluster.ok(["scale", APP, "--instances", "6"]).await?;
    eventually("new instances go to new agents", SOON, || async {
        let agents = agents_of(cluster, APP).await?;
        let different: BTreeSet<&String> = agents.iter().collect();
        ensure!(agents.len() == 6 && different.len() == 3, "{agents:?}");
        Ok(())
    })
    .await?;

    let removed = remove(cluster, "dea", &["--count", "2"]).await?;
    ensure!(
        removed["done"] == true && removed["count"] == 1,
        "{removed}"
    );
    eventually("everything runs on the agent that stays", SOON, || async {
        let agents = agents_of(cluster, APP).await?;
        ensure!(agents == ["dea-1"; 6], "{agents:?}");
        Ok(())
    })
    .await?;
    load.stop().await.without_failure(50)?;
    let log = cluster.log("dea-2");
    ensure!(log.contains("the agent is being emptied"), "{log}");
    wait_daemons(cluster, "dea", &["dea-1"]).await
}

pub async fn what_would_hurt_is_refused_with_the_reason(cluster: &Cluster) -> anyhow::Result<()> {
    for (words, status, told) in [
        (
            "remove machine-1 router",
            1,
            "the cluster would have no routers: no app would be reachable",
        ),
        (
            "remove machine-1 dea --count 2",
            1,
            "machine-1 has 1 agents, of which 2",
        ),
        (
            "add machine-1 controller",
            1,
            "2 controllers need PostgreSQL",
        ),
        ("add machine-1 collector", 1, "a cluster has at most 1"),
        (
            "add machine-1 dea --count 16",
            1,
            "a cluster has at most 16",
        ),
        ("add machine-9 dea", 7, "there is no machine machine-9"),
        ("add machine-1 cook", 2, "is no role"),
        ("add machine-1 dea --count 0", 2, "0 is not in 1"),
    ] {
        let words = ["node", "role"].into_iter().chain(words.split(' '));
        let words: Vec<&str> = words.collect();
        let refused = cluster.yard(&words).await?;
        ensure!(
            refused.status == status && refused.stderr.contains(told),
            "{words:?}: {refused:?}"
        );
    }
    wait_daemons(cluster, "router", &["router-1"]).await
}

/// `yard up` writes the same roles; and what was taken away without a daemon to hand on to comes back so.
pub async fn up_writes_roles_too(cluster: &Cluster) -> anyhow::Result<()> {
    let up = |words: &'static [&str]| async move {
        let home = cluster.home.display().to_string();
        let mut all = vec!["up", "--home", &home, "--no-links"];
        all.extend(words);
        cluster.ok(&all).await
    };
    up(&["--stagers", "2", "--health-managers", "2"]).await?;
    wait_daemons(cluster, "stager", &["stager-1", "stager-2"]).await?;
    let listed = cluster
        .ok(["node", "role", "list", "--json"])
        .await?
        .json()?;
    let held = listed.as_array().context("a list")?;
    let counts: Vec<&Value> = held
        .iter()
        .filter(|one| one["role"] == "stager" || one["role"] == "health-manager")
        .map(|one| &one["count"])
        .collect();
    ensure!(counts == [2, 2], "{listed}");
    up(&["--stagers", "1"]).await?;
    wait_daemons(cluster, "stager", &["stager-1"]).await?;
    remove(cluster, "health-manager", &[]).await?;

    let removed = remove(cluster, "stager", &["--force"]).await?;
    ensure!(removed["daemons"] == Value::Array(Vec::new()), "{removed}");
    ensure!(cluster.pid("stager-1").is_err(), "it still runs");
    up(&["--stagers", "1"]).await?;
    wait_daemons(cluster, "stager", &["stager-1"]).await?;
    let history = cluster.ok(["history", "--json"]).await?.stdout;
    ensure!(
        history.contains("change the roles of machine-1"),
        "{history}"
    );
    Ok(())
}

/// A node that is killed while a daemon leaves has a successor that goes on with it.
pub async fn a_node_finishes_what_another_began(cluster: &Cluster) -> anyhow::Result<()> {
    add(cluster, "dea", &[]).await?;
    wait_daemons(cluster, "dea", &["dea-1", "dea-2"]).await?;
    let home = cluster.home.display().to_string();
    let node = tests::leftovers::node_process(&home).context("the node has a process")?;
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(node),
        nix::sys::signal::Signal::SIGKILL,
    )?;
    // While no node runs, the wish is only written.
    let written = remove(cluster, "dea", &["--no-wait"]).await?;
    ensure!(written["count"] == 1, "{written}");
    let pid = pid_without_node(cluster, "dea-2").context("dea-2 runs on")?;
    cluster.up().await?;
    wait_daemons(cluster, "dea", &["dea-1"]).await?;
    ensure!(
        pid_without_node(cluster, "dea-2").is_none(),
        "dea-2 still runs as {pid}"
    );
    let log = cluster.log("dea-2");
    let emptied = log.matches("the agent is being emptied").count();
    ensure!(emptied > 0, "{log}");
    cluster.ok(["delete", APP, "--force"]).await.map(drop)
}

/// The process of a component; one that is dead has no command line any more.
fn pid_without_node(cluster: &Cluster, component: &str) -> Option<i32> {
    let file = format!("{}/node/bootstrap/{component}.json", cluster.home.display());
    let entries = std::fs::read_dir("/proc").ok()?.flatten();
    entries
        .filter_map(|entry| {
            Some((
                entry.file_name().to_string_lossy().parse().ok()?,
                entry.path(),
            ))
        })
        .find(|(_, path)| {
            let line = std::fs::read(path.join("cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).contains(&file)
        })
        .map(|(pid, _): (i32, _)| pid)
}
