//! Connections to instances: made, kept while idle, given back.
//!
//! The idle ones of an endpoint form a stack: the last used is used first, so that those that are not
//! needed grow old and go. They are kept by the endpoint's *number*, not its address: an address
//! that changes hands never inherits connections.
//!
//! Each connection is driven by a task of its own; [`Lease`] is the right to send on it. Its drop closes
//! it, [`Lease::give_back`] keeps it.

use super::bodies::{RequestBody, RequestProgress};
use super::clock::Clock;
use super::keep_alive::watch_peer;
use crate::domain::table::{Address, Endpoint, Millis};
use daemon::{Policy, Supervisor};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_util::io::InspectReader;

/// Most idle connections to one endpoint.
const MAX_IDLE: usize = 256;
/// How long one is kept idle.
const IDLE_FOR: Millis = 60_000;
const SHARDS: usize = 16;
/// The largest buffer of a connection: also the largest head of an answer. hyper's own limit is three times as
/// large, and what a connection's buffer grew to under a large body it keeps while idle.
const MAX_BUFFER: usize = 128 << 10;
/// How long a connection that was just given back may take to become ready.
const SETTLE: Duration = Duration::from_millis(50);

/// How many bytes an instance has said on a connection. One that said so much as a byte of an answer has
/// acted on the request, so nobody else may be sent it (contract §3 row 10); hyper tells a silent end
/// and half a head by the same error.
#[derive(Debug, Clone, Default)]
pub struct Heard(Arc<AtomicU64>);

impl Heard {
    pub fn bytes(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }

    fn add(&self, bytes: usize) {
        self.0.fetch_add(bytes as u64, Ordering::Release);
    }
}

/// A connection that waits for its next request.
struct Idle {
    sender: SendRequest<RequestBody>,
    heard: Heard,
    since: Millis,
}

type Stack = Vec<Idle>;

/// The idle connections of one worker.
pub struct Backends {
    shards: Vec<Mutex<HashMap<u64, Stack>>>,
    tasks: Supervisor,
    clock: Clock,
}

/// Why no connection could be had.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("no connection to {address} within {within:?}")]
    Timeout { address: Address, within: Duration },
    #[error("cannot connect to {address}")]
    Refused { address: Address, source: io::Error },
    #[error("cannot speak HTTP to {address}")]
    Handshake {
        address: Address,
        source: hyper::Error,
    },
}

/// The right to send one request on a connection.
pub struct Lease {
    sender: SendRequest<RequestBody>,
    /// What the instance said on it so far.
    pub heard: Heard,
    number: u64,
    home: Arc<Backends>,
    /// It was idle before: it may have died meanwhile.
    pub reused: bool,
    /// The body sent on it, if any: unless all of it went out, the connection cannot be used again.
    pub progress: Option<Arc<RequestProgress>>,
}

impl Lease {
    pub fn sender(&mut self) -> &mut SendRequest<RequestBody> {
        &mut self.sender
    }

    /// Keeps the connection for the next request.
    pub fn give_back(self) {
        let sent = self
            .progress
            .as_ref()
            .is_none_or(|progress| progress.finished.load(Ordering::Acquire));
        if self.sender.is_closed() || !sent {
            return;
        }
        let now = self.home.clock.now();
        let mut shard = self.home.shard(self.number);
        let stack = shard.entry(self.number).or_default();
        if stack.len() < MAX_IDLE {
            stack.push(Idle {
                sender: self.sender,
                heard: self.heard,
                since: now,
            });
        }
    }
}

impl Backends {
    pub fn new(tasks: Supervisor, clock: Clock) -> Arc<Backends> {
        Arc::new(Backends {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            tasks,
            clock,
        })
    }

    fn shard(&self, number: u64) -> std::sync::MutexGuard<'_, HashMap<u64, Stack>> {
        self.shards[number as usize % SHARDS]
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// An idle connection to the endpoint that is still alive, as far as is known.
    pub async fn idle(self: &Arc<Self>, endpoint: &Endpoint) -> Option<Lease> {
        loop {
            let Idle {
                mut sender, heard, ..
            } = self
                .shard(endpoint.number)
                .get_mut(&endpoint.number)?
                .pop()?;
            if sender.is_closed() {
                continue;
            }
            if !sender.is_ready() {
                // Just given back: its driver needs a moment to notice the end of the answer.
                match tokio::time::timeout(SETTLE, sender.ready()).await {
                    Ok(Ok(())) => {}
                    Ok(Err(_)) | Err(_) => continue,
                }
            }
            return Some(Lease {
                sender,
                heard,
                number: endpoint.number,
                home: self.clone(),
                reused: true,
                progress: None,
            });
        }
    }

    /// A new connection to the endpoint.
    pub async fn connect(
        self: &Arc<Self>,
        endpoint: &Endpoint,
        within: Duration,
    ) -> Result<Lease, ConnectError> {
        let address = &endpoint.identity.address;
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
        // Small writes must not wait for each other. An error here only costs latency.
        let _ = socket.set_nodelay(true);
        watch_peer(&socket);
        let heard = Heard::default();
        let counted = heard.clone();
        let socket = InspectReader::new(socket, move |bytes: &[u8]| counted.add(bytes.len()));
        let (sender, driver) = http1::Builder::new()
            .max_buf_size(MAX_BUFFER)
            .handshake(TokioIo::new(socket))
            .await
            .map_err(|source| ConnectError::Handshake {
                address: address.clone(),
                source,
            })?;
        let mut driver = Some(driver.with_upgrades());
        self.tasks
            .spawn("backend connection", Policy::BestEffort, move |shutdown| {
                let driver = driver.take();
                async move {
                    if let Some(driver) = driver {
                        tokio::select! {
                            // Its errors reach whoever waits for the answer.
                            _ = driver => {}
                            () = shutdown.cancelled() => {}
                        }
                    }
                    Ok(())
                }
            });
        Ok(Lease {
            sender,
            heard,
            number: endpoint.number,
            home: self.clone(),
            reused: false,
            progress: None,
        })
    }

    /// Drops what is closed, too old or leads to an endpoint that is not served any more.
    pub fn sweep(&self, known: &HashSet<u64>) {
        let now = self.clock.now();
        for shard in &self.shards {
            let mut shard = shard
                .lock()
                .unwrap_or_else(|poisoned| poisoned.into_inner());
            shard.retain(|number, stack| {
                stack.retain(|idle| {
                    !idle.sender.is_closed() && now.saturating_sub(idle.since) < IDLE_FOR
                });
                known.contains(number) && !stack.is_empty()
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
                    .map(Vec::len)
                    .sum::<usize>()
            })
            .sum()
    }
}
