//! The cluster of this suite, its disks and its clock.

use crate::clocks::Clock;
use crate::disks::Disks;
use anyhow::{Context, ensure};
use proto::node::ComponentState;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;
use tests::apps::{app, push, server};
use tests::automation::Api;
use tests::{Cluster, eventually};

/// For whatever should come soon, on a slow and busy machine.
pub const SOON: Duration = Duration::from_secs(60);
/// An app that runs all the time.
pub const STEADY: &str = "steady";

pub struct World {
    pub cluster: Cluster,
    pub disks: Rc<Disks>,
    pub clock: Clock,
}

impl World {
    pub async fn prepare(&self) -> anyhow::Result<()> {
        for (key, value) in [
            // Little room is enough.
            ("staging/disk", "64MiB"),
            ("controller/apps/default_disk", "16MiB"),
            ("dea/pool/instances", "0"),
        ] {
            self.cluster.ok(["config", "set", key, value]).await?;
        }
        let folder = server(&self.cluster, STEADY);
        push(&self.cluster, STEADY, &folder, &["--memory", "64M"])
            .await?
            .success()
            .map(drop)
    }

    /// Gives the cluster back, to be taken down. Its disks have room then.
    pub fn leave(self) -> Cluster {
        self.disks.make_room();
        self.clock.set_right();
        self.cluster
    }

    /// The process of each component and how often it was restarted.
    pub fn processes(&self) -> anyhow::Result<BTreeMap<String, (Option<u32>, u32)>> {
        let components = self.cluster.node_status()?.components.into_iter();
        Ok(components
            .map(|one| (one.name, (one.pid, one.restarts)))
            .collect())
    }

    pub async fn all_ready(&self) -> anyhow::Result<()> {
        eventually("every component is ready", SOON, || async {
            let status = self.cluster.node_status()?;
            let mut components = status.components.iter();
            let waiting = components.find(|one| one.state != ComponentState::Ready);
            ensure!(waiting.is_none(), "{waiting:?}");
            Ok(())
        })
        .await
    }

    /// A small app that answers with its name, and has so many bytes that hardly become fewer when packed.
    pub fn page(&self, name: &str, bytes: usize) -> PathBuf {
        let filling: String = (0..bytes / 16)
            .map(|_| format!("{:016x}", rand::random::<u64>()))
            .collect();
        let files = [("index.html", name), ("filling.txt", filling.as_str())];
        app(&self.cluster, name, &files)
    }

    /// A push that works at last.
    pub async fn pushes(&self, name: &str, more: &[&str]) -> anyhow::Result<()> {
        let folder = self.page(name, 1 << 20);
        eventually(&format!("a push of {name}"), SOON, || async {
            push(&self.cluster, name, &folder, more)
                .await?
                .success()
                .map(drop)
        })
        .await?;
        let host = self.cluster.host(name);
        eventually("it answers", SOON, || async {
            self.cluster.body(&host, "/").await.map(drop)
        })
        .await?;
        self.cluster.ok(["delete", name, "--force"]).await.map(drop)
    }

    /// What rules were told under this name, the newest first.
    pub async fn told(&self, event: &str) -> anyhow::Result<Vec<Value>> {
        let api = Api::log_in(&self.cluster, SOON).await?;
        let path = format!("triggerinstances?trigger={event}&limit=100");
        let told = api.get(&path).await?;
        let told = told.as_array().context("a list")?;
        Ok(told.iter().map(|one| one["payload"].clone()).collect())
    }

    /// Waits until rules were told this of a component.
    pub async fn wait_told(&self, event: &str, component: &str) -> anyhow::Result<Value> {
        eventually(&format!("{event} of {component}"), SOON, || async {
            let told = self.told(event).await?;
            let found = told.iter().find(|one| one["component"] == component);
            found.cloned().with_context(|| format!("{told:?}"))
        })
        .await
    }

    /// The ids of the instances of an app on the one agent that have not ended.
    pub async fn instances(&self, app: &str) -> anyhow::Result<BTreeSet<String>> {
        let text = self.cluster.status_text("dea-1", "/instances").await?;
        let document: Value = serde_json::from_str(&text)?;
        let all = document["instances"].as_array().context("instances")?;
        let living = all
            .iter()
            .filter(|one| one["stats"]["name"] == app && one["state"] != "CRASHED");
        Ok(living
            .filter_map(|one| one["instance"].as_str().map(str::to_string))
            .collect())
    }

    /// What `yard` shows to the API now.
    pub fn access_token(&self) -> anyhow::Result<String> {
        let path = self.cluster.root().join("login/config.json");
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("reading {}", path.display()))?;
        let document: Value = serde_json::from_str(&text)?;
        let targets = document["targets"].as_object().context("targets")?;
        let token = targets
            .values()
            .find_map(|one| one["access_token"].as_str());
        Ok(token.context("a token")?.to_string())
    }

    /// What the API answers to the holder of a token.
    pub async fn greet(&self, token: &str) -> anyhow::Result<u16> {
        let host = self.cluster.host("api");
        let client = reqwest::Client::builder().no_proxy().build()?;
        let answer = client
            .get(format!("http://127.0.0.1:{}/v3/apps", self.cluster.port))
            .header("Host", format!("{host}:{}", self.cluster.port))
            .bearer_auth(token)
            .timeout(SOON)
            .send()
            .await?;
        Ok(answer.status().as_u16())
    }

    /// `yard status`, healthy or not.
    pub async fn status(&self) -> anyhow::Result<String> {
        let home = self.cluster.home.display().to_string();
        Ok(self.cluster.yard(["status", "--home", &home]).await?.stdout)
    }
}
