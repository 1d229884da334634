//! The router: HTTP and WebSocket from clients to the instances of apps.
//!
//! It asks nobody anything: the route table comes from registrations on the bus and survives the
//! bus, the store and the router's own restart. What can be decided without I/O (which bytes are a
//! request, which route it means, which instance gets it, which headers it carries) is in
//! [`domain`]; [`adapters`] carry it out.

pub mod adapters;
pub mod domain;

use adapters::access_log::AccessLog;
use adapters::backends::Backends;
use adapters::certificates::Certificates;
use adapters::client_authorities::ClientAuthorities;
use adapters::clock::Clock;
use adapters::condemned::Condemned;
use adapters::counters::Counters;
use adapters::crowd::Crowd;
use adapters::doors::Doors;
use adapters::error_page::ErrorPage;
use adapters::failures::Failures;
use adapters::fronts::{self, FrontSocket};
use adapters::latencies::Latencies;
use adapters::ordered::Ordered;
use adapters::proxy::Worker;
use adapters::registry::{Keeper, RegistryCounts, describe};
use adapters::sleepers::Sleepers;
use adapters::traffic::Reporter;
use adapters::trust::Trust;
use adapters::{server, table_file};
use anyhow::Context;
use arc_swap::ArcSwap;
use daemon::{Deps, LogSender, Policy, Running};
use domain::account::{Look, Wanted, tell};
use domain::departures::Departures;
use domain::policy::Policy as Settings;
use domain::route_service::Seals;
use domain::table::{Registry, Table};
use serde::Deserialize;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::sync::Notify;

/// Threads that serve clients, one for each core. With more of them connections to instances would find fewer requests
/// to be used again for.
const MOST_THREADS: usize = 16;

/// What the node writes for this role.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Name of the inherited listener.
    #[serde(default = "default_socket")]
    pub http_socket: String,
    /// Where to listen if none was inherited.
    pub address: SocketAddr,
    /// The entrance for TLS; without it there is none.
    #[serde(default)]
    pub tls: Option<TlsConfig>,
    /// The folder of authorities whose word about an instance counts; without it no instance is reached
    /// over TLS.
    #[serde(default)]
    pub trust: Option<PathBuf>,
    /// A file of secrets that all routers of the cluster have, one a line, for route services; without it there
    /// are none. The first seals, all are believed.
    #[serde(default)]
    pub route_service_keys: Option<PathBuf>,
}

/// The entrance for TLS.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsConfig {
    /// Name of the inherited listener.
    pub socket: String,
    /// Where to listen if none was inherited.
    pub address: SocketAddr,
    /// The folder of PEM files, each a private key and its chain.
    pub certificates: PathBuf,
    /// The folder of authorities whose word about clients counts.
    #[serde(default)]
    pub client_authorities: Option<PathBuf>,
    /// A file of secrets that controllers and routers have, one a line, for certificates that the cluster orders; without
    /// it the router has none of those.
    #[serde(default)]
    pub certificate_key_file: Option<PathBuf>,
}

fn default_socket() -> String {
    "router-http".to_string()
}

