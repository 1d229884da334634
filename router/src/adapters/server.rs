//! Accepting clients, watching their time, and letting them go when the daemon ends.

use super::certificates::Certificates;
use super::client::{ClientConnection, Overdue, Patience};
use super::client_authorities::ClientAuthorities;
use super::http1;
use super::http2;
use super::keep_alive::watch_peer;
use super::opening::{Announced, Opening, announced, opening};
use super::proxy::Worker;
use super::tunnel::Duplex;
use crate::domain::policy::{ClientCertificates, Policy};
use crate::domain::table::Millis;
use anyhow::Context;
use base64::Engine;
use bytes::BytesMut;
use daemon::{Shutdown, Supervisor};
use futures_util::future::Either;
use http::HeaderValue;
use rustls::server::NoClientAuth;
use rustls::server::danger::ClientCertVerifier;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
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
    pub tls: Option<Tls>,
}

/// What an entrance for TLS offers, from TLS 1.2 on.
#[derive(Clone)]
pub struct Tls {
    silent: Acceptors,
    authorities: Option<Arc<ClientAuthorities>>,
}

/// Two ways, because whether HTTP/2 is offered is a setting.
#[derive(Clone)]
pub struct Acceptors {
    both: TlsAcceptor,
    http1: TlsAcceptor,
}

const HTTP1: &[u8] = b"http/1.1";
const HTTP2: &[u8] = b"h2";

impl Tls {
    /// `authorities`: whom to believe about clients, if they are asked for certificates.
    pub fn new(
        certificates: Arc<Certificates>,
        authorities: Option<Arc<ClientAuthorities>>,
    ) -> Result<Tls, rustls::Error> {
        Ok(Tls {
            silent: Acceptors::new(certificates, Arc::new(NoClientAuth))?,
            authorities,
        })
    }

    /// `None` if a certificate is required that nobody could vouch for.
    fn acceptor(&self, policy: &Policy) -> Option<TlsAcceptor> {
        let http2 = policy.http2.enabled;
        let asking = self
            .authorities
            .as_ref()
            .and_then(|authorities| authorities.asking());
        match (policy.client_certificates, asking) {
            (ClientCertificates::None, _) | (ClientCertificates::Request, None) => {
                Some(self.silent.of(http2))
            }
            (ClientCertificates::Request, Some(asking)) => Some(asking.request.of(http2)),
            (ClientCertificates::Require, Some(asking)) => Some(asking.require.of(http2)),
            (ClientCertificates::Require, None) => None,
        }
    }
}

impl Acceptors {
    pub fn new(
        certificates: Arc<Certificates>,
        clients: Arc<dyn ClientCertVerifier>,
    ) -> Result<Acceptors, rustls::Error> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut http1 = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_client_cert_verifier(clients)
            .with_cert_resolver(certificates);
        http1.alpn_protocols = vec![HTTP1.to_vec()];
        let mut both = http1.clone();
        both.alpn_protocols = vec![HTTP2.to_vec(), HTTP1.to_vec()];
        Ok(Acceptors {
            both: TlsAcceptor::from(Arc::new(both)),
            http1: TlsAcceptor::from(Arc::new(http1)),
        })
    }

    fn of(&self, http2: bool) -> TlsAcceptor {
        match http2 {
            true => self.both.clone(),
            false => self.http1.clone(),
        }
    }
}

/// What the client showed, as apps are told it.
fn shown_certificate(session: &rustls::ServerConnection) -> Option<Box<HeaderValue>> {
    let first = session.peer_certificates()?.first()?;
    let text = base64::engine::general_purpose::STANDARD.encode(first);
    HeaderValue::try_from(text).ok().map(Box::new)
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
    tls: Option<Tls>,
) {
    worker.counters.connections_metric.increment(1);
    let _ = socket.set_nodelay(true);
    watch_peer(&socket);
    let place = worker.crowd.enter();
    let worker = worker.clone();
    let shutdown = tasks.shutdown();
    let secure = tls.is_some();
    tasks.spawn_once("client connection", async move {
        let mut socket = socket;
        let Some(Announced { source, begun }) = introduced(&worker, &mut socket).await else {
            tracing::debug!(%peer, "a connection does not begin as the PROXY protocol has it");
            return;
        };
        let peer = source.unwrap_or(peer);
        let now = worker.clock.now();
        let client = ClientConnection::new(peer, now, secure, place);
        match tls {
            None => serve_plain(worker, socket, begun, Arc::new(client), shutdown).await,
            // (In a box: it would make connections without TLS larger.)
            Some(tls) if begun.is_empty() => {
                Box::pin(serve_secure(worker, socket, tls, client, shutdown)).await;
            }
            // No TLS begins like this.
            Some(_) => {}
        }
    });
}

