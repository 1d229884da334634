//! One cluster on this machine, from its first file to its last leftover.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use daemon::{Cluster, Policy, Supervisor};
use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::Signal;
use proto::config::Settings;
use proto::config::place::NODE;
use proto::ids::ComponentId;
use proto::node::{ClusterFile, NodePhase};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tracing::{error, info, warn};

use crate::Wanted;
use crate::adapters::cleanup::Traces;
use crate::adapters::gate::Gate;
use crate::adapters::hosts_file::HostsFile;
use crate::adapters::layout::{self, Layout};
use crate::adapters::log_file;
use crate::adapters::machines::Records;
use crate::adapters::process;
use crate::adapters::sockets::Listeners;
use crate::adapters::store::StoreUser;
use crate::adapters::{control, files, machine, neighbours, wire};
use crate::board::Board;
use crate::crew::Crew;
use crate::domain::cast::{self, Part, ROUTER_HTTP, ROUTER_TLS};
use crate::domain::servers::StoreRole;
use crate::joined;
use crate::names;
use crate::plan::{self, Plan};
use crate::recast::{self, Asked, First, Place, Recast};
use crate::report;
use crate::rolling::{self, Rolling};

/// How long a node that is ending may keep the next one waiting.
const LOCK_DEADLINE: Duration = Duration::from_secs(4);

/// Starts the cluster and keeps it until somebody stops it.
pub async fn run(wanted: Wanted) -> anyhow::Result<()> {
    must_be_root()?;
    let telemetry = daemon::telemetry::init("info");
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen to SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen to SIGINT")?;

    // A terminal that is closed does not end the cluster.
    let _hangup = signal(SignalKind::hangup()).context("cannot listen to SIGHUP")?;

    files::folder(&wanted.home, 0o755)?;
    let home = std::fs::canonicalize(&wanted.home)
        .with_context(|| format!("cannot find {}", wanted.home.display()))?;
    let wanted = Wanted { home, ..wanted };
    let _lock = lock(&wanted.home).await?;
    let file = layout::cluster_file(&wanted)?;
    let roles = file.roles.clone();
    let plan = Plan::make(
        with_running(file, &wanted.home),
        &wanted.home,
        wanted.database_file.as_deref(),
    )?;
    renew_files(&plan).await?;
    let listeners = open_sockets(&plan)?;
    machine::prepare(&plan.file.id, &plan.layout.home)?;
    raise_descriptor_limit();

    let tasks = Supervisor::new();
    let (settings_sender, settings) = watch::channel(Arc::new(Settings::default()));
    telemetry.follow(settings.clone(), &tasks);
    let (wanted_sender, wanted_values) = watch::channel(rolling::Wanted::default());
    let mut crew = Crew::new(&plan, listeners, settings, wanted_values, &tasks)?;
    let (recasts, asked) = mpsc::channel(8);
    let place = open_place(&plan, recasts.clone(), &tasks).await?;
    let gate = match &place {
        Place::First(gate) => gate.clone(),
        Place::Joined(_) => None,
    };
    let socket = plan.layout.control_socket();
    control::serve(&socket, &crew.board, recasts, gate, &tasks)?;
    if plan.file.hosts {
        names::keep(&plan, &crew);
    }
    let board = crew.board.clone();
    keep_logs_small(plan.layout.node_log(), &board, &tasks);
    let (file, layout) = (plan.file.clone(), plan.layout.clone());
    let keeping = Keeping {
        plan,
        crew: &mut crew,
        place,
        settings: settings_sender,
        wanted: wanted_sender,
        first: First {
            roles,
            wishes: wanted.counts.wishes(),
        },
        asked,
    };
    let cause = tokio::select! {
        () = board.stop_requested() => "a request",
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
        result = keep_all(keeping) => match result? {},
    };

    info!(cause, "the cluster stops");
    board.request_stop();
    board.set_phase(NodePhase::Stopping);
    // What was wrong while it ran is not what is left now.
    board.recovered();
    crew.stop().await;
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

/// Starts the servers, then the daemons; never returns. Daemons that a killed node left are kept
/// at once: should one of them die, it must not wait for the store.
async fn keep_all(keeping: Keeping<'_>) -> anyhow::Result<Infallible> {
    let Keeping {
        plan,
        crew,
        place,
        settings,
        wanted,
        first,
        asked,
    } = keeping;
    let daemons: Vec<&Part> = plan
        .parts
        .iter()
        .filter(|part| part.component().is_some())
        .collect();
    let left_running = daemons.iter().any(|part| plan.alive(part).is_some());
    crew.keep(&Part::Nats);
    crew.keep(&Part::Etcd);
    if left_running {
        daemons.iter().for_each(|part| crew.keep(part));
    }
    if matches!(place, Place::First(_)) {
        prepare_store(&plan, &crew.board).await;
    }
    let me = ComponentId::new(NODE).expect("the name of the node is an identifier");
    let cluster = Cluster::connect_as(&plan.node_login(), plan.owners(&me)).await?;
    follow_settings(cluster.clone(), settings, &crew.tasks);
    report::keep(&plan.file.machine, &cluster, &crew.board, &crew.tasks);
    let rolling = Rolling {
        cluster: cluster.clone(),
        daemons: watch::Sender::new(recast::staying(&plan, &BTreeSet::new())),
        board: crew.board.clone(),
        wanted,
    };
    if let Err(error) = rolling.read().await {
        // They start with the defaults, and anew once the store tells otherwise.
        warn!(
            error = &error as &dyn std::error::Error,
            "what daemons are started with could not be read"
        );
    }
    rolling.clone().start(&crew.tasks);
    if !left_running {
        daemons.iter().for_each(|part| crew.keep(part));
    }
    let recast = Recast::new(plan, crew, cluster, place, rolling, asked);
    Ok(recast.follow(first).await)
}

/// What is needed to keep everything.
struct Keeping<'a> {
    plan: Plan,
    crew: &'a mut Crew,
    place: Place,
    settings: watch::Sender<Arc<Settings>>,
    wanted: watch::Sender<rolling::Wanted>,
    first: First,
    asked: mpsc::Receiver<Asked>,
}

