//! The router beside other proxies ([`against`]), and what its table costs ([`table`]).
//!
//! Proxies have a core of their own, one at a time; clients and backends share the other one. Ours is the daemon as
//! a cluster runs it, with its access log, its metrics and a bus, but alone.

mod against;
mod client;
mod daemon;
mod load;
pub mod process;
mod rounds;
pub mod routes;
mod table;

use crate::cores;
use crate::goal::{Goal, Measured, Reach};
use crate::yardsticks::{bare_server, nats, nginx};
use anyhow::ensure;
use client::Client;
use daemon::Router;
use load::Scripts;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use process::Process;
use routes::{BACKENDS, Certificate};
use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tests::cluster::{free_port, free_ports};
use tests::eventually;

/// Of what is measured beside other proxies, and of what the table costs.
const LONGEST: Duration = Duration::from_secs(300);
const IDLE: usize = 1000;
const FREE_WITHIN: Duration = Duration::from_secs(100);
/// Until what a connection needed for its request only is given back.
const SETTLES: Duration = Duration::from_secs(1);

/// What all of it stands on.
struct Ground {
    folder: tempfile::TempDir,
    bus: nats::Server,
    scripts: Scripts,
    certificate: Certificate,
    first_backend: u16,
    _instances: Process,
}

impl Ground {
    async fn prepare() -> anyhow::Result<Ground> {
        let folder = tempfile::Builder::new().prefix("yard-bench-").tempdir()?;
        let bus = nats::Server::start(Some(cores::OTHERS)).await?;
        // Clients that are gone hold theirs for a minute.
        let first_backend = eventually("ports in a row", FREE_WITHIN, || async {
            free_ports(BACKENDS as u32)
        })
        .await?;
        let place = subfolder(folder.path(), "instances")?;
        let mut instances = nginx::instances(&place, first_backend, cores::OTHERS)?;
        instances.listens(first_backend).await?;
        Ok(Ground {
            bus,
            scripts: Scripts::write(folder.path())?,
            certificate: Certificate::make(folder.path())?,
            first_backend,
            _instances: instances,
            folder,
        })
    }

    fn folder(&self, name: &str) -> anyhow::Result<PathBuf> {
        subfolder(self.folder.path(), name)
    }

    async fn router(&self, name: &str, bus: &nats::Server) -> anyhow::Result<Router> {
        let folder = self.folder(name)?;
        Router::start(&folder, bus, &self.certificate, cores::MEASURED).await
    }
}

fn subfolder(folder: &Path, name: &str) -> anyhow::Result<PathBuf> {
    let path = folder.join(name);
    std::fs::create_dir_all(&path)?;
    Ok(path)
}

/// What is measured of it in one go.
#[derive(Debug, Clone, Copy)]
pub enum Section {
    /// Beside other proxies.
    Against,
    /// What its table costs.
    Table,
}

impl Section {
    pub const ALL: [Section; 2] = [Section::Against, Section::Table];

    pub fn name(self) -> &'static str {
        match self {
            Section::Against => "router",
            Section::Table => "table",
        }
    }
}

pub fn measure(section: Section) -> anyhow::Result<Vec<Goal>> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    ensure!(cores > 1, "the router is measured on two cores at least");
    // For the connections of clients and, inherited, of proxies.
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most)?;
    cores::run_on(cores::OTHERS, move || async move {
        let mut goals = Vec::new();
        let ground = Ground::prepare().await?;
        let router = ground.router("router", &ground.bus).await?;
        // Of its own: on the other's it would hear of all routes, too, and take its core from it meanwhile.
        let other_bus = nats::Server::start(Some(cores::OTHERS)).await?;
        let small = ground.router("small", &other_bus).await?;
        let missed = match section {
            Section::Against => {
                let beside = against::measure(&ground, &router, &mut goals);
                let missed = within("what else the router does beside other proxies", beside);
                let missed = missed.await?;
                small
                    .register(daemon::shared(ground.first_backend, 1))
                    .await?;
                goals.push(idle(&small).await?);
                missed
            }
            Section::Table => {
                let table = table::measure(&ground, &router, &small, &mut goals);
                within("what else the router's table costs", table).await?
            }
        };
        goals.extend(missed);
        Ok(goals)
    })
}

/// Goals are added as they are measured; the goal that stands for those that were not, if the time is up.
async fn within(
    what: &str,
    measuring: impl Future<Output = anyhow::Result<()>>,
) -> anyhow::Result<Option<Goal>> {
    match tokio::time::timeout(LONGEST, measuring).await {
        Ok(measured) => measured.map(|()| None),
        Err(_) => Ok(Some(Goal {
            what: what.into(),
            reach: Reach::AtLeast(1.0),
            measured: Err(format!("not measured within {LONGEST:?}")),
        })),
    }
}

/// A router that has served nobody yet beside a bare server.
async fn idle(router: &Router) -> anyhow::Result<Goal> {
    let port = free_port()?;
    let mut bare = bare_server::start(port, cores::MEASURED)?;
    bare.listens(port).await?;
    let bare = per_connection(&bare, port).await?;
    let ours = per_connection(&router.process, router.port).await?;
    Ok(Goal {
        what: "memory per idle keep-alive connection, one request served (Y: a bare hyper server)"
            .into(),
        reach: Reach::AtMost(1.0),
        measured: Ok(Measured {
            yardstick: format!("{bare:.1} KiB"),
            ours: format!("{ours:.1} KiB"),
            rounds: vec![ours / bare],
        }),
    })
}

async fn per_connection(process: &Process, port: u16) -> anyhow::Result<f64> {
    let host = routes::host(0);
    let mut asking = Client::connect(port).await?;
    for _ in 0..IDLE {
        ensure!(
            asking.get(&host).await? == 200,
            "{} does not serve {host}",
            process.name
        );
    }
    tokio::time::sleep(SETTLES).await;
    let before = process.kibibytes()?;
    let mut idle = Vec::with_capacity(IDLE);
    for _ in 0..IDLE {
        let mut client = Client::connect(port).await?;
        ensure!(
            client.get(&host).await? == 200,
            "{} does not serve {host}",
            process.name
        );
        idle.push(client);
    }
    tokio::time::sleep(SETTLES).await;
    Ok((process.kibibytes()? - before) / idle.len() as f64)
}
