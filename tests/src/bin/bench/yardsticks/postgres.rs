//! A PostgreSQL of our own with Debian's defaults (each commit is synced), driven by its `pgbench`.

use anyhow::{Context, ensure};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tests::eventually;

/// A row as large as a record of ours, with two indexes beside its key.
const TABLE: &str =
    "CREATE TABLE record (id bigserial PRIMARY KEY, at bigint, subject text, body text);
    CREATE INDEX record_at ON record (at); CREATE INDEX record_subject ON record (subject, at);";
const INSERT: &str = "\\set number random(1, 1000000)
INSERT INTO record (at, subject, body) VALUES (:number, 'subject-' || :number % 997, repeat('x', 1000));
";

pub struct Server {
    child: Child,
    programs: PathBuf,
    folder: tempfile::TempDir,
    port: String,
}

impl Server {
    /// Err within Ok: it is not installed.
    pub async fn start() -> anyhow::Result<Result<Server, String>> {
        let Some(programs) = programs() else {
            return Ok(Err("PostgreSQL is not installed".to_string()));
        };
        let folder = tempfile::Builder::new().prefix("yard-bench-").tempdir()?;
        let owned = Command::new("chown")
            .arg("nobody:nogroup")
            .arg(folder.path())
            .status()?;
        ensure!(owned.success(), "chown of PostgreSQL's folder failed");
        let made = as_nobody(&programs.join("initdb"), folder.path())
            .args(["--auth=trust", "--username=bench", "--encoding=UTF8", "-D"])
            .arg(folder.path().join("data"))
            .stdout(Stdio::null())
            .status()?;
        ensure!(made.success(), "initdb failed");
        let port = tests::cluster::free_port()?.to_string();
        let child = as_nobody(&programs.join("postgres"), folder.path())
            .arg("-D")
            .arg(folder.path().join("data"))
            .args(["-h", "127.0.0.1", "-p", &port, "-k"])
            .arg(folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let server = Server {
            child,
            programs,
            folder,
            port,
        };
        eventually(
            "the yardstick's PostgreSQL",
            Duration::from_secs(30),
            || async { server.client("psql", &["-q", "-c", "SELECT 1"]).map(|_| ()) },
        )
        .await?;
        server.client("psql", &["-q", "-c", TABLE])?;
        std::fs::write(server.folder.path().join("insert.sql"), INSERT)?;
        Ok(Ok(server))
    }

    /// `count` inserts of one row each, one at a time on one connection, each synced: milliseconds.
    pub fn inserts(&self, count: usize) -> anyhow::Result<Vec<f64>> {
        let path = self.folder.path();
        let script = path.join("insert.sql").display().to_string();
        let log = path.join("times");
        let words = ["-n", "-M", "prepared", "-c", "1", "-j", "1", "-l"];
        let (count, prefix) = (count.to_string(), log.display().to_string());
        let mut arguments = words.to_vec();
        arguments.extend(["--log-prefix", &prefix, "-t", &count, "-f", &script]);
        self.client("pgbench", &arguments)?;
        let mut values = Vec::new();
        for entry in std::fs::read_dir(path)?.flatten() {
            if !entry.file_name().to_string_lossy().starts_with("times.") {
                continue;
            }
            for line in std::fs::read_to_string(entry.path())?.lines() {
                let microseconds: f64 = line
                    .split_whitespace()
                    .nth(2)
                    .and_then(|word| word.parse().ok())
                    .with_context(|| format!("pgbench wrote {line:?}"))?;
                values.push(microseconds / 1000.0);
            }
            std::fs::remove_file(entry.path())?;
        }
        ensure!(!values.is_empty(), "pgbench wrote no times");
        Ok(values)
    }

    /// The same as a rate.
    pub fn inserts_per_second(&self, count: usize) -> anyhow::Result<f64> {
        let times = self.inserts(count)?;
        Ok(1000.0 * times.len() as f64 / times.iter().sum::<f64>())
    }

    fn client(&self, program: &str, arguments: &[&str]) -> anyhow::Result<String> {
        let output = Command::new(self.programs.join(program))
            .args(["-h", "127.0.0.1", "-p", &self.port, "-U", "bench"])
            .args(arguments)
            .env("PGDATABASE", "postgres")
            .stdin(Stdio::null())
            .output()?;
        ensure!(
            output.status.success(),
            "{program}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // INT ends it and its workers; KILL would leave them, and their shared memory.
        let pid = nix::unistd::Pid::from_raw(self.child.id() as i32);
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT);
        let _ = self.child.wait();
    }
}

/// The newest version that Debian installed.
fn programs() -> Option<PathBuf> {
    let mut versions: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .ok()?
        .flatten()
        .map(|entry| entry.path().join("bin"))
        .filter(|folder| folder.join("initdb").exists())
        .collect();
    versions.sort();
    versions.pop()
}

/// The server refuses to run as root.
fn as_nobody(program: &Path, folder: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid=nobody", "--regid=nogroup", "--clear-groups"])
        .arg(program)
        .current_dir(folder)
        .stdin(Stdio::null());
    command
}