/// Starts the router.
pub async fn start(config: Config, deps: Deps) -> anyhow::Result<Running> {
    let clock = Clock::start();
    let readiness = deps.readiness();
    readiness.set("table", false, "the route table is not read yet");
    let settings = deps.cluster.settings();
    let policy = Arc::new(ArcSwap::from_pointee(Settings::read(&settings.borrow())));
    let policy_changed = Arc::new(Notify::new());
    follow_settings(&deps, policy.clone(), policy_changed.clone());

    let listener = listener(&deps, &config.http_socket, config.address)?;
    let address = listener
        .local_addr()
        .context("the listener has no address")?;

    let secure = match &config.tls {
        Some(tls) => Some(secure_socket(&deps, tls)?),
        None => None,
    };
    let tls_port = match &secure {
        Some(socket) => Some(socket.listener.local_addr()?.port()),
        None => None,
    };

    let trust = Trust::new(config.trust.clone());
    let watched = trust.clone();
    deps.tasks.spawn("trust", Policy::Restart, move |shutdown| {
        watched.clone().run(shutdown)
    });
    let mut registry = Registry::default();
    let file = deps.bootstrap.folder.join("table.json");
    match table_file::load(&file, &mut registry, trust.is_there(), clock.now()).await {
        Ok(endpoints) => tracing::info!(endpoints, "the last route table was read"),
        Err(error) => {
            tracing::warn!(error = %format!("{error:#}"), "the last route table is of no use")
        }
    }
    let table: Arc<ArcSwap<Table>> = Arc::new(ArcSwap::from_pointee(registry.snapshot()));
    let reporter = Arc::new(Reporter {
        bus: deps.bus.clone(),
        component: deps.component.clone(),
        policy: policy.clone(),
        tallies: registry.tallies(),
        table: table.clone(),
    });
    let departures = registry.departures();
    let ports_changed = Arc::new(Notify::new());

    let counters = Arc::new(Counters::default());
    let crowd = Arc::new(Crowd::default());
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = cores.min(MOST_THREADS);
    let backends: Vec<Arc<Backends>> = (0..threads)
        .map(|_| Backends::new(deps.tasks.clone(), clock, trust.clone()))
        .collect();
    let log = AccessLog::start(
        deps.bootstrap.folder.join("access.log"),
        Some(LogSender::start(&deps)),
        counters.clone(),
        &deps.tasks,
    );
    let counts = Arc::new(RegistryCounts::default());
    let error_page = ErrorPage::new(policy.clone());
    let watched = error_page.clone();
    deps.tasks
        .spawn("error page", Policy::Restart, move |shutdown| {
            watched.clone().run(shutdown)
        });
    let sleepers = Arc::new(Sleepers::default());
    let (waking, bus, component) = (sleepers.clone(), deps.bus.clone(), deps.component.clone());
    deps.tasks.spawn("wake", Policy::Restart, move |shutdown| {
        waking.clone().run(bus.clone(), component.clone(), shutdown)
    });
    let condemned = Arc::new(Condemned::default());
    let failures = Arc::new(Failures::default());
    let keeper = Arc::new(Keeper {
        bus: deps.bus.clone(),
        component: deps.component.clone(),
        hosts: vec![address.ip().to_string()],
        registry: Arc::new(tokio::sync::Mutex::new(registry)),
        table: table.clone(),
        ports_changed: ports_changed.clone(),
        sleepers: sleepers.clone(),
        policy: policy.clone(),
        policy_changed,
        backends: backends.clone(),
        trust,
        condemned: condemned.clone(),
        failures: failures.clone(),
        clock,
        file,
        counts: counts.clone(),
    });
    let (greeter, filler) = (keeper.clone(), keeper.clone());
    deps.tasks
        .spawn("route table", Policy::Restart, move |shutdown| {
            keeper.clone().run(shutdown)
        });
    deps.tasks
        .spawn("greetings", Policy::Restart, move |shutdown| {
            greeter.clone().greet(shutdown)
        });
    deps.tasks
        .spawn("traffic", Policy::Restart, move |shutdown| {
            reporter.clone().run(shutdown)
        });
    readiness.set("table", true, "");

    let seals = seals(config.route_service_keys.as_deref())?.map(Arc::new);
    let latencies = Arc::new(Latencies::default());
    let workers: Vec<Arc<Worker>> = backends
        .into_iter()
        .map(|backends| {
            Arc::new(Worker {
                table: table.clone(),
                policy: policy.clone(),
                backends,
                counters: counters.clone(),
                log: log.clone(),
                clock,
                tasks: deps.tasks.clone(),
                crowd: crowd.clone(),
                condemned: condemned.clone(),
                failures: failures.clone(),
                tls_port,
                seals: seals.clone(),
                error_page: error_page.clone(),
                latencies: latencies.clone(),
                shown_address: address.ip().to_string(),
                sleepers: sleepers.clone(),
            })
        })
        .collect();
    let ports = Doors::new(workers[0].clone(), address.ip(), ports_changed);
    show(&deps, &workers, &counts);
    explain(&deps, &workers[0], &ports, departures);
    let waits = filler.clone();
    deps.tasks.spawn("ports", Policy::Restart, move |shutdown| {
        let (waits, ports) = (waits.clone(), ports.clone());
        async move {
            waits.fill(&shutdown).await;
            ports.run(shutdown).await
        }
    });
    let plain = FrontSocket {
        name: "front",
        listener,
        tls: None,
    };
    let sockets: Vec<FrontSocket> = std::iter::once(plain).chain(secure).collect();
    for socket in &sockets {
        let address = socket.listener.local_addr()?;
        tracing::info!(%address, front = socket.name, "the router accepts requests when its table is filled");
    }
    fronts::start(&deps.tasks, sockets, workers, move |shutdown| {
        let filler = filler.clone();
        async move { filler.fill(&shutdown).await }
    });
    Ok(Running::new(deps.tasks.clone()))
}

/// The listener that the node keeps open for this daemon, or one of its own.
fn listener(deps: &Deps, name: &str, address: SocketAddr) -> anyhow::Result<TcpListener> {
    match deps.sockets.take_tcp(name) {
        Some(inherited) => Ok(inherited),
        None => Ok(server::bind(address)?.into_std()?),
    }
}

fn seals(file: Option<&Path>) -> anyhow::Result<Option<Seals>> {
    let Some(file) = file else { return Ok(None) };
    let text = std::fs::read_to_string(file)
        .with_context(|| format!("the keys for route services in {}", file.display()))?;
    let seals = Seals::read(&text);
    anyhow::ensure!(
        seals.is_some(),
        "{} holds no key for route services",
        file.display()
    );
    Ok(seals)
}

