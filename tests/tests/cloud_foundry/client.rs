//! The client `cf`, unmodified, with a login of its own.
//!
//! It is the program in `$STACKYARD_TEST_CF`, else the `cf` of the `PATH`. The names of a test cluster are in no
//! resolver: each command runs with a hosts file of its own, in a mount namespace that ends with it.

use anyhow::{Context, ensure};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tests::Cluster;
use tokio::process::Command;

/// Longest command: a push with its staging, on a busy machine.
const WITHIN: Duration = Duration::from_secs(180);

pub struct Cf {
    program: PathBuf,
    root: PathBuf,
    hosts: PathBuf,
}

/// What one command said, both outputs together as a user sees them.
pub struct Said {
    pub status: i32,
    pub text: String,
}

impl Said {
    /// Fails unless each of these was said.
    pub fn has(&self, words: &[&str]) -> anyhow::Result<()> {
        for word in words {
            ensure!(
                self.text.contains(word),
                "{word:?} is missing in: {}",
                self.text
            );
        }
        Ok(())
    }

    /// The cells of the first line that begins with this word.
    pub fn row(&self, first: &str) -> anyhow::Result<Vec<String>> {
        let rows = self.text.lines().map(|line| line.split_whitespace());
        rows.map(|cells| cells.map(str::to_string).collect::<Vec<_>>())
            .find(|cells| cells.first().is_some_and(|cell| cell == first))
            .with_context(|| format!("no line begins with {first}: {}", self.text))
    }
}

impl Cf {
    pub fn new(cluster: &Cluster, program: PathBuf) -> anyhow::Result<Cf> {
        let root = cluster.root().join("cf");
        std::fs::create_dir_all(root.join("home"))?;
        let hosts = root.join("hosts");
        let names = ["api", "uaa", "login", "log-cache", "ssh"];
        let lines: Vec<String> = names
            .iter()
            .map(|name| format!("127.0.0.1 {}\n", cluster.host(name)))
            .collect();
        std::fs::write(&hosts, format!("127.0.0.1 localhost\n{}", lines.concat()))?;
        Ok(Cf {
            program,
            root,
            hosts,
        })
    }

    /// A file of this run.
    pub fn file(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    pub async fn run(&self, folder: &Path, words: &[&str]) -> anyhow::Result<Said> {
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "sh", "-c"])
            .arg("mount --bind \"$0\" /etc/hosts && exec \"$@\"")
            .arg(&self.hosts)
            .arg(&self.program)
            .args(words)
            .current_dir(folder)
            .env("CF_HOME", self.root.join("home"))
            .env("CF_COLOR", "false")
            .env_remove("http_proxy")
            .stdin(Stdio::null())
            .kill_on_drop(true);
        let done = tokio::time::timeout(WITHIN, command.output());
        let done = done
            .await
            .with_context(|| format!("cf {} did not end", words.join(" ")))??;
        let mut text = String::from_utf8_lossy(&done.stdout).into_owned();
        text.push_str(&String::from_utf8_lossy(&done.stderr));
        Ok(Said {
            status: done.status.code().unwrap_or(-1),
            text,
        })
    }

    /// Expected to succeed.
    pub async fn ok(&self, words: &[&str]) -> anyhow::Result<Said> {
        self.ok_in(&self.root, words).await
    }

    pub async fn ok_in(&self, folder: &Path, words: &[&str]) -> anyhow::Result<Said> {
        let said = self.run(folder, words).await?;
        let (line, status) = (words.join(" "), said.status);
        ensure!(status == 0, "cf {line}: status {status}: {}", said.text);
        Ok(said)
    }

    /// Expected to fail, and to say this.
    pub async fn refused(&self, words: &[&str], reason: &str) -> anyhow::Result<()> {
        let said = self.run(&self.root, words).await?;
        let (line, status) = (words.join(" "), said.status);
        ensure!(status == 1, "cf {line}: status {status}: {}", said.text);
        said.has(&[reason])
    }
}
