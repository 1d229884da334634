//! A second machine: a network namespace of this one, at the other end of a cable, with a home of its own.

use anyhow::Context;
use std::path::{Path, PathBuf};
use std::process::Command;
use tests::cluster::{Output, programs, told};
use tests::{Cluster, leftovers};

/// The cable and what is at its ends.
pub struct Cable {
    name: String,
    /// Of this machine, where the cluster begins.
    pub near: String,
    /// Of this machine too, but nobody that the other one should know.
    pub strange: String,
    /// Of the other machine.
    pub far: String,
}

impl Cable {
    pub fn lay() -> anyhow::Result<Cable> {
        let process = std::process::id();
        // A network that is kept free for trials of this kind.
        let address = |last: u8| format!("198.18.{}.{last}", process % 256);
        let cable = Cable {
            name: format!("ymt{:x}", process % 0xfffff),
            near: address(1),
            strange: address(3),
            far: address(2),
        };
        let (near, far) = (cable.end("a"), cable.end("b"));
        let net = &cable.name;
        ip(&["netns", "add", net])?;
        ip(&[
            "link", "add", &near, "type", "veth", "peer", "name", &far, "netns", net,
        ])?;
        for address in [&cable.near, &cable.strange] {
            ip(&["addr", "add", &format!("{address}/24"), "dev", &near])?;
        }
        ip(&["link", "set", &near, "up"])?;
        ip(&[
            "-n",
            net,
            "addr",
            "add",
            &format!("{}/24", cable.far),
            "dev",
            &far,
        ])?;
        ip(&["-n", net, "link", "set", &far, "up"])?;
        ip(&["-n", net, "link", "set", "lo", "up"])?;
        Ok(cable)
    }

    fn end(&self, letter: &str) -> String {
        format!("{}{letter}", self.name)
    }

    pub fn network(&self) -> PathBuf {
        Path::new("/run/netns").join(&self.name)
    }

    fn table(&self) -> String {
        format!("{}_cut", self.name)
    }

    /// From now on the gate answers nobody, and what it has is reset.
    pub fn cut_gate(&self) -> anyhow::Result<()> {
        let (table, near) = (self.table(), self.end("a"));
        let text = format!(
            "add table inet {table}
             add chain inet {table} input {{ type filter hook input priority -5 ; }}
             add rule inet {table} input iifname \"{near}\" tcp dport 7443 reject with tcp reset"
        );
        told(Command::new("nft").arg(text)).map(drop)
    }

    pub fn mend_gate(&self) -> anyhow::Result<()> {
        told(Command::new("nft").args(["delete", "table", "inet", &self.table()])).map(drop)
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        let _ = self.mend_gate();
        let _ = ip(&["link", "delete", &self.end("a")]);
        let _ = ip(&["netns", "delete", &self.name]);
    }
}

/// One home on the other machine.
pub struct Machine<'a> {
    cluster: &'a Cluster,
    network: PathBuf,
    pub home: PathBuf,
}

impl<'a> Machine<'a> {
    pub fn new(cluster: &'a Cluster, cable: &Cable, name: &str) -> Machine<'a> {
        Machine {
            cluster,
            network: cable.network(),
            home: cluster.root().join(name),
        }
    }

    /// `yard` as root of that machine, logged in as the test is.
    pub async fn yard(&self, words: &[&str]) -> anyhow::Result<Output> {
        self.yard_with(words, None).await
    }

    /// `yard` of somebody who is not logged in.
    pub async fn yard_of_nobody(&self, words: &[&str]) -> anyhow::Result<Output> {
        let nowhere = self.home.join("no-login");
        self.yard_with(words, Some(&nowhere)).await
    }

    async fn yard_with(&self, words: &[&str], logins: Option<&Path>) -> anyhow::Result<Output> {
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--net={}", self.network.display()))
            .arg(programs().join("yard"))
            .args(words)
            .envs(
                self.cluster
                    .command(&self.cluster.root())
                    .get_envs()
                    .filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned()))),
            )
            .env("YARD_HOME", &self.home)
            .env_remove("SUDO_USER")
            .current_dir(self.cluster.root());
        if let Some(logins) = logins {
            command.env("YARD_CONFIG_HOME", logins);
        }
        let begun = std::time::Instant::now();
        let output = tokio::task::spawn_blocking(move || command.output()).await??;
        Ok(Output {
            status: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            took: begun.elapsed(),
        })
    }

    pub async fn join(&self, more: &[&str]) -> anyhow::Result<Output> {
        let token = token(self.cluster, &[]).await?;
        let mut words = vec!["node", "join", &token, "--timeout", "40"];
        words.extend(more);
        self.yard(&words).await?.success()
    }

    pub fn file(&self) -> anyhow::Result<proto::node::ClusterFile> {
        let path = self.home.join("cluster.json");
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("reading {}", path.display()))?;
        Ok(serde_json::from_str(&text)?)
    }

    /// What this machine left, by the file that it had.
    pub fn left(&self, file: &proto::node::ClusterFile) -> Vec<String> {
        let home = self.home.display().to_string();
        leftovers::find(file, &home, Some(&self.network))
    }
}

/// A token, as an operator gets one.
pub async fn token(cluster: &Cluster, more: &[&str]) -> anyhow::Result<String> {
    let mut words = vec!["node", "token", "--json"];
    words.extend(more);
    let document = cluster.ok(words).await?.json()?;
    let token = document["token"].as_str().context("a token")?;
    Ok(token.to_string())
}

fn ip(words: &[&str]) -> anyhow::Result<String> {
    told(Command::new("ip").args(words))
}
