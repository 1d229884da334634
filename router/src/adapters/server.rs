//! Accepting clients, watching their time, and letting them go when the daemon ends.

use super::certificates::Certificates;
use super::client::{ClientConnection, Overdue, Patience};
use super::front::Front;
use super::keep_alive::watch_peer;
use super::proxy::{Worker, handle};
use crate::domain::policy::Policy;
use crate::domain::table::Millis;
use anyhow::Context;
use daemon::{Shutdown, Supervisor};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_rustls::TlsAcceptor;

/// How often at least is looked at a client's time.
const LOOK: Duration = Duration::from_secs(5);
/// How often is looked whether the limit of clients was raised.
const LIMIT_LOOK: Duration = Duration::from_millis(200);
/// How long a connection may be idle while others wait for its place.
const IDLE_IN_A_CROWD: Millis = 1_000;

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

/// Where clients come in.
#[derive(Clone)]
pub struct Entrance {
    pub listener: Arc<TcpListener>,
    /// For those that speak TLS.
    pub tls: Option<TlsAcceptor>,
}

/// What an entrance for TLS offers: HTTP/1.1, from TLS 1.2 on.
pub fn tls_acceptor(certificates: Arc<Certificates>) -> Result<TlsAcceptor, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(certificates);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Accepts until the daemon drains.
pub async fn accept(
    entrance: Entrance,
    worker: Arc<Worker>,
    shutdown: Shutdown,
) -> anyhow::Result<()> {
    let tasks = worker.tasks.clone();
    loop {
        if !worker.crowd.has_room(worker.policy.load().max_clients) {
            tokio::select! {
                () = shutdown.draining() => return Ok(()),
                () = worker.crowd.somebody_leaves() => {}
                () = tokio::time::sleep(LIMIT_LOOK) => {}
            }
            continue;
        }
        tokio::select! {
            biased;
            () = shutdown.draining() => return Ok(()),
            accepted = entrance.listener.accept() => match accepted {
                Ok((socket, peer)) => serve(&tasks, &worker, socket, peer, entrance.tls.clone()),
                Err(error) => {
                    // Out of descriptors, most likely: those who are served will free some.
                    tracing::warn!(%error, "a client could not be accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            },
        }
    }
}

fn serve(
    tasks: &Supervisor,
    worker: &Arc<Worker>,
    socket: TcpStream,
    peer: SocketAddr,
    tls: Option<TlsAcceptor>,
) {
    worker.counters.connections_metric.increment(1);
    let _ = socket.set_nodelay(true);
    watch_peer(&socket);
    let place = worker.crowd.enter();
    let worker = worker.clone();
    let shutdown = tasks.shutdown();
    let secure = tls.is_some();
    let client = Arc::new(ClientConnection::new(
        peer,
        worker.clock.now(),
        secure,
        place,
    ));
    tasks.spawn_once("client connection", async move {
        let Some(tls) = tls else {
            return serve_connection(worker, socket, client, shutdown).await;
        };
        let within = worker.policy.load().header_timeout;
        match tokio::time::timeout(within, tls.accept(socket)).await {
            Ok(Ok(socket)) => serve_connection(worker, socket, client, shutdown).await,
            Ok(Err(error)) => {
                worker.counters.tls_failures_metric.increment(1);
                tracing::debug!(%peer, %error, "a TLS handshake failed");
            }
            Err(_) => {
                worker.counters.tls_failures_metric.increment(1);
                tracing::debug!(%peer, "a TLS handshake did not end");
            }
        }
    });
}

async fn serve_connection<S>(
    worker: Arc<Worker>,
    socket: S,
    client: Arc<ClientConnection>,
    shutdown: Shutdown,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let peer = client.peer;
    let policy = worker.policy.load_full();
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
    let look = tokio::time::sleep(next_look(&worker.policy.load()));
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
                match client.overdue(worker.clock.now(), patience(&policy, worker.crowd.is_full())) {
                    Overdue::Fine => {}
                    Overdue::Idle => connection.as_mut().graceful_shutdown(),
                    Overdue::Head => client.time_out_head(),
                    Overdue::Body => client.time_out_body(),
                    Overdue::Reader => {
                        tracing::debug!(%peer, "a client does not read its answer");
                        return;
                    }
                }
                look.as_mut().reset(tokio::time::Instant::now() + next_look(&policy));
            }
        }
    }
}

fn next_look(policy: &Policy) -> Duration {
    [
        policy.header_timeout,
        policy.idle_timeout,
        policy.body_timeout,
        policy.send_timeout,
    ]
    .into_iter()
    .fold(LOOK, Duration::min)
}

fn patience(policy: &Policy, crowded: bool) -> Patience {
    let millis = |duration: Duration| duration.as_millis() as Millis;
    let idle = millis(policy.idle_timeout);
    Patience {
        head: millis(policy.header_timeout),
        idle: if crowded {
            idle.min(IDLE_IN_A_CROWD)
        } else {
            idle
        },
        body: millis(policy.body_timeout),
        send: millis(policy.send_timeout),
    }
}
