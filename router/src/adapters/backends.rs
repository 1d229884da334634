//! Connections to instances: made, kept while idle, given back.
//!
//! The idle ones of an endpoint form a stack: the last used is used first, so that those that are not
//! needed grow old and go. They are kept by the endpoint's *number*, not its address: an address
//! that changes hands never inherits connections.
//!
//! [`Lease`] is the right to send one request on a connection; the body of its answer brings the connection back
//! ([`super::instance`]).
//!
//! An instance that speaks HTTP/2 has few connections that requests share: one goes to the connection with
//! the fewest, and a new one is made when each has as many as its instance takes. Requests that find none
//! at all each make one; what is more than [`MAX_SHARED`] of them goes with its last request. Their windows are such that
//! no request can use up another's: a client that does not read its answer holds up its own only.

use super::blame::of_handshake;
use super::bodies::RequestBody;
use super::clock::Clock;
use super::crew::{Crew, Inbox};
use super::keep_alive::watch_peer;
use super::line::{Line, Socket};
use super::trust::{Trust, chose_http2};
use crate::domain::answer_head::MAX_HEAD;
use crate::domain::identity::Address;
use crate::domain::policy::Policy as Settings;
use crate::domain::refusal::EndpointFault;
use crate::domain::table::{Endpoint, Millis};
use daemon::Supervisor;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::hash::{BuildHasherDefault, Hasher};
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

/// Most idle connections to one endpoint.
const MAX_IDLE: usize = 256;
/// How long one is kept idle.
const IDLE_FOR: Millis = 60_000;
const SHARDS: usize = 16;

/// Most connections of HTTP/2 to one endpoint that are kept.
const MAX_SHARED: usize = 16;
/// Most requests at once on one of them.
const MAX_REQUESTS: usize = 100;
/// How much of one answer may wait for its client; of all on a connection, as much as that many times.
const STREAM_WINDOW: u32 = 128 << 10;
const CONNECTION_WINDOW: u32 = STREAM_WINDOW * MAX_REQUESTS as u32;

/// A connection that waits for its next request.
struct Idle {
    line: Box<Line>,
    since: Millis,
}

/// A connection of HTTP/2: requests come and go on it.
struct Shared {
    sender: http2::SendRequest<RequestBody>,
    load: Arc<Load>,
    /// When the last request was put on it.
    since: Millis,
}

/// How many requests are on a connection of HTTP/2, and how many its instance takes.
#[derive(Debug)]
struct Load {
    open: AtomicUsize,
    most: AtomicUsize,
}

impl Load {
    fn new() -> Arc<Load> {
        Arc::new(Load {
            open: AtomicUsize::new(0),
            most: AtomicUsize::new(1),
        })
    }

    fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    fn has_room(&self) -> bool {
        self.open() < self.most.load(Ordering::Relaxed)
    }

    fn enter(self: &Arc<Self>) -> Turn {
        self.open.fetch_add(1, Ordering::Relaxed);
        Turn(self.clone())
    }
}

/// One request on a connection of HTTP/2.
#[derive(Debug)]
pub struct Turn(Arc<Load>);

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// By the numbers of their endpoints.
type Shard = HashMap<u64, Kept, BuildHasherDefault<ByNumber>>;

/// Numbers of endpoints are counted, not chosen by anybody: a multiplication spreads them.
#[derive(Default)]
struct ByNumber(u64);

