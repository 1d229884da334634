//! Accepting clients, watching their time, and letting them go when the daemon ends.

use super::client::{ClientConnection, Overdue};
use super::front::Front;
use super::keep_alive::watch_peer;
use super::proxy::{Worker, handle};
use anyhow::Context;
use daemon::{Shutdown, Supervisor};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// Opens the front's own listener, where the node did not.
pub fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()
    } else {
        TcpSocket::new_v6()
    }?;
    socket.set_reuseaddr(true)?;
    socket
        .bind(address)
        .with_context(|| format!("cannot listen on {address}"))?;
    socket
        .listen(4096)
        .with_context(|| format!("cannot listen on {address}"))
}

/// Accepts until the daemon drains.
pub async fn accept(
    listener: Arc<TcpListener>,
    worker: Arc<Worker>,
    shutdown: Shutdown,
) -> anyhow::Result<()> {
    let tasks = worker.tasks.clone();
    loop {
        tokio::select! {
            biased;
            () = shutdown.draining() => return Ok(()),
            accepted = listener.accept() => match accepted {
                Ok((socket, peer)) => serve(&tasks, &worker, socket, peer),
                Err(error) => {
                    // Out of descriptors, most likely: those who are served will free some.
                    tracing::warn!(%error, "a client could not be accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            },
        }
    }
}

fn serve(tasks: &Supervisor, worker: &Arc<Worker>, socket: TcpStream, peer: SocketAddr) {
    worker.counters.connections_metric.increment(1);
    let _ = socket.set_nodelay(true);
    watch_peer(&socket);
    let worker = worker.clone();
    let shutdown = tasks.shutdown();
    tasks.spawn_once(
        "client connection",
        serve_connection(worker, socket, peer, shutdown),
    );
}

async fn serve_connection(
    worker: Arc<Worker>,
    socket: TcpStream,
    peer: SocketAddr,
    shutdown: Shutdown,
) {
    let policy = worker.policy.load_full();
    let client = Arc::new(ClientConnection::new(peer, worker.clock.now()));
    let front = Front::new(
        socket,
        client.clone(),
        worker.clock,
        policy.max_header_bytes,
    );
    let service = {
        let (worker, client) = (worker.clone(), client.clone());
        service_fn(move |request| handle(worker.clone(), client.clone(), request))
    };
    let connection = hyper::server::conn::http1::Builder::new()
        // The front keeps the time and the size of heads; hyper must be able to hold what it lets through.
        .header_read_timeout(None)
        .max_buf_size((policy.max_header_bytes + 16 * 1024).max(64 * 1024))
        .pipeline_flush(true)
        .serve_connection(TokioIo::new(front), service)
        .with_upgrades();
    drop(policy);
    tokio::pin!(connection);
    let draining = shutdown.draining();
    tokio::pin!(draining);
    let mut is_draining = false;
    let patience =
        |policy: &crate::domain::policy::Policy| policy.header_timeout.min(policy.idle_timeout);
    let look = tokio::time::sleep(patience(&worker.policy.load()));
    tokio::pin!(look);
    loop {
        tokio::select! {
            biased;
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%peer, %error, "a client connection broke");
                }
                return;
            }
            () = draining.as_mut(), if !is_draining => {
                is_draining = true;
                connection.as_mut().graceful_shutdown();
            }
            () = look.as_mut() => {
                let policy = worker.policy.load();
                let millis = |duration: Duration| duration.as_millis() as u64;
                match client.overdue(worker.clock.now(), millis(policy.header_timeout), millis(policy.idle_timeout)) {
                    Overdue::Fine => {}
                    Overdue::Idle => connection.as_mut().graceful_shutdown(),
                    Overdue::Head => client.time_out_head(),
                }
                look.as_mut().reset(tokio::time::Instant::now() + patience(&policy));
            }
        }
    }
}
