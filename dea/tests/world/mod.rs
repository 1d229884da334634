//! A real bus and a blob store around one real agent; and a tool's eyes on the bus.

#![allow(dead_code, reason = "each test uses a part")]

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path as UrlPath, State};
use axum::http::StatusCode;
use axum::routing::get;
use daemon::{
    Bootstrap, Bus, BusConfig, ComponentId, Deps, Role, Running, Sockets, StopCause, Supervisor,
};
use futures_util::StreamExt;
use proto::bus::automation::{ActionExited, ActionOutput, AutomationReport, PackContent};
use proto::bus::dea::{Advertisement, Limits, Shutdown, StartInstance, StopInstances};
use proto::bus::health::{Exited, Heartbeat, InstanceState};
use proto::bus::router::Registration;
use proto::bus::staging::Acknowledged;
use proto::bus::stream::{Ack, LogBatch, TaskExited};
use proto::bus::{Payload, catalogue};
use proto::ids::{DeaId, InstanceId, ProcessGuid, Version};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

pub const SOON: Duration = Duration::from_secs(20);
static COUNT: AtomicU32 = AtomicU32::new(0);

/// Everything seen on the bus, in order.
#[derive(Debug, Clone)]
pub enum Seen {
    Beat(Heartbeat),
    Advertised(Advertisement),
    Leaving(Shutdown),
    Registered(Registration),
    Unregistered(Registration),
    Exited(Exited),
    Task(TaskExited),
    Action(ActionExited),
    Printed(ActionOutput),
    Report(AutomationReport),
    Line(String, String),
    Lost(u64),
}

pub struct World {
    pub bus: Bus,
    pub seen: Arc<Mutex<Vec<Seen>>>,
    /// Whether facts are acknowledged.
    pub acknowledge: Arc<std::sync::atomic::AtomicBool>,
    pub blobs: Arc<Mutex<BTreeMap<String, Vec<u8>>>>,
    pub blob_url: String,
    pub gateway: Ipv4Addr,
    bootstrap: serde_json::Value,
    nats: Child,
    nats_port: u16,
    agent: Option<(Running, Supervisor)>,
    tasks: Supervisor,
    folder: tempfile::TempDir,
    run: PathBuf,
}

fn missing() -> Option<String> {
    if !nix::unistd::geteuid().is_root() {
        return Some("not root".to_string());
    }
    ["runc", "nft", "mkfs.ext4", "nats-server", "python3"]
        .iter()
        .find(|tool| Command::new(tool).arg("--help").output().is_err())
        .map(|tool| format!("{tool} is not installed"))
}

fn programs() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        if let Some(folder) = std::env::var_os("STACKYARD_PROGRAMS") {
            return PathBuf::from(folder);
        }
        let mut build = Command::new(env!("CARGO"));
        let built = build
            .args(["build", "--quiet", "-p", "dea-shim"])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .status();
        assert!(built.expect("cargo runs").success());
        let test = std::env::current_exe().expect("a test has a path");
        test.parent()
            .and_then(Path::parent)
            .expect("target/debug")
            .to_owned()
    })
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("a port")
        .port()
}

fn start_nats(folder: &Path, port: u16) -> Child {
    let path = folder.join("nats.conf");

    let allowed = catalogue::permissions(Role::Dea, &ComponentId::new("dea-1").expect("an id"));
    let allowed = serde_json::json!({
        "publish": allowed.publish, "subscribe": allowed.subscribe,
        "allow_responses": {"max": 1000, "expires": "1m"},
    });
    let text = format!(
        "listen: \"127.0.0.1:{port}\"\nauthorization {{ users = [\n{{user: tool, password: secret}}\n\
         {{user: dea-1, password: secret, permissions: {allowed}}}\n] }}\n"
    );
    std::fs::write(&path, text).expect("written");
    let mut command = Command::new("nats-server");
    command
        .arg("-c")
        .arg(path)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("nats-server starts")
}

impl World {
    /// `None`, loudly, if this machine cannot.
    pub async fn start(name: &str) -> Option<World> {
        World::with(name, |_| {}).await
    }

    /// With another bootstrap file.
    pub async fn with(name: &str, change: impl FnOnce(&mut serde_json::Value)) -> Option<World> {
        let mut world = World::empty(name, change).await?;
        world.watch(world.nats_port).await;
        world.start_agent().await;
        Some(world)
    }

