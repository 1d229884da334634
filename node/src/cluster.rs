//! One cluster on this machine, from its first file to its last leftover.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use daemon::{AdminConfig, Bootstrap, BusConfig, Cluster, ClusterIdentity, Policy, Role, StoreConfig, Supervisor};
use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::Signal;
use proto::config::Settings;
use proto::node::{ClusterFile, NodePhase};
use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Mutex, watch};
use tracing::{error, info, warn};

use crate::Wanted;
use crate::adapters::cleanup::{self, Traces};
use crate::adapters::hosts_file::HostsFile;
use crate::adapters::layout::{self, Chosen, Layout};
use crate::adapters::process::{self, Program};
use crate::adapters::sockets::Listeners;
use crate::adapters::store::{self, StoreUser};
use crate::adapters::{control, files, machine};
use crate::board::Board;
use crate::domain::cast::{self, Part};
use crate::domain::servers::{self, BusUser, StoreRole};
use crate::domain::{hosts, network};
use crate::keeper::{Keeper, Probe};

/// How often the names of apps are looked at.
const ROUTES_PERIOD: Duration = Duration::from_secs(1);
/// How long a node that is ending may keep the next one waiting.
const LOCK_DEADLINE: Duration = Duration::from_secs(4);

/// Starts the cluster and keeps it until somebody stops it.
pub async fn run(wanted: Wanted) -> anyhow::Result<()> {
    must_be_root()?;
    let telemetry = daemon::telemetry::init("info");
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen to SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen to SIGINT")?;

    files::folder(&wanted.home, 0o755)?;
    files::folder(&wanted.home.join("node"), 0o700)?;
    let home = std::fs::canonicalize(&wanted.home).with_context(|| format!("cannot find {}", wanted.home.display()))?;
    let wanted = Wanted { home, ..wanted };
    let _lock = lock(&wanted.home).await?;
    let file = layout::cluster_file(&wanted)?;
    let parts = cast::parts(file.deas);
    let layout = Layout::new(&wanted.home, &file);
    layout.create(&parts)?;
    let executables = Executables::find()?;
    let programs: BTreeMap<Part, Program> =
        parts.iter().map(|part| (part.clone(), program(part, &layout, &executables))).collect();
    end_surplus(&layout, &parts, &executables).await;
    raise_descriptor_limit();
    let alive = |part: &Part| programs.get(part).and_then(process::find);

    let owner = |port_name: &str| match port_name {
        "api" => "controller-1".to_string(),
        "collector" => "collector-1".to_string(),
        "etcd-peer" => "etcd".to_string(),
        other => other.trim_end_matches("-admin").to_string(),
    };
    let kept = |port_name: &str| parts.iter().any(|part| part.name() == owner(port_name) && alive(part).is_some());
    let chosen = Chosen::complete(&layout, &parts, kept)?;
    let plan = Plan { file: &file, layout: &layout, chosen: &chosen, executables: &executables, parts: &parts };
    files::once(&wanted.home.join("admin-password"), layout::person_password)?;
    let changed = plan.write_files()?;
    for part in &changed {
        if let Some(identity) = alive(part) {
            if *part == Part::Nats {
                // Users are read anew without disturbing the others.
                identity.signal(Signal::SIGHUP);
            } else {
                info!(part = %part.name(), "a part runs with settings of before and is started anew");
                end(identity, part).await;
            }
        }
    }
    machine::prepare(&file.id)?;

    let board = Arc::new(Board::new(&file.id));
    let tasks = Supervisor::new();
    for part in &parts {
        let admin = plan.admin(part).map(|address| format!("http://{address}"));
        board.add(part, admin, layout.log(part).display().to_string());
    }
    let mut listeners = Listeners::new(plan.sockets());
    for part in &parts {
        let Some(name) = part.socket() else { continue };
        if alive(part).is_none()
            && let Err(error) = listeners.open(name)
        {
            machine::restore(&file.id);
            let address = listeners.address(name).map(|address| address.to_string()).unwrap_or_default();
            let advice = if name == "router-http" { "choose another with --port, or stop that program" } else { "stop that program" };
            bail!("{address} cannot be listened on ({error}): {advice}");
        }
    }
    control::serve(&layout.control_socket(), &board, &tasks)?;

    let (settings_sender, settings) = watch::channel(Arc::new(Settings::default()));
    telemetry.follow(settings.clone(), &tasks);
    let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(2)).build().context("cannot make an HTTP client")?;
    let mut kept = Kept { stops: BTreeMap::new(), parts: parts.clone() };
    let sockets = Arc::new(Mutex::new(listeners));
    let mut keep = |part: &Part| {
        let Some(program) = programs.get(part) else { return };
        let (stop, stop_seen) = watch::channel(false);
        let (ended, ended_seen) = watch::channel(false);
        kept.stops.insert(part.clone(), (stop, ended_seen));
        Keeper {
            part: part.clone(),
            program: program.clone(),
            probe: plan.probe(part),
            board: board.clone(),
            sockets: sockets.clone(),
            settings: settings.clone(),
            http: http.clone(),
            stop: stop_seen,
            ended,
        }
        .start(&tasks);
    };
    keep(&Part::Nats);
    keep(&Part::Etcd);
    let stopping = async {
        tokio::select! {
            () = board.stop_requested() => "a request",
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        }
    };
    tokio::pin!(stopping);
    let cause = tokio::select! {
        cause = &mut stopping => Some(cause),
        () = prepare_store(&plan, &board) => None,
    };
    let cause = match cause {
        Some(cause) => cause,
        None => {
            let cluster = Cluster::connect(&plan.store_login("node", "node-store")).await?;
            follow_settings(cluster, settings_sender, &tasks);
            for part in &parts {
                if part.component().is_some() {
                    keep(part);
                }
            }
            if file.hosts {
                keep_hosts(&plan, &http, &tasks);
            }
            stopping.await
        }
    };

    info!(cause, "the cluster stops");
    board.set_phase(NodePhase::Stopping);
    kept.stop().await;
    let left = clear(&file, &layout).await;
    if !left.is_empty() {
        error!(?left, "something of the cluster is left on the machine");
        board.fail(format!("left on the machine: {}", left.join("; ")));
    }
    board.set_phase(NodePhase::Stopped);
    // Whoever asked for the end reads the answer.
    tasks.stop(Duration::from_secs(2)).await;
    info!("the cluster has stopped");
    Ok(())
}

