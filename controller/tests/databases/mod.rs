//! Empty databases of both kinds for tests: SQLite in a temporary folder, and a PostgreSQL server
//! of its own, ended with the value.

#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "helpers of tests"
)]

use controller::store::Store;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A database of one kind, with its server if it has one.
pub struct Database {
    pub kind: &'static str,
    /// For another store over the same tables.
    pub url: String,
    pub store: Store,
    server: Option<Postgres>,
    folder: tempfile::TempDir,
}

impl Database {
    /// An empty SQLite database.
    pub async fn sqlite() -> Database {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", folder.path().join("test.sqlite").display());
        Database {
            kind: "SQLite",
            store: Store::open(&url).await.unwrap(),
            url,
            server: None,
            folder,
        }
    }

    /// An empty PostgreSQL database with its server; None where it is not installed.
    pub async fn postgres() -> Option<Database> {
        Database::postgres_with("fsync=off").await
    }

    /// The same; what it has committed is on disk.
    pub async fn durable_postgres() -> Option<Database> {
        Database::postgres_with("fsync=on").await
    }

    async fn postgres_with(setting: &str) -> Option<Database> {
        let (server, folder) = Postgres::start(setting)?;
        let store = server.open().await;
        Some(Database {
            kind: "PostgreSQL",
            url: server.url(),
            store,
            server: Some(server),
            folder,
        })
    }
}

/// One of each kind; says loudly when PostgreSQL is not installed.
pub async fn each(test: &str) -> Vec<Database> {
    let mut all = vec![Database::sqlite().await];
    match Database::postgres().await {
        Some(database) => all.push(database),
        None => {
            // Not by the macro, whose output the test harness hides.
            let _ = std::io::Write::write_fmt(
                &mut std::io::stderr(),
                format_args!("SKIPPED {test} on PostgreSQL: initdb is not installed\n"),
            );
        }
    }
    all
}

struct Postgres {
    child: Child,
    port: u16,
}

fn programs() -> Option<PathBuf> {
    let mut versions: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .ok()?
        .filter_map(|entry| Some(entry.ok()?.path().join("bin")))
        .filter(|folder| folder.join("initdb").exists())
        .collect();
    versions.sort();
    versions.pop()
}

/// The server refuses to run as root: then it runs as nobody.
fn command(program: &Path, as_nobody: bool) -> Command {
    if !as_nobody {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid=nobody", "--regid=nogroup", "--clear-groups"])
        .arg(program);
    command
}

impl Postgres {
    fn start(setting: &str) -> Option<(Postgres, tempfile::TempDir)> {
        let programs = programs()?;
        let folder = tempfile::tempdir().unwrap();
        let root = std::fs::metadata("/proc/self")
            .is_ok_and(|me| std::os::unix::fs::MetadataExt::uid(&me) == 0);
        if root {
            let owned = Command::new("chown")
                .arg("nobody:nogroup")
                .arg(folder.path())
                .status()
                .unwrap();
            assert!(owned.success());
        }
        let data = folder.path().join("data");
        let made = command(&programs.join("initdb"), root)
            .args([
                "--auth=trust",
                "--username=test",
                "--encoding=UTF8",
                "--no-sync",
                "-D",
            ])
            .arg(&data)
            .current_dir(folder.path())
            .stdout(Stdio::null())
            .status()
            .unwrap();
        assert!(made.success(), "initdb failed");
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let child = command(&programs.join("postgres"), root)
            .arg("-D")
            .arg(&data)
            .args([
                "-p",
                &port.to_string(),
                "-h",
                "127.0.0.1",
                "-c",
                setting,
                "-k",
            ])
            .arg(folder.path())
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Some((Postgres { child, port }, folder))
    }

    fn url(&self) -> String {
        format!("postgres://test@127.0.0.1:{}/postgres", self.port)
    }

    async fn open(&self) -> Store {
        let url = self.url();
        let begun = Instant::now();
        loop {
            match Store::open(&url).await {
                Ok(store) => return store,
                Err(error) if begun.elapsed() > Duration::from_secs(20) => {
                    panic!("PostgreSQL does not come up: {error:?}")
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // TERM waits for clients; INT ends them, and the workers with the server.
        let _ = Command::new("kill")
            .args(["-INT", &self.child.id().to_string()])
            .status();
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(5) {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