    /// Without an agent, and nobody listens to the bus.
    pub async fn empty(name: &str, change: impl FnOnce(&mut serde_json::Value)) -> Option<World> {
        if let Some(why) = missing() {
            // Not by the macro, whose output the test harness hides.
            let _ = std::io::Write::write_fmt(
                &mut std::io::stderr(),
                format_args!("SKIPPED {name}: {why}\n"),
            );
            return None;
        }
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let process = std::process::id();
        let tag = format!("{:x}", process % 0xfffff);
        let piece = (process.wrapping_mul(41) + number + 8000) % 16_384;
        let (second, third) = (192 + piece / 256, piece % 256);
        let gateway = Ipv4Addr::new(10, second as u8, third as u8, 1);
        let folder = tempfile::tempdir().expect("a folder");
        let run = PathBuf::from(format!("/run/stackyard/agent-{tag}-{number}"));
        std::fs::create_dir_all(folder.path().join("dea-1")).expect("made");
        std::fs::create_dir_all(folder.path().join("buildpacks/static")).expect("made");
        let builder = folder.path().join("builder");
        std::fs::write(&builder, "#!/bin/bash\necho building \"$@\"\n").expect("written");
        std::fs::set_permissions(
            &builder,
            std::os::unix::fs::PermissionsExt::from_mode(0o755),
        )
        .expect("set");
        let nats_port = free_port();
        let nats = start_nats(folder.path(), nats_port);
        let programs = programs();
        let settings = serde_json::json!({
            "address": gateway, "subnet": format!("10.{second}.{third}.0/24"),
            "interface_prefix": format!("a{tag}{}", (b'a' + (number % 26) as u8) as char),
            "zone": "z1", "memory_mb": 2048, "disk_mb": 4096,
            "router_address": "127.0.0.1:9", "router_port": 8080, "domain": "yard.internal",
            "runtime": "runc",
            "supervisor": programs.join("stackyard-supervisor"), "init": programs.join("stackyard-init"),
            "builder": builder, "buildpacks": folder.path().join("buildpacks"),
            "python": Path::new(env!("CARGO_MANIFEST_DIR")).join("../python").canonicalize().expect("there"),
            "nft_table": format!("agent_{tag}_{number}"), "cgroup_parent": format!("/agent-{tag}-{number}"),
            "uid_base": 200_000_000u32 + (piece % 200) * 300 * 65_536,
        });
        let mut bootstrap = serde_json::json!({
            "role": "dea", "component": "dea-1", "index": 1,
            "cluster": {"id": "c0ffee12", "domain": "yard.internal"},
            "home": folder.path(), "folder": folder.path().join("dea-1"), "run": run,
            "bus": {"servers": [format!("nats://127.0.0.1:{nats_port}")], "user": "dea-1", "password": "secret"},
            "store": {"endpoints": ["http://127.0.0.1:9"], "user": "dea-1", "password": "secret"},
            "admin": {"address": format!("127.0.0.1:{}", free_port()), "user": "status", "password": "secret"},
            "settings": settings,
        });
        change(&mut bootstrap);
        let config = BusConfig {
            servers: vec![format!("nats://127.0.0.1:{nats_port}")],
            user: "tool".to_string(),
            password: "secret".to_string(),
        };
        let bus = Bus::connect(&config, &ComponentId::new("tool").expect("an id"))
            .await
            .expect("a bus");
        let mut status = bus.status();
        status
            .wait_for(|status| status.connected)
            .await
            .expect("connected");
        let tasks = Supervisor::new();
        let blobs: Arc<Mutex<BTreeMap<String, Vec<u8>>>> = Arc::default();
        let blob_url = serve_blobs(&tasks, blobs.clone()).await;
        Some(World {
            bus,
            seen: Arc::default(),
            acknowledge: Arc::new(true.into()),
            blobs,
            blob_url,
            gateway,
            bootstrap,
            nats,
            nats_port,
            agent: None,
            tasks,
            folder,
            run,
        })
    }

    /// What the agent of this world is started with.
    pub fn bootstrap(&self) -> &serde_json::Value {
        &self.bootstrap
    }

    /// Where its bus is.
    pub fn bus_address(&self) -> String {
        format!("127.0.0.1:{}", self.nats_port)
    }