fn must_be_root() -> anyhow::Result<()> {
    if !nix::unistd::geteuid().is_root() {
        bail!("a node must run as root, because it makes sandboxes: try with sudo");
    }
    Ok(())
}

/// Stops what runs of a cluster whose node was killed, and clears it away.
pub async fn stop_only(home: PathBuf) -> anyhow::Result<()> {
    must_be_root()?;
    daemon::telemetry::init("info");
    let Some(file) = files::read_json::<ClusterFile>(&home.join("cluster.json"))? else {
        return Ok(());
    };
    let home = std::fs::canonicalize(&home).with_context(|| format!("cannot find {}", home.display()))?;
    let _lock = lock(&home).await?;
    let layout = Layout::new(&home, &file);
    let executables = Executables::names();
    for wave in cast::stop_waves(&cast::parts(network::MAX_DEAS)) {
        let living = wave.iter().filter_map(|part| Some((part, process::find(&program(part, &layout, &executables))?)));
        let ending: Vec<_> = living
            .map(|(part, identity)| {
                info!(part = %part.name(), pid = identity.pid, "a part without a node is stopped");
                end(identity, part)
            })
            .collect();
        futures_util::future::join_all(ending).await;
    }
    let left = clear(&file, &layout).await;
    if !left.is_empty() {
        bail!("left on the machine: {}", left.join("; "));
    }
    Ok(())
}

/// What is to be done once all parts have ended; gives what could not be removed.
async fn clear(file: &ClusterFile, layout: &Layout) -> Vec<String> {
    // Also if the names are no longer wanted: a node before this one may have written them.
    let hosts_file = HostsFile::new(Path::new("/etc/hosts"), &file.id, IpAddr::V4(Ipv4Addr::LOCALHOST));
    if let Err(error) = hosts_file.set(&Default::default()) {
        warn!(error = %format!("{:#}", anyhow::Error::from(error)), "the names of the cluster stay in the hosts file");
    }
    let traces = Traces { cluster: file.id.clone(), home: layout.home.clone(), run: layout.run.clone() };
    let left = tokio::task::spawn_blocking(move || traces.remove()).await.unwrap_or_default();
    machine::restore(&file.id);
    left
}

