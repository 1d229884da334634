//! The controller: the public API, the record of what is wanted, and the one who places.
//!
//! ```text
//!   HTTP ─► api ─► ops ─► store (one transaction: rows, audit event, facts) ─► nudge ─► runtime
//!                   └──── domain (pure): access, manifests, names, placement, plans ──────┘
//! ```
//!
//! Several controllers may share one database: each answers the API, one leads and acts.

pub mod api;
pub mod automation;
pub mod blobs;
pub mod domain;
pub mod ops;
pub mod runtime;
pub mod services;
pub mod store;
pub mod vault;

use anyhow::Context;
use api::Api;
use api::ssh::SshConfig;
use blobs::Blobs;
use daemon::seals::Seals;
use daemon::{Deps, Policy, Running, Shutdown};
use ops::tokens::Tokens;
use ops::{Live, Ops};
use proto::ids::{ProcessGuid, StagerQueue, Version};
use runtime::{Runtime, RuntimeConfig};
use serde::Deserialize;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use store::Store;
use vault::Vault;

/// The role's settings in the bootstrap file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where to listen if no socket of the name `socket` was inherited.
    pub address: SocketAddr,
    #[serde(default = "socket")]
    pub socket: String,
    /// `host:port` under which agents, stagers and the health manager reach this controller.
    pub advertise: SocketAddr,
    /// `sqlite://PATH` or `postgres://…`
    pub database: String,
    /// Folder of the blob store.
    pub blobs: PathBuf,
    /// `http://api.DOMAIN:PORT`
    pub public_url: String,
    /// First password of the account `admin`.
    pub admin_password_file: PathBuf,
    /// Key of the tokens' signatures, at least 32 characters.
    pub token_key_file: PathBuf,
    /// Key of the blob URLs' signatures, at least 32 characters.
    pub blob_key_file: PathBuf,
    /// Secrets that controllers and routers have, one a line, for certificates that are ordered; without it none are.
    #[serde(default)]
    pub certificate_key_file: Option<PathBuf>,
    pub bulk_user: String,
    pub bulk_password: String,
    pub stager_queue: StagerQueue,
    pub automation: automation::start::Config,
    /// None: no SSH proxy is announced.
    #[serde(default)]
    pub ssh: Option<SshConfig>,
}

fn socket() -> String {
    "api".to_string()
}

/// Starts the daemon.
pub async fn start(config: Config, deps: Deps) -> anyhow::Result<Running> {
    let listener = match deps.sockets.take_tcp(&config.socket) {
        Some(listener) => listener,
        None => std::net::TcpListener::bind(config.address)
            .with_context(|| format!("cannot listen on {}", config.address))?,
    };
    listener
        .set_nonblocking(true)
        .context("the listening socket cannot be made non-blocking")?;
    let readiness = deps.readiness();
    readiness.set("database", false, "not yet opened");
    readiness.set("api", false, "not yet served");

    let store = Store::open(&config.database)
        .await
        .context("opening the database")?;
    readiness.set("database", true, "open");
    let blobs = Blobs::open(
        &config.blobs,
        secret(&config.blob_key_file)?.as_bytes(),
        &config.advertise.to_string(),
    )
    .context("opening the blob store")?;
    let vault = Vault::new(automation::start::key(&config.automation.key_file)?);
    let runtime_config = RuntimeConfig {
        public_url: config.public_url.clone(),
        advertise: config.advertise.to_string(),
        bulk_user: config.bulk_user.clone(),
        bulk_password: config.bulk_password.clone(),
        stager_queue: config.stager_queue.clone(),
        vault: vault.clone(),
        domain: deps.bootstrap.cluster.domain.clone(),
        certificate_seals: certificate_seals(config.certificate_key_file.as_deref())?,
    };
    let runtime = Runtime::start(store.clone(), blobs.clone(), &deps, runtime_config).await?;
    let domain = deps.bootstrap.cluster.domain.clone();
    let scratch = deps.bootstrap.folder.join("scratch");
    renew(&scratch)?;
    let ops = Ops {
        store,
        blobs,
        live: live(&runtime),
        settings: deps.cluster.settings(),
        scratch,
        public_url: config.public_url.as_str().into(),
        tokens: Arc::new(Tokens::new(
            secret(&config.token_key_file)?.as_bytes(),
            format!("http://uaa.{domain}"),
        )),
        vault,
        tasks: deps.tasks.clone(),
    };
    ops.prepare(&secret(&config.admin_password_file)?, &domain)
        .await
        .context("preparing the cluster")?;

    deps.tasks.keep("sweep", &ops, sweep);
    deps.tasks
        .keep("interrupted-uploads", &ops, fail_interrupted);

    let api = Api {
        ops,
        cluster: Some(deps.cluster.clone()),
        domain: domain.as_str().into(),
        ssh: config.ssh.clone().map(Arc::new),
    };
    let automation = automation::start::start(&config.automation, api.ops.clone(), &runtime, &deps)
        .await
        .context("starting automation")?;
    if let Some(address) = config.automation.classic_address {
        automation::classic::start(&automation, address, &deps)?;
    }
    let challenges = api::certificates::challenges(api.clone());
    let routes = api::hosts::split(
        automation::api::router(automation),
        api::router(api).merge(api::internal_bulk::router(runtime)),
    );
    // Authorities ask under any host.
    let routes = challenges.merge(routes);
    deps.tasks.spawn("http", Policy::Critical, move |shutdown| {
        let (listener, routes) = (listener.try_clone(), routes.clone());
        async move {
            let listener = tokio::net::TcpListener::from_std(
                listener.context("cloning the listening socket")?,
            )?;
            serve(listener, routes, shutdown).await
        }
    });
    readiness.set("api", true, "served");
    api::announce::start(&deps, &domain, &config.advertise.to_string());
    Ok(Running::new(deps.tasks))
}