/// The way to other machines: the gate of a first one, if it has one, or the link of one that joined.
async fn open_place(
    plan: &Plan,
    desk: mpsc::Sender<Asked>,
    tasks: &Supervisor,
) -> anyhow::Result<Place> {
    if let Some(joined) = &plan.file.joined {
        let link = joined::link(plan, joined, tasks)?;
        link.listen(&plan.linked()).await?;
        return Ok(Place::Joined(link));
    }
    let Some(address) = plan.file.advertise else {
        return Ok(Place::First(None));
    };
    let records = Records::open(&plan.layout.home)?;
    neighbours::keep_apart(&plan.file.id, &records).await?;
    let gate = Gate::open(
        address,
        records,
        wire::served(&plan.layout.gate())?,
        plan.services(),
        desk,
    )
    .await?;
    gate.serve(tasks);
    Ok(Place::First(Some(gate)))
}

/// The machine as it is to be, and what a killed node left besides: that is emptied before it stops.
fn with_running(mut file: ClusterFile, home: &Path) -> ClusterFile {
    let layout = Layout::new(home, &file);
    for (part, _) in plan::running(&layout) {
        if let Part::Daemon { role, index } = part {
            file.roles.add(role, index);
        }
    }
    file
}

/// Writes the parts' files; a part that runs with another one is renewed.
async fn renew_files(plan: &Plan) -> anyhow::Result<()> {
    for part in plan.write_files()? {
        let Some(identity) = plan.alive(&part) else {
            continue;
        };
        if part == Part::Nats {
            // Users are read anew without disturbing the others.
            identity.signal(Signal::SIGHUP);
        } else {
            info!(part = %part.name(), "a part runs with settings of before and is started anew");
            end(identity, &part).await;
        }
    }
    Ok(())
}

