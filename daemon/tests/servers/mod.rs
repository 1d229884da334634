//! Real nats-server and etcd for tests: own ports, own temporary folders, ended with the value. The
//! tests of other crates include this file too.

#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "helpers of tests; each test file uses a part"
)]

use std::io::Write;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use daemon::{Bootstrap, BusConfig, ComponentId, Role, StoreConfig};
use proto::bus::catalogue;

/// Whether a program is there; says loudly when not.
pub fn has(test: &str, program: &str) -> bool {
    let found = std::env::var("PATH")
        .unwrap_or_default()
        .split(':')
        .any(|folder| Path::new(folder).join(program).exists());
    if !found {
        // Not by the macro, whose output the test harness hides.
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED {test}: {program} is not installed"
        );
    }
    found
}

pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

/// Waits until `check` gives something; shows its last refusal if it never does.
pub async fn eventually<T, F: AsyncFnMut() -> Result<T, String>>(
    within: Duration,
    mut check: F,
) -> T {
    let begun = Instant::now();
    loop {
        match check().await {
            Ok(value) => return value,
            Err(status) if begun.elapsed() > within => panic!("not within {within:?}: {status}"),
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

fn start(command: &mut Command) -> Child {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

fn end(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}

pub struct Nats {
    folder: tempfile::TempDir,
    pub port: u16,
    child: Option<Child>,
}

impl Nats {
    /// With one user per component, permissions from the catalogue, and one user `tool` that may all.
    pub fn start(components: &[(Role, &str)]) -> Nats {
        let folder = tempfile::tempdir().unwrap();
        let port = free_port();
        let mut users = vec!["{user: tool, password: secret}".to_string()];
        for (role, id) in components {
            let allowed = catalogue::permissions(*role, &ComponentId::new(*id).unwrap());
            let allowed = serde_json::json!({
                "publish": allowed.publish, "subscribe": allowed.subscribe,
                "allow_responses": {"max": 1000, "expires": "1m"},
            });
            users.push(format!(
                "{{user: {id}, password: secret, permissions: {allowed}}}"
            ));
        }
        let text = format!(
            "listen: \"127.0.0.1:{port}\"\nauthorization {{ users = [\n{}\n] }}\n",
            users.join("\n")
        );
        std::fs::write(folder.path().join("nats.conf"), text).unwrap();
        let mut nats = Nats {
            folder,
            port,
            child: None,
        };
        nats.up();
        nats
    }

    pub fn up(&mut self) {
        self.child = Some(start(
            Command::new("nats-server")
                .arg("-c")
                .arg(self.folder.path().join("nats.conf")),
        ));
    }

    pub fn down(&mut self) {
        if let Some(mut child) = self.child.take() {
            end(&mut child);
        }
    }

    pub fn config(&self, user: &str) -> BusConfig {
        BusConfig {
            servers: vec![format!("nats://127.0.0.1:{}", self.port)],
            user: user.to_string(),
            password: "secret".to_string(),
        }
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        self.down();
    }
}

pub struct Etcd {
    folder: tempfile::TempDir,
    name: String,
    port: u16,
    peer: u16,
    /// All members of its cluster.
    members: String,
    child: Option<Child>,
}

impl Etcd {
    pub fn start() -> Etcd {
        let [etcd] = Etcd::together(["one"]);
        etcd
    }

    /// Members of one cluster.
    pub fn together<const COUNT: usize>(names: [&str; COUNT]) -> [Etcd; COUNT] {
        let mut all = names.map(|name| Etcd {
            folder: tempfile::tempdir().unwrap(),
            name: name.to_string(),
            port: free_port(),
            peer: free_port(),
            members: String::new(),
            child: None,
        });
        let members: Vec<String> = all
            .iter()
            .map(|etcd| format!("{}={}", etcd.name, etcd.peer_url()))
            .collect();
        for etcd in &mut all {
            etcd.members = members.join(",");
            etcd.up();
        }
        all
    }

    fn peer_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.peer)
    }

    pub fn up(&mut self) {
        let (client, peer) = (self.endpoint(), self.peer_url());
        self.child = Some(start(
            Command::new("etcd")
                .args([
                    "--name",
                    &self.name,
                    "--listen-client-urls",
                    &client,
                    "--advertise-client-urls",
                    &client,
                ])
                .args([
                    "--listen-peer-urls",
                    &peer,
                    "--initial-advertise-peer-urls",
                    &peer,
                ])
                .args(["--initial-cluster", &self.members, "--unsafe-no-fsync"])
                // As the node starts it: an import changes the whole configuration at once.
                .args(["--max-txn-ops", "1024"])
                .arg("--data-dir")
                .arg(self.folder.path().join("data")),
        ));
    }

    pub fn down(&mut self) {
        if let Some(mut child) = self.child.take() {
            end(&mut child);
        }
    }

    /// The process stands still: connections stay open and nobody answers.
    pub fn hang(&self) {
        self.signal("-STOP");
    }

    pub fn go_on(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let child = self.child.as_ref().expect("it runs");
        let sent = Command::new("kill")
            .args([signal, &child.id().to_string()])
            .status()
            .unwrap();
        assert!(sent.success());
    }

    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub fn config(&self, user: &str) -> StoreConfig {
        let password = if user.is_empty() { "" } else { "secret" };
        StoreConfig {
            endpoints: vec![self.endpoint()],
            user: user.to_string(),
            password: password.to_string(),
        }
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        self.down();
    }
}

/// A bootstrap of dea-1 for these servers.
pub fn bootstrap(nats: &Nats, etcd: &Etcd, folder: &Path) -> Bootstrap {
    serde_json::from_value(serde_json::json!({
        "role": "dea", "component": "dea-1", "index": 1,
        "cluster": {"id": "c0ffee12", "domain": "yard.internal"},
        "home": folder, "folder": folder, "run": folder,
        "bus": nats.config("dea-1"), "store": etcd.config("dea-1"),
        "admin": {"address": format!("127.0.0.1:{}", free_port()), "user": "status", "password": "secret"},
        "settings": {},
    }))
    .unwrap()
}