    pub async fn start_agent(&mut self) {
        let bootstrap: Bootstrap =
            serde_json::from_value(self.bootstrap.clone()).expect("a bootstrap");
        let config = bootstrap.settings().expect("settings");
        let deps = Deps::build(bootstrap, Sockets::none()).await.expect("deps");
        let tasks = deps.tasks.clone();
        let agent = dea::start(config, deps).await.expect("the agent starts");
        self.agent = Some((agent, tasks));
        self.eventually("it advertises", |seen| matches!(seen, Seen::Advertised(_)))
            .await;
    }

    /// The agent ends because a part of it broke: its instances go on.
    pub async fn agent_breaks(&mut self) {
        let (agent, tasks) = self.agent.take().expect("it runs");
        tasks.request_stop(StopCause::TaskEnded {
            task: "test",
            reason: "a test".to_string(),
        });
        agent.stop(Duration::from_secs(10)).await;
    }

    pub fn bus_down(&mut self) {
        self.nats.kill().expect("killed");
        self.nats.wait().expect("gone");
    }

    pub async fn bus_up(&mut self) {
        self.nats = start_nats(self.folder.path(), self.nats_port);
        let mut status = self.bus.status();
        status
            .wait_for(|status| status.connected)
            .await
            .expect("connected");
    }

    /// What the agent was told of its role.
    pub fn told(&self, name: &str) -> String {
        let told = &self.bootstrap["settings"][name];
        told.as_str().expect("a text").to_string()
    }

    /// The agent's own folder.
    pub fn agent_folder(&self) -> PathBuf {
        self.folder.path().join("dea-1")
    }

    pub async fn stop_agent(&mut self) {
        if let Some((agent, _)) = self.agent.take() {
            agent.stop(Duration::from_secs(45)).await;
        }
    }

    /// Ends everything and looks for what is left.
    pub async fn finish(mut self) {
        self.stop_agent().await;
        self.tasks.stop(Duration::from_secs(1)).await;
        let run = self.run.to_string_lossy().into_owned();
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("read");
        let left: Vec<&str> = mounts.lines().filter(|line| line.contains(&run)).collect();
        assert!(left.is_empty(), "left behind: {left:#?}");
        let _ = std::fs::remove_dir(&self.run);
    }

    /// One subscription to everything, so that the order of what is seen is that of the bus.
    async fn watch(&self, port: u16) {
        let client = async_nats::ConnectOptions::with_user_and_password(
            "tool".to_string(),
            "secret".to_string(),
        )
        .connect(format!("127.0.0.1:{port}"))
        .await
        .expect("connected");
        let mut messages = client.subscribe(">").await.expect("subscribed");
        // Its own message tells that the server has taken the subscription.
        client
            .publish("test.listening", "".into())
            .await
            .expect("published");
        while messages.next().await.expect("connected").subject.as_str() != "test.listening" {}
        let (seen, acknowledge, shutdown) = (
            self.seen.clone(),
            self.acknowledge.clone(),
            self.tasks.shutdown(),
        );
        self.tasks.spawn_once("ear", async move {
            loop {
                let message = tokio::select! {
                    Some(message) = messages.next() => message,
                    () = shutdown.draining() => return,
                };
                if let Some(reply) = message.reply
                    && acknowledge.load(Ordering::SeqCst)
                {
                    let answer = match message.subject.as_str() {
                        "droplet.exited" => Acknowledged { ok: true }.encode(),
                        "yard.task.staging.exited"
                        | "yard.task.app.exited"
                        | "yard.action.exited" => Ack { ok: true }.encode(),
                        // Nobody else listens to everything: this one must not stay without an answer.
                        subject if subject.ends_with(".flush") => vec![],
                        _ => continue,
                    };
                    client
                        .publish(reply, answer.into())
                        .await
                        .expect("published");
                }
                seen.lock()
                    .expect("unbroken")
                    .extend(understand(message.subject.as_str(), &message.payload));
            }
        });
    }

    pub fn forget_seen(&self) {
        self.seen.lock().expect("unbroken").clear();
    }

    /// Where in all that was seen this comes first.
    pub fn position(&self, is_it: impl Fn(&Seen) -> bool) -> usize {
        let all = self.all_seen();
        all.iter()
            .position(is_it)
            .unwrap_or_else(|| panic!("not seen among {all:?}"))
    }

    pub fn all_seen(&self) -> Vec<Seen> {
        self.seen.lock().expect("unbroken").clone()
    }

