//! An engine for one test, and the look around when it is over.

#![allow(dead_code, reason = "each test program uses its part")]

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use dea::sandbox::{
    Engine, EngineConfig, Events, Orders, Prepare, Sandbox, SandboxEvent, SandboxLimits, VCAP,
};

static COUNT: AtomicU32 = AtomicU32::new(0);

pub struct Yard {
    pub engine: Engine,
    pub config: EngineConfig,
    folder: tempfile::TempDir,
    finished: bool,
}

/// A failed test leaves nothing behind either.
impl Drop for Yard {
    fn drop(&mut self) {
        if self.finished {
            return;
        }
        let engine = self.engine.clone();
        let closing = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(engine.close());
        });
        let _ = closing.join();
        let _ = std::fs::remove_dir(self.config.run_folder.parent().unwrap());
    }
}

pub fn limits() -> SandboxLimits {
    SandboxLimits {
        memory_mb: 64,
        disk_mb: 32,
        cpu_shares: 128,
        pids: 64,
        fds: 1024,
    }
}

/// Where the two programs are, building them if this is a fresh clone.
fn programs() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        if let Some(folder) = std::env::var_os("STACKYARD_PROGRAMS") {
            return PathBuf::from(folder);
        }
        let status = Command::new(env!("CARGO"))
            .args(["build", "--quiet", "-p", "dea-shim"])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .status()
            .unwrap();
        assert!(status.success());
        let test = std::env::current_exe().unwrap();
        test.parent().unwrap().parent().unwrap().to_owned()
    })
}

fn missing() -> Option<String> {
    if !nix::unistd::geteuid().is_root() {
        return Some("not root".to_owned());
    }
    ["runc", "nft", "mkfs.ext4"]
        .iter()
        .find(|tool| Command::new(tool).arg("--help").output().is_err())
        .map(|tool| format!("{tool} is not installed"))
}

impl Yard {
    pub async fn start(name: &str) -> Option<Yard> {
        Yard::with_router(name, "127.0.0.1:9".parse().unwrap()).await
    }

    pub async fn with_router(name: &str, router: SocketAddr) -> Option<Yard> {
        if let Some(why) = missing() {
            // Not by the macro, whose output the test harness hides.
            let _ = std::io::Write::write_fmt(
                &mut std::io::stderr(),
                format_args!("SKIPPED {name}: {why}\n"),
            );
            return None;
        }
        let _ = tracing_subscriber::fmt()
            .with_writer(std::io::stderr)
            .try_init();
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let process = std::process::id();
        let tag = format!("{:x}", process % 0xfffff);
        // 10.192.0.0/10 in pieces of /24: one for each process and test.
        let piece = (process.wrapping_mul(37) + number) % 16_384;
        let (second, third) = (192 + piece / 256, piece % 256);
        let folder = tempfile::tempdir().unwrap();
        let config = EngineConfig {
            runtime: "runc".into(),
            supervisor: programs().join("stackyard-supervisor"),
            init: programs().join("stackyard-init"),
            run_folder: format!("/run/stackyard/test-{tag}-{number}/dea-1").into(),
            folder: folder.path().join("dea-1"),
            subnet: format!("10.{second}.{third}.0/24").parse().unwrap(),
            gateway: format!("10.{second}.{third}.1").parse().unwrap(),
            outside: None,
            interface_prefix: format!("t{tag}{}", (b'a' + (number % 26) as u8) as char),
            nft_table: format!("test_{tag}_{number}"),
            cgroup_parent: format!("/test-{tag}-{number}"),
            uid_base: 100_000_000 + (piece % 200) * 300 * 65_536,
            router,
            router_port: 8080,
            dns_port_udp: 53,
        };
        let engine = Engine::start(config.clone()).await.unwrap();
        Some(Yard {
            engine,
            config,
            folder,
            finished: false,
        })
    }

    pub fn request(&self, id: &str) -> Prepare {
        Prepare {
            id: id.to_owned(),
            stack: "host".to_owned(),
            limits: limits(),
            hostname: id.to_owned(),
            host_port: true,
            network: true,
            hosts: Vec::new(),
        }
    }

    pub async fn prepare(&self, id: &str) -> Sandbox {
        self.engine.prepare(self.request(id)).await.unwrap()
    }

