//! StackStorm's own ports, for clients that know a host and nothing else: 9100 for authentication, 9101 for
//! the API, 9102 for the stream. Off unless the operator names an address: the ports are fixed, so only one
//! controller of a machine can have them.

use super::{Automation, api};
use anyhow::Context;
use daemon::{Deps, Policy};
use std::net::{IpAddr, SocketAddr};

const AUTH: u16 = 9100;
const API: u16 = 9101;
const STREAM: u16 = 9102;

/// Listens, and serves each port for as long as the daemon lives.
pub fn start(automation: &Automation, address: IpAddr, deps: &Deps) -> anyhow::Result<()> {
    let api = api::router(automation.clone());
    let stream = api::stream_router(automation.clone());
    for (name, port, routes) in [
        ("st2-auth", AUTH, api.clone()),
        ("st2-api", API, api),
        ("st2-stream", STREAM, stream),
    ] {
        let address = SocketAddr::new(address, port);
        let listener = std::net::TcpListener::bind(address)
            .with_context(|| format!("cannot listen on {address} (automation.classic_address)"))?;
        listener
            .set_nonblocking(true)
            .context("the listening socket cannot be made non-blocking")?;
        deps.tasks.spawn(name, Policy::Critical, move |shutdown| {
            let (listener, routes) = (listener.try_clone(), routes.clone());
            async move {
                let listener = tokio::net::TcpListener::from_std(
                    listener.context("cloning the listening socket")?,
                )?;
                crate::serve(listener, routes, shutdown).await
            }
        });
    }
    Ok(())
}
