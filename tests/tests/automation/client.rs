//! The command `st2` as its users have it: `st2client` from the package index, unmodified, in a
//! virtual environment that stays between runs.
//!
//! The names of a test cluster are in no resolver. Python reads `sitecustomize.py` from its path
//! before any program: ours makes names under the cluster's domain lead to this machine, and the
//! client is none the wiser.

use anyhow::{Context, bail, ensure};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use tests::{Cluster, Output};

pub const VERSION: &str = "3.9.0";

const SITE: &str = r#"
import os
import socket

_domain = os.environ.get("YARD_TEST_DOMAIN")
_lookup = socket.getaddrinfo


def getaddrinfo(host, *rest, **options):
    if _domain and isinstance(host, str) and (host == _domain or host.endswith("." + _domain)):
        host = "127.0.0.1"
    return _lookup(host, *rest, **options)


socket.getaddrinfo = getaddrinfo
"#;

/// Programs that may run the client; it needs a module that Python 3.13 no longer has.
const INTERPRETERS: &[&str] = &[
    "python3.11",
    "python3.12",
    "python3.10",
    "python3.9",
    "python3",
];

/// Installed, and told where the cluster is.
pub struct Client {
    environment: Vec<(String, String)>,
    programs: PathBuf,
}

/// Why there is no client.
pub enum Missing {
    /// The machine cannot get it: the tests that need it are skipped, by name.
    Unreachable(String),
    Failed(anyhow::Error),
}

impl From<anyhow::Error> for Missing {
    fn from(error: anyhow::Error) -> Missing {
        Missing::Failed(error)
    }
}

/// The virtual environment, made once.
fn environment() -> Result<PathBuf, Missing> {
    let folder = tests::cluster::source_root()
        .join("target")
        .join(format!("st2client-{VERSION}"));
    let complete = folder.join("complete");
    if complete.exists() {
        return Ok(folder);
    }
    let _ = std::fs::remove_dir_all(&folder);
    let interpreter = INTERPRETERS
        .iter()
        .find(|name| {
            output(Command::new(name).args([
                "-c",
                "import sys, venv, ensurepip; sys.exit(sys.version_info >= (3, 13))",
            ]))
            .is_ok_and(|output| output.status == 0)
        })
        .ok_or_else(|| {
            Missing::Unreachable(
                "no Python from 3.9 to 3.12 with venv is installed, and st2client runs on no other"
                    .into(),
            )
        })?;
    output(Command::new(interpreter).args(["-m", "venv"]).arg(&folder))?.success()?;
    let packages = format!("st2client=={VERSION}");
    let requirements = tests::cluster::source_root().join("python/requirements.txt");
    // What packs' own tests import comes along: they run in the same environment.
    let installed = output(
        Command::new(folder.join("bin/pip"))
            .args([
                "install",
                "-q",
                "--disable-pip-version-check",
                &packages,
                "-r",
            ])
            .arg(requirements),
    )?;
    if installed.status != 0 {
        let why = installed.stderr.lines().last().unwrap_or_default();
        let unreachable = [
            "NewConnectionError",
            "Name or service",
            "timed out",
            "Connection",
            "No matching distribution",
        ]
        .iter()
        .any(|sign| installed.stderr.contains(sign));
        return Err(match unreachable {
            true => Missing::Unreachable(format!("the package index gives no {packages}: {why}")),
            false => Missing::Failed(anyhow::anyhow!(
                "pip install {packages}: {}",
                installed.stderr
            )),
        });
    }
    std::fs::write(&complete, "").map_err(|error| Missing::Failed(error.into()))?;
    Ok(folder)
}

impl Client {
    pub async fn install(cluster: &Cluster) -> Result<Client, Missing> {
        let folder = tokio::task::spawn_blocking(environment)
            .await
            .map_err(|error| Missing::Failed(error.into()))??;
        let home = cluster.root().join("st2");
        let site = home.join("site");
        std::fs::create_dir_all(&site).map_err(anyhow::Error::from)?;
        std::fs::write(site.join("sitecustomize.py"), SITE).map_err(anyhow::Error::from)?;
        // A file that is named must be there.
        std::fs::write(home.join("config"), "").map_err(anyhow::Error::from)?;
        let base = format!("http://{}:{}", cluster.host("st2"), cluster.port);
        let text = |path: PathBuf| path.display().to_string();
        let environment = [
            ("YARD_TEST_DOMAIN", cluster.domain.clone()),
            ("PYTHONPATH", text(site)),
            ("HOME", text(home.clone())),
            ("ST2_CONFIG_FILE", text(home.join("config"))),
            ("ST2_BASE_URL", base.clone()),
            ("ST2_API_URL", format!("{base}/api/v1")),
            ("ST2_AUTH_URL", format!("{base}/auth/v1")),
            ("ST2_STREAM_URL", format!("{base}/stream/v1")),
            ("COLUMNS", "250".into()),
            ("LANG", "C.UTF-8".into()),
            // Any value switches colours off.
            ("ST2_COLORIZE", "0".into()),
            ("no_proxy", "*".into()),
            ("NO_PROXY", "*".into()),
        ];
        Ok(Client {
            environment: environment
                .into_iter()
                .map(|(name, value)| (name.to_string(), value))
                .collect(),
            programs: folder.join("bin"),
        })
    }