    /// Another engine for the same sandboxes, as after a restart of the agent.
    pub async fn restart(&mut self) -> Vec<Sandbox> {
        self.engine = Engine::start(self.config.clone()).await.unwrap();
        self.engine.adopt_all().await.unwrap()
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Ends everything and checks that nothing is left on the machine.
    pub async fn finish(mut self) {
        self.finished = true;
        let config = self.config.clone();
        self.engine.clone().close().await;
        // A mount namespace that another test's sandbox was just making may hold a mount a little
        // longer.
        let mut left = leftovers(&config);
        for _ in 0..100 {
            if left.is_empty() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
            left = leftovers(&config);
        }
        assert!(left.is_empty(), "left behind: {left:#?}");
        let _ = std::fs::remove_dir(config.run_folder.parent().unwrap());
    }
}

/// Everything on this machine that belongs to the engine.
pub fn leftovers(config: &EngineConfig) -> Vec<String> {
    let run = config.run_folder.to_string_lossy().into_owned();
    let folder = config.folder.to_string_lossy().into_owned();
    let mut left = Vec::new();
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    left.extend(
        mounts
            .lines()
            .filter(|line| line.contains(&run))
            .map(str::to_owned),
    );
    for entry in std::fs::read_dir("/sys/class/net").unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if name.starts_with(&config.interface_prefix) {
            left.push(format!("interface {name}"));
        }
    }
    let tables = Command::new("nft")
        .args(["list", "tables"])
        .output()
        .unwrap();
    let tables = String::from_utf8_lossy(&tables.stdout).into_owned();
    left.extend(
        tables
            .lines()
            .filter(|line| line.ends_with(&config.nft_table))
            .map(str::to_owned),
    );
    for controller in std::fs::read_dir("/sys/fs/cgroup").unwrap() {
        let group = controller
            .unwrap()
            .path()
            .join(config.cgroup_parent.trim_matches('/'));
        if group.exists() {
            left.push(group.display().to_string());
        }
    }
    for process in std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.ok())
    {
        let line = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        if line.contains(&run) || line.contains(&folder) {
            left.push(format!("process {} {line}", process.file_name().display()));
        }
    }
    for device in std::fs::read_dir("/sys/block")
        .unwrap()
        .filter_map(|entry| entry.ok())
    {
        let file = device.path().join("loop/backing_file");
        let file = std::fs::read_to_string(file).unwrap_or_default();
        if file.contains(&folder) {
            left.push(format!("{} {file}", device.file_name().display()));
        }
    }
    if Path::new(&run).exists() {
        left.push(run);
    }
    let sandboxes = config.folder.join("sandboxes");
    if sandboxes.exists() {
        left.push(sandboxes.display().to_string());
    }
    left
}

/// Orders for a shell script as vcap.
pub fn shell(script: &str) -> Orders {
    Orders {
        argv: vec!["bash".into(), "-c".into(), script.into()],
        env: vec![
            "PATH=/usr/local/bin:/usr/bin:/bin".into(),
            "HOME=/home/vcap".into(),
            "LANG=C.UTF-8".into(),
        ],
        cwd: "/home/vcap".into(),
        uid: VCAP,
        gid: VCAP,
        fds: 1024,
    }
}

/// All events up to the exit.
pub async fn collect(events: &mut Events) -> Vec<SandboxEvent> {
    let mut seen = Vec::new();
    let reading = async {
        while let Some(event) = events.recv().await {
            let last = matches!(event, SandboxEvent::Exited { .. });
            seen.push(event);
            if last {
                break;
            }
        }
    };
    if tokio::time::timeout(Duration::from_secs(60), reading)
        .await
        .is_err()
    {
        panic!("no exit within a minute; seen: {seen:?}");
    }
    seen
}

/// The next line of output.
pub async fn next_line(events: &mut Events) -> String {
    let reading = async {
        loop {
            match events.recv().await {
                Some(SandboxEvent::Line { payload, .. }) => {
                    return String::from_utf8_lossy(&payload).into_owned();
                }
                Some(SandboxEvent::LinesLost { .. }) => {}
                other => panic!("no line but {other:?}"),
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(30), reading)
        .await
        .expect("a line within half a minute")
}

/// The lines of one stream.
pub fn text(events: &[SandboxEvent], wanted: bool) -> Vec<String> {
    events
        .iter()
        .filter_map(|event| match event {
            SandboxEvent::Line {
                stderr, payload, ..
            } if *stderr == wanted => Some(String::from_utf8_lossy(payload).into_owned()),
            _ => None,
        })
        .collect()
}
