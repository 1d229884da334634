//! Users come into instances by SSH here.
//!
//! ```text
//! ssh, cf ssh, yard ssh ──SSH──▶ server ── code ──▶ controller (may this user, is there such an instance?)
//!                                  │ each channel: permit ──▶ controller ──▶ address and ticket
//!                                  └── ticket, session ([`proto::inside`]) ──▶ agent ──▶ sandbox
//! ```
//! An agent on another machine is not connected to: it calls, and shows the ticket (`adapters::calls`).
//!
//! It decides nothing: who may enter what is the controller's to say, for each login and again for each channel.
//! It holds no account and no key but its own host key; what a user types passes through and is kept nowhere.
//!
//! What a newcomer gets wrong: the user name of SSH is no user. It names the instance
//! (`cf:<process guid>/<index>`), and the password, a code that is good once, says who asks.

pub mod domain;

mod adapters;

use adapters::controller::Controller;
use adapters::{host_key, server};
use anyhow::Context;
use daemon::{Deps, Policy, Running};
use proto::join::SSH_CALLS;
use serde::Deserialize;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

/// The role's settings in the bootstrap file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where to listen if no socket of the name `socket` was inherited.
    pub address: SocketAddr,
    #[serde(default = "socket")]
    pub socket: String,
    /// Where agents of other machines call, if no socket of the name `ssh-calls` was inherited.
    pub calls: SocketAddr,
    /// Base URL of the controller.
    pub controller_url: String,
    /// Made if it is not there.
    pub host_key_file: PathBuf,
    /// Where others find what to compare the key with.
    pub fingerprint_file: PathBuf,
}

fn socket() -> String {
    "ssh".to_string()
}

/// Starts the daemon.
pub async fn start(config: Config, deps: Deps) -> anyhow::Result<Running> {
    let listener = |socket: &str, address: SocketAddr| {
        let listener = match deps.sockets.take_tcp(socket) {
            Some(listener) => listener,
            None => std::net::TcpListener::bind(address)
                .with_context(|| format!("cannot listen on {address}"))?,
        };
        listener
            .set_nonblocking(true)
            .context("a listening socket cannot be made non-blocking")?;
        Ok::<_, anyhow::Error>(listener)
    };
    let calling = listener(SSH_CALLS, config.calls)?;
    let listener = listener(&config.socket, config.address)?;
    let key = host_key::open(&config.host_key_file, &config.fingerprint_file)
        .context("the host key cannot be had")?;
    let door = Arc::new(server::Door {
        ssh: Arc::new(server::configuration(key)),
        controller: Controller::new(&config.controller_url)?,
        calls: Arc::default(),
        tasks: deps.tasks.clone(),
        open: Arc::new(server::Open::default()),
    });
    let counted = door.open.clone();
    deps.varz(move || counted.document());
    let (calls, tasks) = (door.calls.clone(), deps.tasks.clone());
    deps.tasks
        .spawn("calls", Policy::Critical, move |shutdown| {
            adapters::calls::serve(calling.try_clone(), calls.clone(), tasks.clone(), shutdown)
        });
    let connections = (deps.bus.clone(), deps.cluster.clone());
    deps.tasks.spawn("ssh", Policy::Critical, move |shutdown| {
        // Nothing is asked of bus and store here, but a daemon is ready only while somebody holds both.
        let _held = &connections;
        server::serve(listener.try_clone(), door.clone(), shutdown)
    });
    Ok(Running::new(deps.tasks))
}
