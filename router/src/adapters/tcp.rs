//! What comes to a TCP port is carried to an instance, and back.
//!
//! Bytes are carried as they are, each direction until its own end: a client that has said all may wait for the answer.
//! A connection that no instance takes is reset, as if its port were closed. Once it is joined it stays with its instance;
//! when that ends, so does it: what was said cannot be said again to another.
//!
//! The end of the daemon closes the port at once and waits for connections until its deadline.

use super::doors::{Counts, Doors, Keeper, choose};
use super::keep_alive::watch_peer;
use crate::domain::table::{InFlight, Millis};
use metrics::Counter;
use nix::libc::linger;
use nix::sys::socket::{setsockopt, sockopt};
use proto::ports::Port;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// Connections that may wait to be accepted.
const BACKLOG: u32 = 1024;
/// How often is looked whether a limit was raised.
const LIMIT_LOOK: Duration = Duration::from_millis(200);
/// How often a silent connection looks at the settings.
const SETTINGS_LOOK: Duration = Duration::from_secs(30);
/// How long nobody is accepted when that fails: out of descriptors, most likely.
const REST: Duration = Duration::from_millis(50);

/// Listens there, beside the other routers of this machine.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address.is_ipv4() {
        true => TcpSocket::new_v4(),
        false => TcpSocket::new_v6(),
    }?;
    socket.set_reuseaddr(true)?;
    socket.set_reuseport(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Accepts until the port is to be closed.
pub(super) async fn accept(listener: TcpListener, mut keeper: Keeper) {
    loop {
        let has_room = keeper.has_room();
        tokio::select! {
            biased;
            _ = &mut keeper.open => return,
            () = keeper.shutdown.draining() => return,
            () = keeper.crowd.somebody_leaves(), if !has_room => {}
            () = tokio::time::sleep(LIMIT_LOOK), if !has_room => {}
            accepted = listener.accept(), if has_room => match accepted {
                Ok((client, _)) => {
                    let (doors, port, places) = (keeper.doors.clone(), keeper.port, keeper.enter());
                    let tasks = doors.worker.tasks.clone();
                    tasks.spawn_once("connection of a port", async move {
                        serve(&doors, port, client).await;
                        drop(places);
                    });
                }
                Err(error) => {
                    tracing::warn!(port = %keeper.port, %error, "a client of a port could not be accepted");
                    tokio::time::sleep(REST).await;
                }
            },
        }
    }
}

async fn serve(doors: &Doors, port: Port, mut client: TcpStream) {
    let _ = client.set_nodelay(true);
    watch_peer(&client);
    let Some((instance, _serving)) = reach(doors, port).await else {
        doors.tcp.unserved.increment(1);
        reset(&client);
        return;
    };
    let mut instance = Watched::new(instance, doors);
    let last = instance.last.clone();
    tokio::select! {
        // An error here is one side's way of hanging up.
        _ = tokio::io::copy_bidirectional(&mut client, &mut instance) => {}
        () = silence(doors, &last) => {
            tracing::debug!(%port, "a connection of a port was silent for too long");
        }
    }
}

/// An instance that takes the connection: others are tried if one does not.
async fn reach(doors: &Doors, port: Port) -> Option<(TcpStream, InFlight)> {
    let policy = doors.worker.policy.load_full();
    let mut tried = Vec::new();
    while tried.len() < policy.max_attempts {
        let serving = choose(doors, port, &policy, &tried)?;
        let endpoint = serving.endpoint();
        let address = endpoint.identity.address();
        let connecting = TcpStream::connect((address.host.as_ref(), address.port));
        let connected = tokio::time::timeout(policy.connect_timeout, connecting).await;
        match connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
            Ok(socket) => {
                let _ = socket.set_nodelay(true);
                watch_peer(&socket);
                return Some((socket, serving));
            }
            Err(error) => {
                tracing::debug!(%port, %address, %error, "an instance did not take a connection");
                doors
                    .worker
                    .set_aside(endpoint, &policy, &error.to_string());
                doors.tcp.retries.increment(1);
                tried.push(endpoint.number);
            }
        }
    }
    None
}

/// Its end will be a reset, not the end of something that was said.
fn reset(client: &TcpStream) {
    let at_once = linger {
        l_onoff: 1,
        l_linger: 0,
    };
    if let Err(error) = setsockopt(client, sockopt::Linger, &at_once) {
        tracing::debug!(%error, "a client is not reset but let go");
    }
}

/// Returns when nothing was carried for as long as the settings allow.
async fn silence(doors: &Doors, last: &AtomicU64) {
    loop {
        let allowed = doors.worker.policy.load().tcp.idle_timeout;
        let silent = doors
            .worker
            .clock
            .now()
            .saturating_sub(last.load(Ordering::Relaxed));
        let rest = allowed.saturating_sub(Duration::from_millis(silent));
        if rest.is_zero() {
            return;
        }
        tokio::time::sleep(rest.min(SETTINGS_LOOK)).await;
    }
}

/// The connection to the instance, with what is carried counted: everything passes it once.
struct Watched {
    socket: TcpStream,
    up: Counter,
    down: Counter,
    clock: super::clock::Clock,
    /// When something was carried.
    last: Arc<AtomicU64>,
}

impl Watched {
    fn new(socket: TcpStream, doors: &Doors) -> Watched {
        let Counts { up, down, .. } = &doors.tcp;
        let clock = doors.worker.clock;
        Watched {
            socket,
            up: up.clone(),
            down: down.clone(),
            clock,
            last: Arc::new(AtomicU64::new(clock.now())),
        }
    }

    fn carried(&self) {
        let now: Millis = self.clock.now();
        self.last.store(now, Ordering::Relaxed);
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.socket).poll_read(cx, buffer))?;
        self.down.increment((buffer.filled().len() - before) as u64);
        self.carried();
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.socket).poll_write(cx, bytes))?;
        self.up.increment(written as u64);
        self.carried();
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}
