//! A program that is measured, or asked, on a core of its own: its processor time and its memory.

use anyhow::{Context, ensure};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tests::eventually;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

const LISTENS_WITHIN: Duration = Duration::from_secs(20);

/// Killed with the value.
pub struct Process {
    pub name: &'static str,
    child: Child,
}

impl Process {
    pub fn start(
        name: &'static str,
        core: usize,
        program: &str,
        arguments: &[&str],
    ) -> anyhow::Result<Process> {
        Process::start_with(name, core, program, arguments, &[])
    }

    pub fn start_with(
        name: &'static str,
        core: usize,
        program: &str,
        arguments: &[&str],
        environment: &[(&str, &str)],
    ) -> anyhow::Result<Process> {
        let child = Command::new("taskset")
            .args(["-c", &core.to_string(), program])
            .args(arguments)
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("starting {name}"))?;
        Ok(Process { name, child })
    }

    /// Waits until it takes connections.
    pub async fn listens(&mut self, port: u16) -> anyhow::Result<()> {
        eventually(self.name, LISTENS_WITHIN, || async {
            TcpStream::connect(("127.0.0.1", port))
                .await
                .with_context(|| format!("port {port}"))
        })
        .await?;
        let ended = self.child.try_wait()?;
        ensure!(
            ended.is_none(),
            "{} ended ({ended:?}), and somebody else listens on port {port}",
            self.name
        );
        Ok(())
    }

    fn id(&self) -> anyhow::Result<u32> {
        let id = self.child.id();
        id.with_context(|| format!("{} has ended", self.name))
    }

    /// The time that each of its threads has run so far.
    pub fn ran(&self) -> anyhow::Result<Ran> {
        let mut threads = BTreeMap::new();
        for thread in std::fs::read_dir(format!("/proc/{}/task", self.id()?))? {
            let path = thread?.path();
            // A thread may end while we look.
            let Ok(text) = std::fs::read_to_string(path.join("schedstat")) else {
                continue;
            };
            let nanos = text.split_whitespace().next();
            let nanos: u64 = nanos.context("schedstat is empty")?.parse()?;
            threads.insert(path, nanos);
        }
        Ok(Ran(threads))
    }

    /// Its memory, what it shares counted in part.
    pub fn kibibytes(&self) -> anyhow::Result<f64> {
        let kibibytes = tests::inside::pss_kib(self.id()?);
        let kibibytes = kibibytes.with_context(|| format!("{} shows no memory", self.name))?;
        Ok(kibibytes as f64)
    }
}

/// Nanoseconds by thread.
pub struct Ran(BTreeMap<std::path::PathBuf, u64>);

impl Ran {
    /// Microseconds that were run after `before`. What a thread did that ended in between is not seen.
    pub fn microseconds_since(&self, before: &Ran) -> f64 {
        let nanos = |(thread, now): (&std::path::PathBuf, &u64)| {
            now.saturating_sub(before.0.get(thread).copied().unwrap_or(0))
        };
        self.0.iter().map(nanos).sum::<u64>() as f64 / 1000.0
    }
}

/// Whether a program is in the path, also where servers are.
pub fn is_installed(program: &str) -> bool {
    let path = std::env::var("PATH").unwrap_or_default();
    path.split(':')
        .chain(["/usr/sbin", "/sbin"])
        .any(|folder| Path::new(folder).join(program).exists())
}
