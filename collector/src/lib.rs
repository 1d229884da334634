//! The collector, its log half: recent lines of every app, and live streams of them.
//!
//! ```text
//! yard.log.* ──► ingest ──► hub ──► GET /api/v1/read/:app            recent lines, walked by time
//!                           │  └──► GET /yard/v1/logs/:app/stream    recent lines, then live ones
//!                           └ one writer: store (bounded) + one broadcast per watched app (bounded)
//! ```
//!
//! It is in nobody's way: senders never wait for it, readers that are too slow are told how much they
//! missed, and its loss loses recent logs, nothing else. Who may read an app's log is asked of the
//! controller with the reader's own token.

pub mod domain;

mod adapters;

use adapters::access::Access;
use adapters::http::{self, Face};
use adapters::hub::Hub;
use adapters::ingest;
use anyhow::Context;
use daemon::registration::{self, Served};
use daemon::{Deps, Policy, Running};
use serde::Deserialize;
use std::net::SocketAddr;
use std::sync::Arc;

/// The role's settings in the bootstrap file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where to listen if no socket of the name `socket` was inherited.
    pub address: SocketAddr,
    #[serde(default = "socket")]
    pub socket: String,
    /// Base URL of the controller, for questions of access.
    pub controller_url: String,
}

fn socket() -> String {
    "collector".to_string()
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
    let address = listener
        .local_addr()
        .context("the listening socket has no address")?;

    let readiness = deps.readiness();
    readiness.set("logs", false, "not yet subscribed to log lines");
    let cluster = deps.cluster.clone();
    let hub = Arc::new(Hub::new(ingest::limits(&cluster.settings().borrow())));
    let counted = hub.clone();
    deps.varz(move || counted.document());

    let (writing, bus) = (hub.clone(), deps.bus.clone());
    deps.tasks
        .spawn("log-ingest", Policy::Restart, move |shutdown| {
            ingest::serve(writing.clone(), bus.clone(), readiness.clone(), shutdown)
        });
    let limited = hub.clone();
    let settings = cluster.clone();
    deps.tasks
        .spawn("log-limits", Policy::Restart, move |shutdown| {
            ingest::follow_limits(limited.clone(), settings.clone(), shutdown)
        });

    let face = Face {
        hub,
        access: Arc::new(Access::new(&config.controller_url)?),
        shutdown: deps.tasks.shutdown(),
        started: std::time::Instant::now(),
    };
    deps.tasks.spawn("http", Policy::Critical, move |shutdown| {
        http::serve(listener.try_clone(), face.clone(), shutdown)
    });

    let served = Served {
        names: &["log-cache"],
        domain: &deps.bootstrap.cluster.domain,
        component: "collector",
        host: address.ip().to_string(),
        port: address.port(),
    };
    registration::start(&deps, &served);
    Ok(Running::new(deps.tasks))
}