/// The socket for TLS, with its certificates watched and shown.
fn secure_socket(deps: &Deps, config: &TlsConfig) -> anyhow::Result<FrontSocket> {
    let seals = match &config.certificate_key_file {
        Some(file) => {
            let text = std::fs::read_to_string(file)
                .with_context(|| format!("the keys for certificates in {}", file.display()))?;
            let seals = daemon::seals::Seals::read(&text)
                .with_context(|| format!("{} holds no key for certificates", file.display()))?;
            Some(seals)
        }
        None => None,
    };
    let ordered = deps.bootstrap.folder.join("ordered-certificates");
    let certificates = match &seals {
        Some(_) => Certificates::with_ordered(config.certificates.clone(), ordered.clone()),
        None => Certificates::new(config.certificates.clone()),
    };
    if let Some(seals) = seals {
        let following = Arc::new(Ordered {
            cluster: deps.cluster.clone(),
            seals,
            folder: ordered,
            certificates: certificates.clone(),
        });
        deps.tasks
            .spawn("ordered certificates", Policy::Restart, move |shutdown| {
                following.clone().run(shutdown)
            });
    }
    let (watched, shown) = (certificates.clone(), certificates.clone());
    deps.tasks
        .spawn("certificates", Policy::Restart, move |shutdown| {
            watched.clone().run(shutdown)
        });
    deps.admin_route("/certificates", move || serde_json::json!(shown.shown()));
    let authorities = config
        .client_authorities
        .clone()
        .map(|folder| ClientAuthorities::new(folder, certificates.clone()));
    if let Some(authorities) = authorities.clone() {
        deps.tasks
            .spawn("client authorities", Policy::Restart, move |shutdown| {
                authorities.clone().run(shutdown)
            });
    }
    Ok(FrontSocket {
        name: "TLS front",
        listener: listener(deps, &config.socket, config.address)?,
        tls: Some(server::Tls::new(certificates, authorities).context("TLS cannot be offered")?),
    })
}

fn follow_settings(deps: &Deps, policy: Arc<ArcSwap<Settings>>, told: Arc<Notify>) {
    // The store's connection lives as long as somebody holds it: this task does.
    let cluster = deps.cluster.clone();
    deps.tasks
        .spawn("settings", Policy::Restart, move |shutdown| {
            let (mut settings, policy, told) = (cluster.settings(), policy.clone(), told.clone());
            async move {
                loop {
                    let read = Settings::read(&settings.borrow_and_update());
                    policy.store(Arc::new(read));
                    told.notify_one();
                    tokio::select! {
                        changed = settings.changed() => changed.context("the settings ended")?,
                        () = shutdown.cancelled() => return Ok(()),
                    }
                }
            }
        });
}

/// What the status server tells of routes, with reasons.
fn explain(deps: &Deps, worker: &Arc<Worker>, doors: &Arc<Doors>, departures: Arc<Departures>) {
    let (worker, doors) = (worker.clone(), doors.clone());
    deps.admin_question("/table", move |asked| {
        let look = Look {
            table: &worker.table.load(),
            closed: &|port| doors.closed(port),
            departures: &departures,
            failure: &|number| worker.failures.of(number),
            policy: &worker.policy.load(),
            now: worker.clock.now(),
        };
        serde_json::json!(tell(&Wanted::read(asked), &look))
    });
}

/// What the status server shows of the router.
fn show(deps: &Deps, workers: &[Arc<Worker>], counts: &Arc<RegistryCounts>) {
    let worker = &workers[0];
    let routes = worker.clone();
    deps.admin_route("/routes", move || {
        describe(&routes.table.load(), routes.policy.load().stale_after)
    });
    let (workers, worker, counts) = (workers.to_vec(), worker.clone(), counts.clone());
    deps.varz(move || {
        let mut varz = worker.counters.varz();
        let table = worker.table.load();
        let apps: std::collections::BTreeSet<&str> = table
            .iter()
            .flat_map(|pool| &pool.members)
            .filter_map(|member| member.endpoint.identity.app())
            .collect();
        let load = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        let own = serde_json::json!({
            "urls": table.count(),
            "droplets": apps.len(),
            "registrations": load(&counts.registrations),
            "unregistrations": load(&counts.unregistrations),
            "rejected_registrations": load(&counts.rejected),
            "routes_pruned": load(&counts.pruned),
            "ms_since_last_registry_update": worker.clock.now().saturating_sub(load(&counts.last_update)),
            "idle_backend_connections": workers.iter().map(|worker| worker.backends.idle_count()).sum::<usize>(),
            "client_connections": worker.crowd.present(),
        });
        if let (Some(varz), serde_json::Value::Object(own)) = (varz.as_object_mut(), own) {
            varz.extend(own);
        }
        varz
    });
}
