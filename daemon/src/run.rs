//! From a bootstrap file to a running daemon and to its end.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use proto::bus::Role;
use proto::config::Owner;
use proto::ids::ComponentId;
use serde_json::Value;
use tokio::signal::unix::{SignalKind, signal};
use tracing::info;

use crate::admin::{AdminPort, Readiness};
use crate::bootstrap::Bootstrap;
use crate::bus::Bus;
use crate::cluster::Cluster;
use crate::component::{self, Identity};
use crate::mishaps::Mishaps;
use crate::sockets::Sockets;
use crate::supervise::{Policy, Supervisor};
use crate::telemetry::{self, Telemetry};

/// What a daemon stands on.
pub struct Deps {
    pub bootstrap: Arc<Bootstrap>,
    pub component: ComponentId,
    pub role: Role,
    pub bus: Bus,
    pub cluster: Cluster,
    pub tasks: Supervisor,
    pub sockets: Sockets,
    pub telemetry: Telemetry,
    admin: AdminPort,
}

impl Deps {
    /// Connects to everything. Returns also when the bus or the store is away: `/readyz` says so.
    pub async fn build(bootstrap: Bootstrap, sockets: Sockets) -> anyhow::Result<Deps> {
        let role = bootstrap.role()?;
        let telemetry = telemetry::init("info");
        let tasks = Supervisor::new();
        let component = bootstrap.component.clone();
        let bus = Bus::connect(&bootstrap.bus, &component).await?;
        let identity = Identity::new(
            role,
            bootstrap.index,
            component.clone(),
            bootstrap.admin.address,
        );
        let admin = AdminPort::start(
            bootstrap.admin.clone(),
            identity.clone(),
            bus.clone(),
            telemetry.clone(),
            &tasks,
        )
        .await?;
        let owners = Owner::of_daemon(bootstrap.machine.as_ref(), &component);
        let cluster = Cluster::connect_as(&bootstrap.store, owners).await?;
        telemetry.follow(cluster.settings(), &tasks);
        let mishaps = Mishaps::watch(&bootstrap, role, &cluster, &tasks);
        component::introduce(&identity, &mishaps, &bus, &tasks);
        let deps = Deps {
            bootstrap: Arc::new(bootstrap),
            component,
            role,
            bus,
            cluster,
            tasks,
            sockets,
            telemetry,
            admin,
        };
        deps.follow_connections();
        Ok(deps)
    }

    /// What the daemon waits for.
    pub fn readiness(&self) -> Readiness {
        self.admin.readiness()
    }

    /// Adds own counters, an object, to `/varz`.
    pub fn varz(&self, counters: impl Fn() -> Value + Send + Sync + 'static) {
        self.admin.add_varz(Arc::new(counters));
    }

    /// Serves a JSON document of its own under `path` of the status server.
    pub fn admin_route(
        &self,
        path: &'static str,
        content: impl Fn() -> Value + Send + Sync + 'static,
    ) {
        self.admin.add_document(path, Arc::new(move |_| content()));
    }

    /// The same, where the query of the request says what is wanted.
    pub fn admin_question(
        &self,
        path: &'static str,
        content: impl Fn(&BTreeMap<String, String>) -> Value + Send + Sync + 'static,
    ) {
        self.admin.add_document(path, Arc::new(content));
    }

    /// Keeps the readiness of bus and store. Both must have been there once for the daemon to
    /// become ready; when one goes away later the daemon keeps serving and only says so.
    fn follow_connections(&self) {
        let readiness = self.readiness();
        readiness.set("bus", false, "not yet connected to the bus");
        readiness.set("store", false, "not yet connected to the cluster store");
        let (status, reachable) = (self.bus.status(), self.cluster.reachable());
        self.tasks
            .spawn("connections", Policy::Restart, move |shutdown| {
                let (mut status, mut reachable, readiness) =
                    (status.clone(), reachable.clone(), readiness.clone());
                async move {
                    loop {
                        let connected = status.borrow_and_update().connected;
                        let stored = *reachable.borrow_and_update();
                        readiness.set("bus", connected, "not connected to the bus");
                        readiness.set("store", stored, "not connected to the cluster store");
                        tokio::select! {
                            changed = status.changed() => changed?,
                            changed = reachable.changed() => changed?,
                            () = shutdown.cancelled() => return Ok(()),
                        }
                    }
                }
            });
    }
}

/// Why a daemon stops.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StopCause {
    /// Somebody called for it.
    Asked,
    /// `SIGTERM` or `SIGINT`.
    Signal(&'static str),
    /// A critical task ended.
    TaskEnded { task: &'static str, reason: String },
}

/// A daemon that runs.
pub struct Running {
    tasks: Supervisor,
}

impl Running {
    pub fn new(tasks: Supervisor) -> Running {
        Running { tasks }
    }

    /// Waits until somebody asks for the end or a critical task ended.
    pub async fn wait(&self) -> StopCause {
        self.tasks.stop_requested().await
    }

    /// Stops admitting, drains, cancels; at most about `deadline`.
    pub async fn stop(self, deadline: Duration) {
        self.tasks.stop(deadline).await;
    }
}

/// How long a daemon may drain, by role. The node waits a little longer before it kills.
pub fn drain_deadline(role: Role) -> Duration {
    match role {
        // Stops every instance, each with its grace period.
        Role::Dea => Duration::from_secs(45),
        Role::Router | Role::Controller => Duration::from_secs(10),
        Role::HealthManager
        | Role::Stager
        | Role::Collector
        | Role::SshProxy
        | Role::Registrar
        | Role::Tool => Duration::from_secs(5),
    }
}

/// Runs a daemon until a signal or its own end. The executable's main function for every role.
pub async fn run<C, F, Fut>(
    bootstrap: Bootstrap,
    sockets: Sockets,
    start: F,
) -> anyhow::Result<StopCause>
where
    C: serde::de::DeserializeOwned,
    F: FnOnce(C, Deps) -> Fut,
    Fut: Future<Output = anyhow::Result<Running>>,
{
    telemetry::init("info");
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen to SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen to SIGINT")?;
    let config: C = bootstrap.settings()?;
    let component = bootstrap.component.clone();
    let deps = Deps::build(bootstrap, sockets).await?;
    let (role, bus) = (deps.role, deps.bus.clone());
    let starting = start(config, deps);
    tokio::pin!(starting);
    let running = tokio::select! {
        running = &mut starting => running.with_context(|| format!("{component} cannot start"))?,
        _ = terminate.recv() => return Ok(StopCause::Signal("SIGTERM")),
        _ = interrupt.recv() => return Ok(StopCause::Signal("SIGINT")),
    };
    info!(%component, version = env!("CARGO_PKG_VERSION"), "the daemon runs");
    let cause = tokio::select! {
        cause = running.wait() => cause,
        _ = terminate.recv() => StopCause::Signal("SIGTERM"),
        _ = interrupt.recv() => StopCause::Signal("SIGINT"),
    };
    info!(%component, ?cause, "the daemon stops");
    running.stop(drain_deadline(role)).await;
    // Last words (names taken back, exits) are on their way: not lost with the process.
    let _ = bus.flush().await;
    info!(%component, "the daemon has stopped");
    match cause {
        StopCause::TaskEnded { task, reason } => {
            Err(anyhow::anyhow!("the task {task} ended: {reason}"))
        }
        cause => Ok(cause),
    }
}