    /// Waits for something on the bus; shows all of it if it never comes.
    pub async fn eventually(&self, what: &str, is_it: impl Fn(&Seen) -> bool) -> Seen {
        let begun = Instant::now();
        loop {
            if let Some(found) = self.all_seen().into_iter().find(&is_it) {
                return found;
            }
            assert!(
                begun.elapsed() < SOON,
                "never came: {what}; seen: {:#?}",
                self.all_seen()
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub async fn state(&self, instance: &str, state: InstanceState) {
        self.eventually(&format!("{instance} {state:?}"), |seen| {
            matches!(seen, Seen::Beat(beat) if beat.droplets.iter().any(|beat| beat.instance.as_str() == instance && beat.state == state))
        })
        .await;
    }

    pub async fn exited(&self, instance: &str) -> Exited {
        match self
            .eventually(
                "its exit",
                |seen| matches!(seen, Seen::Exited(exited) if exited.instance.as_str() == instance),
            )
            .await
        {
            Seen::Exited(exited) => exited,
            other => panic!("{other:?} is no exit"),
        }
    }

    /// Stores a droplet with these files below `app/`; its SHA-1.
    pub fn droplet(&self, files: &[(&str, &str)]) -> String {
        let bytes = archive(&["app/", "deps/", "logs/", "tmp/", "profile.d/"], files);
        let sha1 = dea::adapters::transfer::hex(&<sha1::Sha1 as sha1::Digest>::digest(&bytes));
        self.store(&sha1, bytes);
        sha1
    }

    /// Stores the staged content of a pack with these files below `content/`.
    pub fn pack(&self, pack: &str, files: &[(&str, &str)]) -> PackContent {
        let files: Vec<(String, &str)> = files
            .iter()
            .map(|(path, content)| (format!("content/{path}"), *content))
            .collect();
        let files: Vec<(&str, &str)> = files
            .iter()
            .map(|(path, content)| (path.as_str(), *content))
            .collect();
        let (url, sha256) = self.blob(&files);
        PackContent {
            pack: pack.into(),
            url,
            sha256,
            ..PackContent::default()
        }
    }

    /// An archive with `content/`, and these files in it or beside it: its address and checksum.
    pub fn blob(&self, files: &[(&str, &str)]) -> (String, String) {
        let bytes = archive(&["content/"], files);
        let digest = <sha2::Sha256 as sha2::Digest>::digest(&bytes);
        let sha256 = dea::adapters::transfer::hex(&digest);
        self.store(&sha256, bytes);
        (format!("{}/{sha256}", self.blob_url), sha256)
    }

    fn store(&self, name: &str, bytes: Vec<u8>) {
        let mut blobs = self.blobs.lock().expect("unbroken");
        blobs.insert(name.to_string(), bytes);
    }

    pub fn start_message(&self, instance: &str, sha1: &str, command: &str) -> StartInstance {
        StartInstance {
            droplet: ProcessGuid::new("process-1").expect("an id"),
            name: "shop".into(),
            stack: "host".into(),
            uris: vec!["shop.yard.internal".into()],
            prod: false,
            sha1: sha1.into(),
            executable_file: String::new(),
            executable_uri: format!("{}/{sha1}", self.blob_url),
            version: Version::new("version-1").expect("an id"),
            services: vec![],
            limits: Limits {
                mem: 96,
                disk: 64,
                fds: 1024,
            },
            env: vec!["GREETING=hello".into()],
            cc_partition: None,
            start_command: command.into(),
            health_check_timeout: Some(20),
            vcap_application: serde_json::json!({}),
            index: 0,
            egress_network_rules: vec![],
            yard_sha256: None,
            yard_app: Some("app-1".into()),
            yard_process_type: Some("web".into()),
            yard_health_check: None,
            yard_instance: Some(InstanceId::new(instance).expect("an id")),
            yard_epoch: Some(5),
            yard_routes: BTreeMap::new(),
        }
    }

    pub async fn order(&self, start: &StartInstance) {
        let topic = catalogue::dea_start_instance(&DeaId::new("dea-1").expect("an id"));
        self.bus.publish(&topic, start).await.expect("published");
    }

    /// Many answers to one question.
    pub async fn ask_all<M: Payload + Sync, R: Payload>(
        &self,
        topic: &proto::bus::Topic<M>,
        question: &M,
    ) -> Vec<R> {
        self.bus
            .request_many(topic, question, Duration::from_millis(800))
            .await
            .unwrap_or_default()
    }

    pub async fn order_stop(&self, instance: &str) {
        let message = StopInstances {
            droplet: ProcessGuid::new("process-1").expect("an id"),
            version: None,
            instances: Some(vec![InstanceId::new(instance).expect("an id")]),
            indices: None,
            states: None,
            yard_epoch: Some(5),
        };
        self.bus
            .publish(&catalogue::dea_stop(), &message)
            .await
            .expect("published");
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = self.nats.kill();
        let _ = self.nats.wait();
        if self.agent.is_none() {
            return;
        }
        // The test failed: its sandboxes must not stay.
        let bootstrap: Bootstrap =
            serde_json::from_value(self.bootstrap.clone()).expect("a bootstrap");
        let config: dea::Config = bootstrap.settings().expect("settings");
        let engine = dea::adapters::engine_config(&config, &bootstrap);
        let cleaning = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(async move {
                if let Ok(engine) = dea::sandbox::Engine::start(engine).await {
                    engine.close().await;
                }
            });
        });
        let _ = cleaning.join();
        let _ = std::fs::remove_dir(&self.run);
    }
}

/// A gzipped tar of these folders and files.
fn archive(folders: &[&str], files: &[(&str, &str)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(flate2::write::GzEncoder::new(
        Vec::new(),
        flate2::Compression::fast(),
    ));
    for folder in folders {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Directory);
        header.set_mode(0o755);
        header.set_size(0);
        builder
            .append_data(&mut header, folder, &[][..])
            .expect("appended");
    }
    for (path, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o755);
        builder
            .append_data(&mut header, path, content.as_bytes())
            .expect("appended");
    }
    let zipped = builder.into_inner().expect("finished");
    zipped.finish().expect("finished")
}