async fn serve_secure(
    worker: Arc<Worker>,
    socket: TcpStream,
    tls: Tls,
    mut client: ClientConnection,
    shutdown: Shutdown,
) {
    let peer = client.peer;
    let (within, acceptor) = {
        let policy = worker.policy.load();
        (policy.header_timeout, tls.acceptor(&policy))
    };
    let Some(acceptor) = acceptor else {
        worker.counters.tls_failures_metric.increment(1);
        tracing::debug!(%peer, "certificates of clients are required, and there is no authority");
        return;
    };
    match tokio::time::timeout(within, acceptor.accept(socket)).await {
        Ok(Ok(socket)) => {
            let session = socket.get_ref().1;
            let protocol = Protocol::of(session.alpn_protocol() == Some(HTTP2));
            client.certificate = shown_certificate(session);
            let client = Arc::new(client);
            serve_connection(worker, socket, BytesMut::new(), protocol, client, shutdown).await;
        }
        Ok(Err(error)) => {
            worker.counters.tls_failures_metric.increment(1);
            tracing::debug!(%peer, %error, "a TLS handshake failed");
        }
        Err(_) => {
            worker.counters.tls_failures_metric.increment(1);
            tracing::debug!(%peer, "a TLS handshake did not end");
        }
    }
}

/// Which HTTP a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Protocol {
    Http1,
    Http2,
}

impl Protocol {
    fn of(http2: bool) -> Protocol {
        if http2 {
            Protocol::Http2
        } else {
            Protocol::Http1
        }
    }
}

/// Who a client is, if a load balancer says so. `None` if that is wanted and cannot be read, in time.
async fn introduced(worker: &Worker, socket: &mut TcpStream) -> Option<Announced> {
    let policy = worker.policy.load();
    if !policy.proxy_protocol {
        return Some(Announced::default());
    }
    let within = policy.header_timeout;
    drop(policy);
    let announced = tokio::time::timeout(within, announced(socket)).await;
    announced.ok()?.ok()
}

async fn serve_plain(
    worker: Arc<Worker>,
    mut socket: TcpStream,
    mut begun: BytesMut,
    client: Arc<ClientConnection>,
    shutdown: Shutdown,
) {
    let mut protocol = Protocol::Http1;
    if worker.policy.load().http2.plain {
        let Some(opening) = opened(&worker, &mut socket, begun, &client, &shutdown).await else {
            return;
        };
        protocol = Protocol::of(opening.http2);
        begun = opening.begun;
    }
    serve_connection(worker, socket, begun, protocol, client, shutdown).await;
}

/// How a client begins, unless it takes too long to.
async fn opened(
    worker: &Worker,
    socket: &mut TcpStream,
    begun: BytesMut,
    client: &ClientConnection,
    shutdown: &Shutdown,
) -> Option<Opening> {
    let opening = opening(socket, begun, || client.head_begins(worker.clock.now()));
    tokio::pin!(opening);
    loop {
        let look = next_look(&worker.policy.load());
        tokio::select! {
            biased;
            opened = opening.as_mut() => return opened.ok(),
            () = shutdown.draining() => return None,
            () = tokio::time::sleep(look) => {}
        }
        let patience = patience(&worker.policy.load(), worker.crowd.is_full());
        if client.overdue(worker.clock.now(), patience) != Overdue::Fine {
            return None;
        }
    }
}

/// (No `async fn`: it would hold what it passes on a second time.)
fn serve_connection<S>(
    worker: Arc<Worker>,
    socket: S,
    begun: BytesMut,
    protocol: Protocol,
    client: Arc<ClientConnection>,
    shutdown: Shutdown,
) -> impl Future<Output = ()> + Send
where
    S: Duplex + 'static,
{
    match protocol {
        Protocol::Http1 => Either::Left(http1::serve(worker, socket, begun, client, shutdown)),
        // In a box: what it needs must not make a connection of HTTP/1 larger.
        Protocol::Http2 => Either::Right(Box::pin(http2::serve(
            worker, socket, begun, client, shutdown,
        ))),
    }
}

pub(super) fn next_look(policy: &Policy) -> Duration {
    [
        policy.header_timeout,
        policy.idle_timeout,
        policy.body_timeout,
        policy.send_timeout,
    ]
    .into_iter()
    .fold(LOOK, Duration::min)
}

pub(super) fn patience(policy: &Policy, crowded: bool) -> Patience {
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