/// Daemons inherit it: a router holds two descriptors for each request.
fn raise_descriptor_limit() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    const ENOUGH: u64 = 1 << 19;
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && soft < hard.min(ENOUGH)
        && let Err(error) = setrlimit(Resource::RLIMIT_NOFILE, hard.min(ENOUGH), hard)
    {
        warn!(%error, soft, "the limit of open files stays low");
    }
}

/// One node for one home. A node that is just ending is waited for.
async fn lock(home: &Path) -> anyhow::Result<Flock<std::fs::File>> {
    let path = home.join("node/lock");
    let failed = || format!("cannot open {}", path.display());
    files::folder(&home.join("node"), 0o700)?;
    let mut file = std::fs::OpenOptions::new().create(true).read(true).write(true).truncate(false).open(&path).with_context(failed)?;
    let begun = std::time::Instant::now();
    loop {
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => return Ok(lock),
            Err((back, nix::errno::Errno::EWOULDBLOCK)) => {
                if begun.elapsed() > LOCK_DEADLINE {
                    bail!("a node runs in {} already: stop it with `yard down`, or choose another --home", home.display());
                }
                file = back;
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            Err((_, error)) => return Err(anyhow::Error::from(error).context(format!("cannot lock {}", path.display()))),
        }
    }
}

/// The programs that a cluster is made of.
struct Executables {
    stackyard: PathBuf,
    nats: PathBuf,
    etcd: PathBuf,
    supervisor: PathBuf,
    init: PathBuf,
    buildpacks: PathBuf,
}

impl Executables {
    /// Enough to know running processes by.
    fn names() -> Executables {
        Executables {
            stackyard: "stackyard".into(),
            nats: "nats-server".into(),
            etcd: "etcd".into(),
            supervisor: PathBuf::new(),
            init: PathBuf::new(),
            buildpacks: PathBuf::new(),
        }
    }

    fn find() -> anyhow::Result<Executables> {
        let stackyard = std::env::current_exe().context("cannot find this executable")?;
        let stackyard = std::fs::canonicalize(&stackyard).unwrap_or(stackyard);
        let folder = stackyard.parent().map(Path::to_path_buf).unwrap_or_default();
        let server = |name: &str, package: &str| {
            process::which(name).with_context(|| format!("{name} is not installed: apt-get install {package}"))
        };
        let buildpacks = [
            std::env::var_os("STACKYARD_BUILDPACKS").map(PathBuf::from),
            Some(folder.join("../../buildpacks")),
            Some(folder.join("../share/stackyard/buildpacks")),
        ];
        let buildpacks = buildpacks.into_iter().flatten().find_map(|path| std::fs::canonicalize(path).ok());
        Ok(Executables {
            nats: server("nats-server", "nats-server")?,
            etcd: server("etcd", "etcd-server")?,
            supervisor: folder.join("stackyard-supervisor"),
            init: folder.join("stackyard-init"),
            buildpacks: buildpacks.context("the buildpacks are not found: set STACKYARD_BUILDPACKS to their folder")?,
            stackyard,
        })
    }
}

fn program(part: &Part, layout: &Layout, executables: &Executables) -> Program {
    let (executable, arguments) = match part {
        Part::Nats => (executables.nats.clone(), vec!["-c".to_string(), layout.folder(part).join("nats.conf").display().to_string()]),
        Part::Etcd => {
            (executables.etcd.clone(), vec!["--config-file".to_string(), layout.folder(part).join("etcd.yaml").display().to_string()])
        }
        Part::Daemon { .. } => {
            let bootstrap = layout.bootstrap(part).display().to_string();
            (executables.stackyard.clone(), vec!["daemon".to_string(), "--config".to_string(), bootstrap])
        }
    };
    Program { executable, arguments, folder: layout.folder(part), log: layout.log(part) }
}

