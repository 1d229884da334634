//! The real executable with real servers and daemons: start, kill, adopt, stop.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use proto::node::{
    ClusterFile, ComponentState, ComponentStatus, NodePhase, NodeRequest, NodeStatus,
};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

const SOON: Duration = Duration::from_secs(90);

struct Cluster {
    folder: tempfile::TempDir,
    port: u16,
    node: Option<Child>,
}

impl Cluster {
    fn new() -> Cluster {
        let folder = tempfile::Builder::new()
            .prefix("yard-node-")
            .tempdir()
            .unwrap();
        std::fs::set_permissions(
            folder.path(),
            std::os::unix::fs::PermissionsExt::from_mode(0o755),
        )
        .unwrap();
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        Cluster {
            folder,
            port,
            node: None,
        }
    }

    fn home(&self) -> PathBuf {
        self.folder.path().join("home")
    }

    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_stackyard"));
        command
            .arg("node")
            .arg("--home")
            .arg(self.home())
            .stdin(Stdio::null());
        command
    }

    fn start(&mut self) {
        let log = std::fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(self.folder.path().join("node.log"))
            .unwrap();
        let mut command = self.command();
        command.args([
            "--port",
            &self.port.to_string(),
            "--domain",
            "node-test.internal",
            "--no-hosts",
        ]);
        self.node = Some(
            command
                .stdout(log.try_clone().unwrap())
                .stderr(log)
                .spawn()
                .unwrap(),
        );
    }

    fn kill_node(&mut self) {
        let mut node = self.node.take().unwrap();
        node.kill().unwrap();
        node.wait().unwrap();
    }

    fn file(&self) -> Option<ClusterFile> {
        serde_json::from_str(&std::fs::read_to_string(self.home().join("cluster.json")).ok()?).ok()
    }

    async fn ask(&self, request: NodeRequest) -> Result<NodeStatus, String> {
        let file = self.file().ok_or("no cluster file yet")?;
        let path = Path::new(&file.run_folder).join("node.sock");
        let asking = async {
            let stream = tokio::net::UnixStream::connect(path).await?;
            let (reader, mut writer) = stream.into_split();
            writer
                .write_all(format!("{}\n", serde_json::to_string(&request)?).as_bytes())
                .await?;
            let mut line = String::new();
            BufReader::new(reader).read_line(&mut line).await?;
            Ok::<NodeStatus, std::io::Error>(serde_json::from_str(&line)?)
        };
        let answer = tokio::time::timeout(SOON, asking)
            .await
            .map_err(|error| error.to_string())?;
        answer.map_err(|error| error.to_string())
    }

    async fn running(&self) -> NodeStatus {
        eventually(SOON, async || {
            let status = self.ask(NodeRequest::Status).await?;
            let all = status
                .components
                .iter()
                .all(|part| part.state == ComponentState::Ready);
            if all && status.phase == NodePhase::Running {
                Ok(status)
            } else {
                Err(self.describe(&status))
            }
        })
        .await
    }

    fn describe(&self, status: &NodeStatus) -> String {
        let parts: Vec<String> = status
            .components
            .iter()
            .map(|part| format!("{} {:?} {}", part.name, part.state, part.detail))
            .collect();
        format!(
            "{:?} {:?}\n{}",
            status.phase,
            status.error,
            parts.join("\n")
        )
    }

    async fn part(&self, name: &str) -> Result<ComponentStatus, String> {
        let status = self.ask(NodeRequest::Status).await?;
        status
            .components
            .into_iter()
            .find(|part| part.name == name)
            .ok_or_else(|| format!("no part {name}"))
    }

    /// Kills a part and waits until its successor is ready; gives the time that took.
    async fn kill_part(&self, name: &str) -> Duration {
        let before = self.part(name).await.unwrap();
        let killed = Instant::now();
        kill(Pid::from_raw(before.pid.unwrap() as i32), Signal::SIGKILL).unwrap();
        eventually(SOON, async || {
            let now = self.part(name).await?;
            let fresh =
                now.pid.is_some() && now.pid != before.pid && now.state == ComponentState::Ready;
            if fresh {
                Ok(())
            } else {
                Err(format!("{now:?}"))
            }
        })
        .await;
        killed.elapsed()
    }

    fn processes(&self) -> Vec<String> {
        let home = self.home().display().to_string();
        let lines = node::adapters::process::all()
            .into_iter()
            .filter_map(|pid| {
                let line = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
                let line = String::from_utf8_lossy(&line).replace('\0', " ");
                line.contains(&home).then_some(line)
            });
        lines.collect()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "{}",
                std::fs::read_to_string(self.folder.path().join("node.log")).unwrap_or_default()
            );
        }
        if let Some(mut node) = self.node.take() {
            let _ = kill(Pid::from_raw(node.id() as i32), Signal::SIGTERM);
            let _ = node.wait();
        }
        let _ = self.command().arg("--stop-only").status();
    }
}