fn understand(subject: &str, payload: &[u8]) -> Vec<Seen> {
    fn one<M: Payload>(payload: &[u8], see: fn(M) -> Seen) -> Vec<Seen> {
        vec![see(
            M::decode(payload).unwrap_or_else(|fault| panic!("{fault}"))
        )]
    }
    match subject {
        "dea.heartbeat" => one(payload, Seen::Beat),
        "dea.advertise" => one(payload, Seen::Advertised),
        "dea.shutdown" => one(payload, Seen::Leaving),
        "router.register" => one(payload, Seen::Registered),
        "router.unregister" => one(payload, Seen::Unregistered),
        "droplet.exited" => one(payload, Seen::Exited),
        "yard.task.staging.exited" | "yard.task.app.exited" => one(payload, Seen::Task),
        "yard.action.exited" => one(payload, Seen::Action),
        "yard.action.output" => one(payload, Seen::Printed),
        "yard.automation.report" => one(payload, Seen::Report),
        subject if subject.starts_with("yard.log.") => {
            let batch = LogBatch::decode(payload).expect("a batch");
            let line = |line: proto::bus::stream::LogLine| {
                Seen::Line(
                    line.source_type,
                    String::from_utf8_lossy(&line.payload).into_owned(),
                )
            };
            batch
                .lines
                .into_iter()
                .map(line)
                .chain(batch.losses.into_iter().map(|loss| Seen::Lost(loss.lines)))
                .collect()
        }
        _ => vec![],
    }
}

type Blobs = Arc<Mutex<BTreeMap<String, Vec<u8>>>>;

async fn serve_blobs(tasks: &Supervisor, blobs: Blobs) -> String {
    async fn give(
        State(blobs): State<Blobs>,
        UrlPath(name): UrlPath<String>,
    ) -> Result<Vec<u8>, StatusCode> {
        blobs
            .lock()
            .expect("unbroken")
            .get(&name)
            .cloned()
            .ok_or(StatusCode::NOT_FOUND)
    }
    async fn take(
        State(blobs): State<Blobs>,
        UrlPath(name): UrlPath<String>,
        body: Bytes,
    ) -> StatusCode {
        blobs.lock().expect("unbroken").insert(name, body.to_vec());
        StatusCode::CREATED
    }
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let url = format!("http://{}/blobs", listener.local_addr().expect("bound"));
    let app = Router::new()
        .route("/blobs/{name}", get(give).put(take))
        .with_state(blobs);
    let shutdown = tasks.shutdown();
    tasks.spawn_once("blobs", async move {
        tokio::select! {
            _ = axum::serve(listener, app).into_future() => {}
            () = shutdown.draining() => {}
        }
    });
    url
}