impl Hasher for ByNumber {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = (self.0 ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

/// The connections to one endpoint that can be used.
#[derive(Default)]
struct Kept {
    idle: Vec<Idle>,
    shared: Vec<Shared>,
}

impl Kept {
    fn is_empty(&self) -> bool {
        self.idle.is_empty() && self.shared.is_empty()
    }

    fn unused(&self) -> usize {
        let shared = self.shared.iter();
        self.idle.len() + shared.filter(|shared| shared.load.open() == 0).count()
    }

    /// The connection of HTTP/2 with the fewest requests, unless a new one is better.
    fn share(&mut self, now: Millis) -> Option<(http2::SendRequest<RequestBody>, Turn)> {
        self.shared.retain(|shared| !shared.sender.is_closed());
        let full = self.shared.len() >= MAX_SHARED;
        let shared = self
            .shared
            .iter_mut()
            .min_by_key(|shared| shared.load.open())
            .filter(|shared| full || shared.load.has_room())?;
        shared.since = now;
        Some((shared.sender.clone(), shared.load.enter()))
    }
}

/// The connections of one worker.
pub struct Backends {
    shards: Vec<Mutex<Shard>>,
    tasks: Supervisor,
    clock: Clock,
    trust: Arc<Trust>,
}

/// Why no connection could be had.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("no connection to {address} within {within:?}")]
    Timeout { address: Address, within: Duration },
    #[error("cannot connect to {address}")]
    Refused { address: Address, source: io::Error },
    #[error("cannot speak TLS with {address}")]
    Tls { address: Address, source: io::Error },
    #[error("{address} is on the router's own machine, where no route service is asked")]
    Loopback { address: Address },
    #[error("nobody is trusted to say who {address} is")]
    NoTrust { address: Address },
    #[error("cannot speak HTTP/2 with {address}")]
    Handshake {
        address: Address,
        source: hyper::Error,
    },
}

impl ConnectError {
    /// What is wrong with the instance.
    pub fn fault(&self) -> EndpointFault {
        match self {
            ConnectError::Tls { source, .. } => of_handshake(source),
            ConnectError::NoTrust { .. } => EndpointFault::Untrusted,
            ConnectError::Timeout { .. }
            | ConnectError::Refused { .. }
            | ConnectError::Loopback { .. }
            | ConnectError::Handshake { .. } => EndpointFault::Broken,
        }
    }
}

/// The right to send one request on a connection.
pub struct Lease {
    pub connection: Connection,
    /// It was there before: it may have died meanwhile.
    pub reused: bool,
}

pub enum Connection {
    Http1(Box<Line>),
    Http2(http2::SendRequest<RequestBody>, Turn),
}

impl Backends {
    pub fn new(tasks: Supervisor, clock: Clock, trust: Arc<Trust>) -> Arc<Backends> {
        Arc::new(Backends {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            tasks,
            clock,
            trust,
        })
    }

    fn shard(&self, number: u64) -> std::sync::MutexGuard<'_, Shard> {
        self.shards[number as usize % SHARDS]
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// A connection to the endpoint that is there and alive, as far as is known.
    pub fn idle(&self, endpoint: &Endpoint, http2: bool) -> Option<Lease> {
        let connection = if http2 && let Some(shared) = self.share(endpoint) {
            shared
        } else {
            Connection::Http1(self.silent(endpoint.number)?)
        };
        Some(Lease {
            connection,
            reused: true,
        })
    }

    fn silent(&self, number: u64) -> Option<Box<Line>> {
        loop {
            let mut line = self.shard(number).get_mut(&number)?.idle.pop()?.line;
            if line.is_silent() {
                return Some(line);
            }
        }
    }

    fn share(&self, endpoint: &Endpoint) -> Option<Connection> {
        let now = self.clock.now();
        let mut shard = self.shard(endpoint.number);
        let (sender, turn) = shard.get_mut(&endpoint.number)?.share(now)?;
        Some(Connection::Http2(sender, turn))
    }

    /// Keeps a connection for the next request.
    pub fn keep(&self, number: u64, line: Box<Line>) {
        let since = self.clock.now();
        let mut shard = self.shard(number);
        let idle = &mut shard.entry(number).or_default().idle;
        if idle.len() < MAX_IDLE {
            idle.push(Idle { line, since });
        }
    }

    /// A new connection to the endpoint.
    pub async fn connect(
        self: &Arc<Self>,
        endpoint: &Endpoint,
        http2: bool,
        policy: &Settings,
    ) -> Result<Lease, ConnectError> {
        let within = policy.connect_timeout;
        let address = endpoint.identity.address();
        let connecting = TcpStream::connect((address.host.as_ref(), address.port));
        let socket = match tokio::time::timeout(within, connecting).await {
            Ok(Ok(socket)) => socket,
            Ok(Err(source)) => {
                return Err(ConnectError::Refused {
                    address: address.clone(),
                    source,
                });
            }
            Err(_) => {
                return Err(ConnectError::Timeout {
                    address: address.clone(),
                    within,
                });
            }
        };
        let here = || {
            socket
                .peer_addr()
                .is_ok_and(|peer| peer.ip().to_canonical().is_loopback())
        };
        if endpoint.identity.outside && !policy.route_services.loopback && here() {
            return Err(ConnectError::Loopback {
                address: address.clone(),
            });
        }
        // Small writes must not wait for each other. An error here only costs latency.
        let _ = socket.set_nodelay(true);
        watch_peer(&socket);
        let (socket, http2) = if endpoint.identity.tls().is_some() {
            let socket = self.prove(endpoint, socket, http2, within).await?;
            let http2 = http2 && chose_http2(&socket);
            (Socket::Secure(Box::new(socket)), http2)
        } else {
            (Socket::Plain(socket), http2)
        };
        let connection = if http2 {
            let begun = self.begin_http2(endpoint, socket).await;
            begun.map_err(|source| ConnectError::Handshake {
                address: address.clone(),
                source,
            })?
        } else {
            Connection::Http1(Line::new(socket))
        };
        let reused = false;
        Ok(Lease { connection, reused })
    }

