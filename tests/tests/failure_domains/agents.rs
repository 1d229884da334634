//! The agents of one machine: what each runs, and its violent ends.

use anyhow::{Context, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use proto::api::SeenAgent;
use serde::Deserialize;
use std::collections::BTreeSet;
use std::time::Duration;
pub use tests::agents::kill_with_containers;
use tests::{Cluster, eventually};

pub const AGENTS: [&str; 3] = ["dea-1", "dea-2", "dea-3"];
/// For whatever should come soon, on a slow machine too.
pub const SOON: Duration = Duration::from_secs(60);

/// An instance as its agent tells it.
#[derive(Debug, Clone, PartialEq)]
pub struct Place {
    pub agent: &'static str,
    pub instance: String,
    pub index: u64,
    pub state: String,
    /// Where routers reach it.
    pub address: String,
}

impl Place {
    pub fn runs(&self) -> bool {
        self.state == "RUNNING"
    }
}

/// The instances of an app on these agents.
pub async fn places(
    cluster: &Cluster,
    agents: &[&'static str],
    app: &str,
) -> anyhow::Result<Vec<Place>> {
    #[derive(Deserialize)]
    struct Document {
        instances: Vec<Told>,
    }
    #[derive(Deserialize)]
    struct Told {
        instance: String,
        index: u64,
        state: String,
        stats: Stats,
    }
    #[derive(Deserialize)]
    struct Stats {
        name: String,
        host: String,
        port: u16,
    }
    let mut found = Vec::new();
    for agent in agents {
        let text = cluster.status_text(agent, "/instances").await?;
        let document: Document = serde_json::from_str(&text)?;
        let of_app = document
            .instances
            .into_iter()
            .filter(|one| one.stats.name == app);
        found.extend(of_app.map(|one| Place {
            agent,
            instance: one.instance,
            index: one.index,
            state: one.state,
            address: format!("{}:{}", one.stats.host, one.stats.port),
        }));
    }
    Ok(found)
}

/// Waits until these agents run exactly one instance of each index, and nothing else of the app lives
/// on them.
pub async fn wait_settled(
    cluster: &Cluster,
    agents: &[&'static str],
    app: &str,
    instances: u64,
) -> anyhow::Result<Vec<Place>> {
    let what = format!("{instances} instances of {app} on {}", agents.join(", "));
    eventually(&what, SOON, || async {
        let mut places = places(cluster, agents, app).await?;
        places.retain(|place| place.state != "CRASHED");
        let indices: BTreeSet<u64> = running_indices(&places);
        if places.len() as u64 == instances && indices == (0..instances).collect() {
            Ok(places)
        } else {
            bail!("{places:?}")
        }
    })
    .await
}

/// Waits until these agents run at least one instance of each index.
pub async fn wait_all_indices(
    cluster: &Cluster,
    agents: &[&'static str],
    app: &str,
    instances: u64,
) -> anyhow::Result<Vec<Place>> {
    let what = format!("every index of {app} on {}", agents.join(", "));
    eventually(&what, SOON, || async {
        let places = places(cluster, agents, app).await?;
        ensure!(
            running_indices(&places) == (0..instances).collect(),
            "{places:?}"
        );
        Ok(places)
    })
    .await
}

pub fn running_indices(places: &[Place]) -> BTreeSet<u64> {
    places
        .iter()
        .filter(|place| place.runs())
        .map(|place| place.index)
        .collect()
}

/// As `yard node list` shows it.
pub async fn seen(cluster: &Cluster, agent: &str) -> anyhow::Result<SeenAgent> {
    let listed = cluster.ok(["node", "list", "--json"]).await?.json()?;
    let agents: Vec<SeenAgent> = serde_json::from_value(listed["agents"].clone())?;
    agents
        .into_iter()
        .find(|one| one.id == agent)
        .with_context(|| format!("{agent} is not seen"))
}

pub async fn wait_state(cluster: &Cluster, agent: &str, state: &str) -> anyhow::Result<SeenAgent> {
    eventually(&format!("{agent} {state}"), SOON, || async {
        let seen = seen(cluster, agent).await?;
        ensure!(seen.state == state, "{seen:?}");
        Ok(seen)
    })
    .await
}

pub async fn wait_all_ready(cluster: &Cluster) -> anyhow::Result<()> {
    for agent in AGENTS {
        wait_state(cluster, agent, "ready").await?;
    }
    Ok(())
}

pub fn signal(cluster: &Cluster, component: &str, signal: Signal) -> anyhow::Result<i32> {
    let pid = cluster.pid(component)?;
    kill(Pid::from_raw(pid), signal).with_context(|| format!("{signal} to {component}"))?;
    Ok(pid)
}