    /// Logs in as the cluster's first user; later commands carry the token.
    pub async fn log_in(&mut self, cluster: &Cluster) -> anyhow::Result<()> {
        let password = std::fs::read_to_string(cluster.home.join("admin-password"))?;
        let token = self
            .run(&["auth", "admin", "-p", password.trim(), "-t"])
            .await?
            .success()
            .context("st2 auth")?;
        let token = token.stdout.trim().to_string();
        ensure!(!token.is_empty(), "st2 auth -t prints a token");
        self.environment.push(("ST2_AUTH_TOKEN".into(), token));
        Ok(())
    }

    /// Runs `st2`.
    pub async fn run(&self, words: &[&str]) -> anyhow::Result<Output> {
        self.run_with(words, &[]).await
    }

    /// Runs `st2` with other variables; an empty value takes one away.
    pub async fn run_with(
        &self,
        words: &[&str],
        variables: &[(&str, &str)],
    ) -> anyhow::Result<Output> {
        let mut command = Command::new(self.programs.join("st2"));
        command.args(words).envs(self.environment.iter().cloned());
        for (name, value) in variables {
            match value.is_empty() {
                true => command.env_remove(name),
                false => command.env(name, value),
            };
        }
        tokio::task::spawn_blocking(move || output(&mut command)).await?
    }

    /// `st2`, expected to succeed.
    pub async fn ok(&self, words: &[&str]) -> anyhow::Result<Output> {
        self.run(words)
            .await?
            .success()
            .with_context(|| format!("st2 {}", words.join(" ")))
    }

    /// The document that `st2 … -j` prints: after the dots of waiting, and words instead of an
    /// empty list.
    pub async fn json(&self, words: &[&str]) -> anyhow::Result<Value> {
        let mut words = words.to_vec();
        words.push("-j");
        let output = self.ok(&words).await?;
        document(&output.stdout).with_context(|| format!("st2 {}", words.join(" ")))
    }

    /// Python with what packs find.
    pub fn python(&self) -> Command {
        let mut command = Command::new(self.programs.join("python"));
        command
            .env("PYTHONPATH", tests::cluster::source_root().join("python"))
            .env("PYTHONDONTWRITEBYTECODE", "1");
        command
    }

    pub fn pip(&self) -> Command {
        Command::new(self.programs.join("pip"))
    }
}

/// The JSON document in what `st2` printed.
pub fn document(printed: &str) -> anyhow::Result<Value> {
    if printed.trim() == "No matching items found" {
        return Ok(Value::Array(Vec::new()));
    }
    let start = printed
        .match_indices(['{', '['])
        .map(|(at, _)| at)
        .find(|at| *at == 0 || printed[..*at].ends_with('\n'))
        .with_context(|| format!("no JSON document: {printed:?}"))?;
    serde_json::from_str(&printed[start..])
        .with_context(|| format!("no JSON document: {printed:?}"))
}

/// The first of a list. `st2` shows some lists of one as the one.
pub fn first(listed: &Value) -> &Value {
    match listed.as_array() {
        Some(entries) => entries.first().unwrap_or(&Value::Null),
        None => listed,
    }
}

/// Runs a command to its end, which must come within five minutes.
pub fn output(command: &mut Command) -> anyhow::Result<Output> {
    let name = format!("{command:?}");
    let start = Instant::now();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("starting {name}"))?;
    let read = |stream: Option<Box<dyn std::io::Read + Send>>| {
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            if let Some(mut stream) = stream {
                // What was read before an error is worth showing too.
                let _ = stream.read_to_end(&mut bytes);
            }
            String::from_utf8_lossy(&bytes).into_owned()
        })
    };
    let stdout = read(child.stdout.take().map(|stream| Box::new(stream) as _));
    let stderr = read(child.stderr.take().map(|stream| Box::new(stream) as _));
    let limit = Duration::from_secs(300);
    let (done, ended) = std::sync::mpsc::channel();
    let pid = nix::unistd::Pid::from_raw(child.id() as i32);
    let guard = std::thread::spawn(move || {
        let late = ended.recv_timeout(limit).is_err();
        if late {
            // It may have ended in this moment.
            let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
        }
        late
    });
    let status = child.wait()?;
    let _ = done.send(());
    let late = guard.join().unwrap_or(false);
    if late {
        bail!("{name} did not end within {limit:?}");
    }
    Ok(Output {
        status: status.code().unwrap_or(-1),
        stdout: stdout.join().unwrap_or_default(),
        stderr: stderr.join().unwrap_or_default(),
        took: start.elapsed(),
    })
}

/// Copies a folder.
pub fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    output(Command::new("cp").arg("-a").arg(from).arg(to))?
        .success()
        .map(drop)
}
