//! The app of these measurements, and its router asked again and again.

use anyhow::{Context, ensure};
use reqwest::header::HOST;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tests::{Cluster, cluster};

/// Its program: listens as soon as it runs.
pub const PROGRAM: &str = "quick_server";
const WITHIN: Duration = Duration::from_secs(120);
/// Between two looks.
const LOOK: Duration = Duration::from_micros(200);

/// A folder to push, with so many bytes more that no archive makes smaller.
pub fn folder(cluster: &Cluster, name: &str, more: usize) -> anyhow::Result<PathBuf> {
    let folder = cluster.root().join("apps").join(name);
    std::fs::create_dir_all(&folder)?;
    let program = cluster::programs().join(PROGRAM);
    std::fs::copy(&program, folder.join(PROGRAM))
        .with_context(|| format!("{} is missing: `make bench` builds it", program.display()))?;
    std::fs::write(folder.join("Procfile"), format!("web: exec ./{PROGRAM}\n"))?;
    let bytes: Vec<u8> = (0..more).map(|_| rand::random()).collect();
    std::fs::write(folder.join("ballast"), bytes)?;
    Ok(folder)
}

/// One client of the router and of its status server.
pub struct Watcher {
    http: reqwest::Client,
    router: String,
    status: String,
    login: (String, String),
    host: String,
}

impl Watcher {
    pub fn new(cluster: &Cluster, app: &str) -> anyhow::Result<Watcher> {
        let admin = &cluster.bootstrap("router-1")?["admin"];
        let text = |name: &str| admin[name].as_str().map(String::from).context("an address");
        Ok(Watcher {
            http: reqwest::Client::builder().no_proxy().build()?,
            router: format!("http://127.0.0.1:{}/", cluster.port),
            status: format!("http://{}/routes", text("address")?),
            login: (text("user")?, text("password")?),
            host: cluster.host(app),
        })
    }

    /// The instance that answered a request; none: it was not answered with 200.
    pub async fn ask(&self) -> Option<String> {
        let asked = self.http.get(&self.router).header(HOST, &self.host);
        let answer = asked.timeout(Duration::from_secs(5)).send().await.ok()?;
        let is_answered = answer.status() == 200;
        let body = answer.text().await.ok()?;
        is_answered.then_some(body)
    }

    /// The instances that the router may choose.
    pub async fn chosen(&self) -> anyhow::Result<BTreeSet<String>> {
        let asked = self.http.get(&self.status);
        let asked = asked.basic_auth(&self.login.0, Some(&self.login.1));
        let table: serde_json::Value = asked.send().await?.json().await?;
        let members = table[&self.host].as_array().into_iter().flatten();
        let names = members.filter_map(|member| member["private_instance_id"].as_str());
        Ok(names.map(String::from).collect())
    }

    /// Milliseconds from `begun` until `look` is satisfied.
    pub async fn until(
        &self,
        what: &str,
        begun: Instant,
        mut look: impl AsyncFnMut(&Watcher) -> anyhow::Result<bool>,
    ) -> anyhow::Result<f64> {
        while !look(self).await? {
            ensure!(begun.elapsed() < WITHIN, "{what}: not within {WITHIN:?}");
            tokio::time::sleep(LOOK).await;
        }
        Ok(crate::machine::milliseconds(begun.elapsed()))
    }
}