/// Opens the sockets of all parts that do not run; those of the others are taken over later.
fn open_sockets(plan: &Plan) -> anyhow::Result<Listeners> {
    let mut listeners = Listeners::new(plan.sockets());
    for part in &plan.parts {
        if plan.alive(part).is_some() {
            continue;
        }
        for name in part.sockets() {
            let Err(error) = listeners.open(&name) else {
                continue;
            };
            let address = listeners
                .address(&name)
                .map(|address| address.to_string())
                .unwrap_or_default();
            let advice = if name.starts_with(ROUTER_HTTP) {
                "choose another with --port, or stop that program"
            } else if name.starts_with(ROUTER_TLS) {
                "choose another with --tls-port, or stop that program"
            } else {
                "stop that program"
            };
            bail!("{address} cannot be listened on ({error}): {advice}");
        }
    }
    Ok(listeners)
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
    let home =
        std::fs::canonicalize(&home).with_context(|| format!("cannot find {}", home.display()))?;
    let _lock = lock(&home).await?;
    let layout = Layout::new(&home, &file);
    let running = plan::running(&layout);
    let parts: Vec<Part> = running.iter().map(|(part, _)| part.clone()).collect();
    for wave in cast::stop_waves(&parts) {
        let ending = running.iter().filter(|(part, _)| wave.contains(part)).map(
            |(part, identity)| {
                info!(part = %part.name(), pid = identity.pid, "a part without a node is stopped");
                end(*identity, part)
            },
        );
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
    let hosts_file = HostsFile::new(
        Path::new("/etc/hosts"),
        &file.id,
        IpAddr::V4(Ipv4Addr::LOCALHOST),
    );
    if let Err(error) = hosts_file.set(&Default::default()) {
        warn!(error = %format!("{:#}", anyhow::Error::from(error)), "the names of the cluster stay in the hosts file");
    }
    let traces = Traces {
        cluster: file.id.clone(),
        home: layout.home.clone(),
        run: layout.run.clone(),
    };
    let left = tokio::task::spawn_blocking(move || traces.remove())
        .await
        .unwrap_or_default();
    machine::restore(&file.id);
    left
}

/// The logs of the parts and, where `yard up` sends it, the node's own.
fn keep_logs_small(own: PathBuf, board: &Arc<Board>, tasks: &Supervisor) {
    const PERIOD: Duration = Duration::from_secs(30);
    let board = board.clone();
    tasks.spawn("logs", Policy::Restart, move |shutdown| {
        let (board, own) = (board.clone(), own.clone());
        async move {
            loop {
                tokio::select! {
                    () = tokio::time::sleep(PERIOD) => {}
                    () = shutdown.cancelled() => return Ok(()),
                }
                let parts = board.status().components.into_iter();
                let logs: Vec<PathBuf> = parts
                    .map(|part| PathBuf::from(part.log_file))
                    .chain([own.clone()])
                    .collect();
                tokio::task::spawn_blocking(move || {
                    for log in &logs {
                        match log_file::keep_small(log) {
                            Ok(true) => info!(log = %log.display(), "a log grew too large and was put aside"),
                            Ok(false) => {}
                            Err(error) => warn!(log = %log.display(), %error, "a log that grew too large stays"),
                        }
                    }
                })
                .await?;
            }
        }
    });
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
    let mut file = std::fs::OpenOptions::new()
        .create(true)
        .read(true)
        .write(true)
        .truncate(false)
        .open(&path)
        .with_context(failed)?;
    let begun = std::time::Instant::now();
    loop {
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => return Ok(lock),
            Err((back, nix::errno::Errno::EWOULDBLOCK)) => {
                if begun.elapsed() > LOCK_DEADLINE {
                    bail!(
                        "a node runs in {} already: stop it with `yard down`, or choose another --home",
                        home.display()
                    );
                }
                file = back;
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            Err((_, error)) => {
                return Err(
                    anyhow::Error::from(error).context(format!("cannot lock {}", path.display()))
                );
            }
        }
    }
}

/// Stops a process that has no keeper yet.
async fn end(identity: process::Identity, part: &Part) {
    identity.signal(Signal::SIGTERM);
    if tokio::time::timeout(part.stop_deadline(), identity.end())
        .await
        .is_err()
    {
        identity.signal_group(Signal::SIGKILL);
    }
}

/// Repeats until the store is prepared: it may need its time to come up after a crash.
async fn prepare_store(plan: &Plan, board: &Board) {
    let mut users = vec![StoreUser {
        name: "node".to_string(),
        password: plan.chosen.secret("node-store").to_string(),
        role: StoreRole::Operator,
        key: None,
    }];
    users.extend(plan.parts.iter().filter_map(|part| plan.store_user(part)));
    users.extend(plan.guest_users());
    while let Err(failure) = plan.prepare_store(&users).await {
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