async fn eventually<T, F: AsyncFnMut() -> Result<T, String>>(within: Duration, mut check: F) -> T {
    let begun = Instant::now();
    loop {
        match check().await {
            Ok(value) => return value,
            Err(status) if begun.elapsed() > within => panic!("not within {within:?}: {status}"),
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        .mode()
        & 0o777
}

fn ready_to_test(test: &str) -> bool {
    let missing = ["nats-server", "etcd", "runc"]
        .into_iter()
        .find(|name| node::adapters::process::which(name).is_none());
    let beside = Path::new(env!("CARGO_BIN_EXE_stackyard")).with_file_name("stackyard-supervisor");
    let why = if !nix::unistd::geteuid().is_root() {
        "it needs root".to_string()
    } else if let Some(missing) = missing {
        format!("{missing} is not installed")
    } else if !beside.exists() {
        format!("{} is not built: cargo build -p dea-shim", beside.display())
    } else {
        return true;
    };
    // Not by the macro, whose output the test harness hides.
    let _ = writeln!(std::io::stderr(), "SKIPPED {test}: {why}");
    false
}

/// Connects all the time and counts who is refused.
struct Knocking {
    stop: Arc<AtomicBool>,
    refused: Arc<AtomicU64>,
    task: tokio::task::JoinHandle<u64>,
}

impl Knocking {
    fn at(address: SocketAddr) -> Knocking {
        let (stop, refused) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicU64::new(0)),
        );
        let (ended, counted) = (stop.clone(), refused.clone());
        #[expect(clippy::disallowed_methods, reason = "a test has no supervisor")]
        let task = tokio::spawn(async move {
            let mut knocked = 0;
            while !ended.load(Ordering::SeqCst) {
                if tokio::net::TcpStream::connect(address).await.is_err() {
                    counted.fetch_add(1, Ordering::SeqCst);
                }
                knocked += 1;
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            knocked
        });
        Knocking {
            stop,
            refused,
            task,
        }
    }

    async fn end(self) -> u64 {
        self.stop.store(true, Ordering::SeqCst);
        assert!(self.task.await.unwrap() > 10);
        self.refused.load(Ordering::SeqCst)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_lives_through_the_death_of_its_parts_and_of_its_node() {
    if !ready_to_test("a_cluster_lives_through_the_death_of_its_parts_and_of_its_node") {
        return;
    }
    let mut cluster = Cluster::new();
    let home = cluster.home();
    let router = SocketAddr::from((Ipv4Addr::LOCALHOST, cluster.port));

    // Start.
    cluster.start();
    let first = cluster.running().await;
    assert_eq!(first.components.len(), 9, "{}", cluster.describe(&first));
    assert_eq!(mode(&home), 0o755);
    for secret in [
        "admin-password",
        "node/secrets.json",
        "node/bootstrap/dea-1.json",
        "nats/nats.conf",
        "controller/token.key",
    ] {
        assert_eq!(mode(&home.join(secret)), 0o600, "{secret}");
    }
    assert_eq!(mode(&home.join("node")), 0o700);
    let password = std::fs::read_to_string(home.join("admin-password")).unwrap();
    let (ports, file) = (
        std::fs::read_to_string(home.join("node/ports.json")).unwrap(),
        cluster.file().unwrap(),
    );

    // One node for one home.
    let second = cluster.command().output().unwrap();
    let text = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(
        !second.status.success() && text.contains("a node runs in") && text.lines().count() == 1,
        "{text}"
    );

    // A killed router refuses nobody; a killed bus comes back.
    let knocking = Knocking::at(router);
    let took = cluster.kill_part("router-1").await;
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert_eq!(
        knocking.end().await,
        0,
        "connections wait while the router is restarted"
    );
    cluster.kill_part("nats").await;
    cluster.running().await;

    // A killed node takes nobody with it, and its successor adopts all, their sockets too.
    let pids = |status: &NodeStatus| {
        status
            .components
            .iter()
            .map(|part| (part.name.clone(), part.pid))
            .collect::<Vec<_>>()
    };
    let before = cluster.running().await;
    cluster.kill_node();
    assert!(tokio::net::TcpStream::connect(router).await.is_ok());
    cluster.start();
    let after = cluster.running().await;
    assert_eq!(pids(&after), pids(&before));
    let knocking = Knocking::at(router);
    cluster.kill_part("router-1").await;
    assert_eq!(
        knocking.end().await,
        0,
        "the new node has the listening socket"
    );

    // Stop leaves nothing; start again is the same cluster.
    let stopped = cluster.ask(NodeRequest::Stop).await.unwrap();
    assert_eq!(
        (stopped.phase, stopped.error.as_deref()),
        (NodePhase::Stopped, None)
    );
    assert!(cluster.node.take().unwrap().wait().unwrap().success());
    assert_eq!(cluster.processes(), Vec::<String>::new());
    assert!(!Path::new(&file.run_folder).exists());
    cluster.start();
    cluster.running().await;
    assert_eq!(cluster.file().unwrap(), file);
    assert_eq!(
        std::fs::read_to_string(home.join("admin-password")).unwrap(),
        password
    );
    assert_eq!(
        std::fs::read_to_string(home.join("node/ports.json")).unwrap(),
        ports
    );

    // What a killed node left is stopped without starting anything.
    cluster.kill_node();
    assert!(!cluster.processes().is_empty());
    assert!(
        cluster
            .command()
            .arg("--stop-only")
            .status()
            .unwrap()
            .success()
    );
    assert_eq!(cluster.processes(), Vec::<String>::new());
    assert!(!Path::new(&file.run_folder).exists());
}

#[tokio::test]
async fn what_cannot_be_is_said_in_one_line() {
    if !ready_to_test("what_cannot_be_is_said_in_one_line") {
        return;
    }
    let cluster = Cluster::new();
    let taken = TcpListener::bind(("127.0.0.1", cluster.port)).unwrap();
    let port = cluster.port.to_string();
    for (arguments, expected) in [
        (vec!["--domain", "UPPER case"], "is no domain"),
        (vec!["--deas", "99"], "--deas takes one from 1 to 16"),
        (vec!["--routers", "9"], "--routers takes one from 1 to 8"),
        (vec!["--controllers", "2"], "2 controllers need PostgreSQL"),
        (vec!["--port", "0"], "no port to answer at"),
        (
            vec!["--port", port.as_str(), "--no-hosts"],
            "choose another with --port",
        ),
        (
            vec!["--domain", "other.internal"],
            "has the domain yard.internal",
        ),
    ] {
        let output = cluster.command().args(&arguments).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        let faults: Vec<&str> = text
            .lines()
            .filter(|line| line.starts_with("stackyard:"))
            .collect();
        assert!(
            !output.status.success() && faults.len() == 1 && faults[0].contains(expected),
            "{arguments:?}: {text}"
        );
    }
    drop(taken);
}