    /// Has the instance prove who it is.
    async fn prove(
        &self,
        endpoint: &Endpoint,
        socket: TcpStream,
        http2: bool,
        within: Duration,
    ) -> Result<TlsStream<TcpStream>, ConnectError> {
        let address = || endpoint.identity.address();
        let Some(identity) = endpoint.identity.tls() else {
            return Err(ConnectError::NoTrust { address: address() });
        };
        let name = identity.name.clone();
        let proving = async {
            match endpoint.identity.outside {
                true => Some(self.trust.connect_outside(socket, name).await),
                false => self.trust.connect(socket, name, http2).await,
            }
        };
        match tokio::time::timeout(within, proving).await {
            Ok(Some(Ok(socket))) => Ok(socket),
            Ok(Some(Err(source))) => Err(ConnectError::Tls {
                address: address(),
                source,
            }),
            Ok(None) => Err(ConnectError::NoTrust { address: address() }),
            Err(_) => Err(ConnectError::Timeout {
                address: address(),
                within,
            }),
        }
    }

    async fn begin_http2(&self, endpoint: &Endpoint, socket: Socket) -> hyper::Result<Connection> {
        let inbox = Inbox::default();
        let (sender, driver) = http2::Builder::new(inbox.clone())
            .timer(TokioTimer::new())
            // Until it said how many it takes.
            .initial_max_send_streams(1)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_header_list_size(MAX_HEAD as u32)
            .handshake(TokioIo::new(socket))
            .await?;
        let load = Load::new();
        let mut crew = Crew::outlasting(driver, inbox);
        let told = load.clone();
        self.drive(std::future::poll_fn(move |cx| {
            let polled = Pin::new(&mut crew).poll(cx);
            let most = crew.connection().current_max_send_streams();
            told.most.store(most.min(MAX_REQUESTS), Ordering::Relaxed);
            polled
        }));
        let turn = load.enter();
        let mut shard = self.shard(endpoint.number);
        let shared = &mut shard.entry(endpoint.number).or_default().shared;
        if shared.len() < MAX_SHARED {
            shared.push(Shared {
                sender: sender.clone(),
                load,
                since: self.clock.now(),
            });
        }
        Ok(Connection::Http2(sender, turn))
    }

    /// Runs a connection until it ends. Its errors reach whoever waits for an answer.
    fn drive(&self, driver: impl Future<Output = hyper::Result<()>> + Send + 'static) {
        self.tasks.spawn_beside(async move {
            let _ = driver.await;
        });
    }

    /// Drops what is closed, too old or leads to an endpoint that is not served any more.
    pub fn sweep(&self, known: &HashSet<u64>) {
        let now = self.clock.now();
        for shard in &self.shards {
            let mut shard = shard
                .lock()
                .unwrap_or_else(|poisoned| poisoned.into_inner());
            shard.retain(|number, kept| {
                kept.idle.retain_mut(|idle| {
                    now.saturating_sub(idle.since) < IDLE_FOR && idle.line.is_silent()
                });
                kept.shared.retain(|shared| {
                    let used = shared.load.open() > 0;
                    let young = now.saturating_sub(shared.since) < IDLE_FOR;
                    !shared.sender.is_closed() && (used || young)
                });
                known.contains(number) && !kept.is_empty()
            });
        }
    }

    /// How many connections are idle.
    pub fn idle_count(&self) -> usize {
        self.shards
            .iter()
            .map(|shard| {
                shard
                    .lock()
                    .unwrap_or_else(|poisoned| poisoned.into_inner())
                    .values()
                    .map(Kept::unused)
                    .sum::<usize>()
            })
            .sum()
    }
}