/// Agents of a larger cluster that a killed node left running.
async fn end_surplus(layout: &Layout, parts: &[Part], executables: &Executables) {
    for part in cast::parts(network::MAX_DEAS).iter().filter(|part| !parts.contains(part)) {
        if let Some(identity) = process::find(&program(part, layout, executables)) {
            info!(part = %part.name(), "a part is no longer wanted and is stopped");
            end(identity, part).await;
        }
    }
}

/// Stops a process that has no keeper yet.
async fn end(identity: process::Identity, part: &Part) {
    identity.signal(Signal::SIGTERM);
    let gone = async {
        while identity.is_alive() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    if tokio::time::timeout(part.stop_deadline(), gone).await.is_err() {
        identity.signal_group(Signal::SIGKILL);
    }
}

/// The parts that are kept, and how to stop them.
struct Kept {
    stops: BTreeMap<Part, (watch::Sender<bool>, watch::Receiver<bool>)>,
    parts: Vec<Part>,
}

impl Kept {
    /// Stops them wave by wave.
    async fn stop(mut self) {
        for wave in cast::stop_waves(&self.parts) {
            let stops: Vec<_> = wave.iter().filter_map(|part| self.stops.remove(part)).collect();
            for (stop, _) in &stops {
                stop.send_replace(true);
            }
            for (_stop, mut ended) in stops {
                // The keeper has its own deadlines.
                let _ = ended.wait_for(|ended| *ended).await;
            }
        }
    }
}

/// Repeats until the store is prepared: it may need its time to come up after a crash.
async fn prepare_store(plan: &Plan<'_>, board: &Board) {
    let mut users = vec![StoreUser { name: "node".to_string(), password: plan.chosen.secret("node-store").to_string(), role: StoreRole::Operator }];
    for part in plan.parts {
        if let (Part::Daemon { role, .. }, Some(id)) = (part, part.component()) {
            let password = plan.chosen.secret(&format!("{id}-store")).to_string();
            users.push(StoreUser { name: id.to_string(), password, role: StoreRole::of(*role) });
        }
    }
    let endpoint = format!("http://127.0.0.1:{}", plan.chosen.port("etcd"));
    while let Err(failure) = store::prepare(&endpoint, plan.chosen.secret("etcd-root"), &users).await {
        let text = format!("{:#}", anyhow::Error::from(failure));
        error!(error = %text, "the cluster store cannot be prepared, it is tried again");
        board.fail(text);
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    board.recovered();
}

/// Hands the settings on, from a connection that is made after the keepers.
fn follow_settings(cluster: Cluster, sender: watch::Sender<Arc<Settings>>, tasks: &Supervisor) {
    let sender = Arc::new(sender);
    tasks.spawn("settings", Policy::Restart, move |shutdown| {
        let (mut settings, sender) = (cluster.settings(), sender.clone());
        async move {
            loop {
                let current = settings.borrow_and_update().clone();
                sender.send_replace(current);
                tokio::select! {
                    changed = settings.changed() => changed?,
                    () = shutdown.cancelled() => return Ok(()),
                }
            }
        }
    });
}

/// Keeps the names of the cluster in the hosts file: the system's at once, apps' as the router
/// learns them. While the router does not answer, the names stay as they are.
fn keep_hosts(plan: &Plan<'_>, http: &reqwest::Client, tasks: &Supervisor) {
    let file = Arc::new(plan.hosts_file());
    let router = plan.parts.iter().find(|part| matches!(part, Part::Daemon { role: Role::Router, .. })).and_then(|part| plan.admin(part));
    let url = router.map(|address| format!("http://{address}/routes"));
    let (http, domain) = (http.clone(), plan.file.domain.clone());
    tasks.spawn("hosts-file", Policy::Restart, move |shutdown| {
        let (file, http, domain, url) = (file.clone(), http.clone(), domain.clone(), url.clone());
        async move {
            file.set(&hosts::names(&domain, []))?;
            loop {
                tokio::select! {
                    () = tokio::time::sleep(ROUTES_PERIOD) => {}
                    // The block is removed by whoever stops the cluster.
                    () = shutdown.cancelled() => return Ok(()),
                }
                let Some(url) = &url else { continue };
                let Ok(answer) = http.get(url).send().await else { continue };
                if !answer.status().is_success() {
                    continue;
                }
                let Ok(document) = answer.json::<Value>().await else { continue };
                let mut texts = Vec::new();
                collect(&document, &mut texts);
                file.set(&hosts::names(&domain, texts))?;
            }
        }
    });
}

/// Every text in a document, keys too; what is no name under the domain is sorted out later.
fn collect<'a>(document: &'a Value, texts: &mut Vec<&'a str>) {
    match document {
        Value::String(text) => texts.push(text),
        Value::Array(items) => items.iter().for_each(|item| collect(item, texts)),
        Value::Object(fields) => {
            for (key, value) in fields {
                texts.push(key);
                collect(value, texts);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Everything chosen, to make files and addresses of.
struct Plan<'a> {
    file: &'a ClusterFile,
    layout: &'a Layout,
    chosen: &'a Chosen,
    executables: &'a Executables,
    parts: &'a [Part],
}

impl Plan<'_> {
    fn local(&self, port: &str) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.chosen.port(port)))
    }

    /// Where the router listens.
    fn router(&self) -> SocketAddr {
        SocketAddr::new(self.file.bind.parse().unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)), self.file.port)
    }

    /// Where the machine itself reaches the router.
    fn router_here(&self) -> SocketAddr {
        let router = self.router();
        if router.ip().is_unspecified() { SocketAddr::from((Ipv4Addr::LOCALHOST, router.port())) } else { router }
    }

    fn sockets(&self) -> Vec<(String, SocketAddr)> {
        vec![
            ("router-http".to_string(), self.router()),
            ("api".to_string(), self.local("api")),
            ("collector".to_string(), self.local("collector")),
        ]
    }

    fn admin(&self, part: &Part) -> Option<SocketAddr> {
        part.component().map(|id| self.local(&format!("{id}-admin")))
    }

    fn probe(&self, part: &Part) -> Probe {
        match (part, self.admin(part)) {
            (_, Some(address)) => Probe::Ready(address),
            (Part::Etcd, None) => Probe::Etcd(self.local("etcd")),
            (Part::Nats | Part::Daemon { .. }, None) => Probe::Accepts(self.local("nats")),
        }
    }

    fn hosts_file(&self) -> HostsFile {
        HostsFile::new(Path::new("/etc/hosts"), &self.file.id, self.router_here().ip())
    }

    fn store_login(&self, user: &str, secret: &str) -> StoreConfig {
        StoreConfig {
            endpoints: vec![format!("http://{}", self.local("etcd"))],
            user: user.to_string(),
            password: self.chosen.secret(secret).to_string(),
        }
    }

    /// Writes the files of all parts; gives those whose file changed.
    fn write_files(&self) -> anyhow::Result<Vec<Part>> {
        let mut changed = Vec::new();
        for part in self.parts {
            let (path, text) = match part {
                Part::Nats => (self.layout.folder(part).join("nats.conf"), self.nats_config()),
                Part::Etcd => {
                    let folder = self.layout.folder(part);
                    let text = servers::etcd_config(&self.file.id, &folder.join("data"), self.chosen.port("etcd"), self.chosen.port("etcd-peer"));
                    (folder.join("etcd.yaml"), text)
                }
                Part::Daemon { role, index } => (self.layout.bootstrap(part), self.bootstrap(part, *role, *index)?),
            };
            if files::read(&path)?.as_deref() != Some(text.as_str()) {
                files::write(&path, text.as_bytes(), 0o600)?;
                changed.push(part.clone());
            }
        }
        let tool = json!({
            "server": format!("nats://{}", self.local("nats")),
            "user": servers::TOOL,
            "password": self.chosen.secret("tool"),
        });
        files::write_json(&self.layout.node().join("tool.json"), &tool, 0o600)?;
        Ok(changed)
    }

    fn nats_config(&self) -> String {
        let users: Vec<BusUser<'_>> = self
            .parts
            .iter()
            .filter_map(|part| match part {
                Part::Daemon { role, .. } => {
                    let id = part.component()?;
                    let password = self.chosen.secret(&format!("{id}-bus"));
                    Some(BusUser { role: *role, id, password })
                }
                Part::Nats | Part::Etcd => None,
            })
            .collect();
        servers::nats_config(&self.file.id, self.chosen.port("nats"), &users, self.chosen.secret("tool"))
    }

    fn bootstrap(&self, part: &Part, role: Role, index: u32) -> anyhow::Result<String> {
        let component = part.component().context("a daemon has an id")?;
        let bootstrap = Bootstrap {
            role: role.name().to_string(),
            index,
            cluster: ClusterIdentity { id: self.file.id.clone(), domain: self.file.domain.clone() },
            home: self.layout.home.clone(),
            folder: self.layout.folder(part),
            run: self.layout.run.clone(),
            bus: BusConfig {
                servers: vec![format!("nats://{}", self.local("nats"))],
                user: component.to_string(),
                password: self.chosen.secret(&format!("{component}-bus")).to_string(),
            },
            store: self.store_login(component.as_str(), &format!("{component}-store")),
            admin: AdminConfig {
                address: self.local(&format!("{component}-admin")),
                user: "status".to_string(),
                password: self.chosen.secret("status").to_string(),
            },
            settings: self.settings(part, role, index)?,
            component,
        };
        Ok(format!("{}\n", serde_json::to_string_pretty(&bootstrap)?))
    }

    /// The role's own `Config`.
    fn settings(&self, part: &Part, role: Role, index: u32) -> anyhow::Result<Value> {
        let folder = self.layout.folder(part);
        Ok(match role {
            Role::Router => json!({ "http_socket": "router-http", "address": self.router() }),
            Role::Controller => {
                let key = |name: &str| -> anyhow::Result<PathBuf> {
                    let path = folder.join(name);
                    files::once(&path, layout::secret)?;
                    Ok(path)
                };
                let blobs = self.layout.home.join("blobs");
                files::folder(&blobs, 0o700)?;
                json!({
                    "address": self.local("api"),
                    "socket": "api",
                    "advertise": self.local("api").to_string(),
                    "database": format!("sqlite://{}", folder.join("controller.sqlite").display()),
                    "blobs": blobs,
                    "public_url": format!("http://api.{}:{}", self.file.domain, self.file.port),
                    "admin_password_file": self.layout.home.join("admin-password"),
                    "token_key_file": key("token.key")?,
                    "blob_key_file": key("blob.key")?,
                    "bulk_user": "bulk",
                    "bulk_password": self.chosen.secret("bulk"),
                    "stager_queue": "default",
                })
            }
            Role::Dea => {
                let share = network::share(self.chosen.second, index);
                json!({
                    "address": share.address,
                    "subnet": share.subnet,
                    "interface_prefix": format!("{}{index:x}", layout::interface_prefix(&self.file.id)),
                    "zone": "default",
                    "memory_mb": self.memory_mb(),
                    "disk_mb": null,
                    "router_address": self.router_here(),
                    "router_port": self.file.port,
                    "domain": self.file.domain,
                    "runtime": "runc",
                    "supervisor": self.executables.supervisor,
                    "init": self.executables.init,
                    "builder": self.executables.stackyard,
                    "buildpacks": self.executables.buildpacks,
                    "nft_table": cleanup::nft_table(&self.file.id, index),
                    "cgroup_parent": cleanup::cgroup_parent(&self.file.id, index),
                    "uid_base": share.uid_base,
                })
            }
            Role::HealthManager | Role::Registrar => json!({}),
            Role::Stager => json!({ "queue": "default" }),
            Role::Collector => json!({
                "address": self.local("collector"),
                "socket": "collector",
                "controller_url": format!("http://{}", self.local("api")),
            }),
        })
    }

    /// Several agents share the machine's memory; a single one finds out for itself.
    fn memory_mb(&self) -> Option<u64> {
        if self.file.deas < 2 {
            return None;
        }
        let text = std::fs::read_to_string("/proc/meminfo").ok()?;
        let kib: u64 = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?.split_whitespace().next()?.parse().ok()?;
        Some((kib / 1024).saturating_sub(512) / u64::from(self.file.deas))
    }
}
