//! A cluster seen from inside: what a daemon was started with, what its status server says, and the
//! bus as one of the components.

use crate::Cluster;
use anyhow::{Context, ensure};
use proto::bus::catalogue;
use proto::ids::ComponentId;
use serde_json::Value;
use std::time::Duration;

/// Proportional set size of a process: memory that it shares counts in part.
pub fn pss_kib(pid: impl std::fmt::Display) -> Option<u64> {
    let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let line = rollup.lines().find(|line| line.starts_with("Pss:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

impl Cluster {
    /// The file a daemon was started with.
    pub fn bootstrap(&self, component: &str) -> anyhow::Result<Value> {
        let path = self.home.join(format!("node/bootstrap/{component}.json"));
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("reading {}", path.display()))?;
        Ok(serde_json::from_str(&text)?)
    }

    /// A document of a daemon's status server.
    pub async fn status_text(&self, component: &str, path: &str) -> anyhow::Result<String> {
        let admin = &self.bootstrap(component)?["admin"];
        let address = admin["address"].as_str().context("address")?;
        let response = reqwest::Client::builder()
            .no_proxy()
            .build()?
            .get(format!("http://{address}{path}"))
            .basic_auth(
                admin["user"].as_str().context("user")?,
                admin["password"].as_str(),
            )
            .timeout(Duration::from_secs(5))
            .send()
            .await?;
        let status = response.status();
        let text = response.text().await?;
        ensure!(
            status == 200,
            "{path} of {component} answered {status}: {text}"
        );
        Ok(text)
    }

    pub async fn varz(&self, component: &str) -> anyhow::Result<Value> {
        Ok(serde_json::from_str(
            &self.status_text(component, "/varz").await?,
        )?)
    }

    /// The bus, with the credential of a component.
    pub async fn bus(&self, component: &str) -> anyhow::Result<async_nats::Client> {
        let bus = &self.bootstrap(component)?["bus"];
        let server = bus["servers"][0].as_str().context("server")?;
        let id = ComponentId::new(component)?;
        Ok(async_nats::ConnectOptions::with_user_and_password(
            bus["user"].as_str().context("user")?.to_string(),
            bus["password"].as_str().context("password")?.to_string(),
        )
        .custom_inbox_prefix(catalogue::inbox_prefix(&id))
        .connect(server)
        .await?)
    }

    /// The log of a component, as far as it is written.
    pub fn log(&self, component: &str) -> String {
        let file = self.home.join(format!("logs/{component}.log"));
        std::fs::read_to_string(file).unwrap_or_default()
    }
}