pub(crate) async fn serve(
    listener: tokio::net::TcpListener,
    routes: axum::Router,
    shutdown: Shutdown,
) -> anyhow::Result<()> {
    let end = async move { shutdown.draining().await };
    axum::serve(listener, routes)
        .with_graceful_shutdown(end)
        .await?;
    Ok(())
}

/// Old blobs and rows are looked for now and then.
async fn sweep(ops: Ops, shutdown: Shutdown) -> anyhow::Result<()> {
    let mut settings = ops.settings.clone();
    loop {
        // A period that was changed counts at once.
        tokio::select! {
            () = shutdown.draining() => return Ok(()),
            changed = settings.changed() => { changed?; continue; }
            () = tokio::time::sleep(ops.sweep_period()) => {}
        }
        match ops.sweep().await {
            Ok(0) => {}
            Ok(removed) => tracing::info!(removed, "blobs that nothing names were removed"),
            Err(error) => {
                tracing::warn!(error = %error, "looking for old blobs failed; the next round tries again")
            }
        }
    }
}

/// Uploads whose controller died are looked for, so that their pushers do not wait for ever.
async fn fail_interrupted(ops: Ops, shutdown: Shutdown) -> anyhow::Result<()> {
    loop {
        tokio::select! {
            () = shutdown.draining() => return Ok(()),
            () = tokio::time::sleep(ops::sweep::LOOK) => {}
        }
        if let Err(error) = ops.fail_interrupted_uploads().await {
            tracing::warn!(error = %error, "interrupted uploads could not be failed; the next round tries again");
        }
    }
}

/// What the API asks of the running half.
pub fn live(runtime: &Runtime) -> Live {
    let (drain, stats, room, nudge, status, routers, log, enter, task_ended) = (
        runtime.clone(),
        runtime.clone(),
        runtime.clone(),
        runtime.clone(),
        runtime.clone(),
        runtime.clone(),
        runtime.clone(),
        runtime.clone(),
        runtime.clone(),
    );
    let (certificates, challenge) = (runtime.clone(), runtime.clone());
    Live {
        drain: Arc::new(move |dea, on| {
            let runtime = drain.clone();
            Box::pin(async move { runtime.drain(&dea, on).await })
        }),
        stats: Arc::new(move |process| {
            let (Ok(guid), Ok(version)) = (
                ProcessGuid::new(&process.guid),
                Version::new(&process.version),
            ) else {
                return Vec::new();
            };
            stats.stats(
                &guid,
                &version,
                u32::try_from(process.instances).unwrap_or(0),
            )
        }),
        room: Arc::new(move |request| room.never_fits(request)),
        nudge: Arc::new(move || nudge.nudge()),
        status: Arc::new(move || {
            let status = status.clone();
            Box::pin(async move { status.status().await })
        }),
        routers: Arc::new(move |host, most| {
            let routers = routers.clone();
            Box::pin(async move { routers.router_tables(host.as_deref(), most).await })
        }),
        certificates: Arc::new(move || {
            let certificates = certificates.clone();
            Box::pin(async move { certificates.certificates().await })
        }),
        challenge: Arc::new(move |token| challenge.challenge(token)),
        log: Arc::new(move |app, text| log.log(app, &text)),
        enter: Arc::new(move |entering| {
            let enter = enter.clone();
            Box::pin(async move { enter.enter(entering).await })
        }),
        task_ended: Arc::new(move |exited| {
            let runtime = task_ended.clone();
            Box::pin(async move { runtime.task_ended(&exited).await })
        }),
    }
}

fn certificate_seals(file: Option<&Path>) -> anyhow::Result<Option<Arc<Seals>>> {
    let Some(file) = file else { return Ok(None) };
    let text =
        std::fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
    let seals = Seals::read(&text).with_context(|| format!("{} holds no key", file.display()))?;
    Ok(Some(Arc::new(seals)))
}

/// The content of a key or password file, without the line break.
fn secret(path: &Path) -> anyhow::Result<String> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    let text = text.trim();
    anyhow::ensure!(!text.is_empty(), "{} is empty", path.display());
    Ok(text.to_string())
}

/// An empty folder: half-done uploads of an earlier run are of no use.
fn renew(folder: &Path) -> anyhow::Result<()> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("emptying {}", folder.display()));
        }
        _ => {}
    }
    std::fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))
}
