//! What comes to a UDP port is carried to an instance, and back.
//!
//! Nothing says where a conversation begins or ends, so whoever sends from one address has a *session*: a socket of its
//! own towards one instance, whose answers go back to that address. It lasts until nothing came either way for a while,
//! its instance has the port no more, or the machine there says that nobody listens.
//!
//! Datagrams get lost anywhere, and clients expect that; what is done here is only to lose few. Those that come while a
//! session has many waiting, or while there are as many sessions as may be, are dropped and counted. The first ones of a
//! session are kept until an answer comes: if the instance turns out not to listen, the next one gets them.
//!
//! The end of the daemon closes the port; sessions get [`LAST_ANSWERS`] for what is under way.

use super::doors::{Doors, Keeper, Places, choose};
use crate::domain::table::InFlight;
use bytes::Bytes;
use daemon::Shutdown;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, bind as bind_to, setsockopt, socket,
    sockopt,
};
use proto::ports::Port;
use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// The largest datagram there is.
const LARGEST: usize = 65_535;
/// Datagrams of one client that may wait.
const WAITING: usize = 64;
/// Datagrams kept until the first answer, and the largest of them.
const KEPT: usize = 4;
const KEPT_BYTES: usize = 2048;
const LAST_ANSWERS: Duration = Duration::from_secs(1);
/// How often at least a session looks whether its instance still has the port, and at the settings.
const LOOK: Duration = Duration::from_secs(1);

/// Listens there, beside the other routers of this machine.
pub fn bind(address: SocketAddr) -> io::Result<UdpSocket> {
    let family = match address.is_ipv4() {
        true => AddressFamily::Inet,
        false => AddressFamily::Inet6,
    };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let opened = socket(family, SockType::Datagram, flags, None)?;
    setsockopt(&opened, sockopt::ReusePort, &true)?;
    bind_to(opened.as_raw_fd(), &SockaddrStorage::from(address))?;
    UdpSocket::from_std(std::net::UdpSocket::from(opened))
}

/// Receives until the port is to be closed.
pub(super) async fn receive(socket: UdpSocket, mut keeper: Keeper) {
    let socket = Arc::new(socket);
    let mut sessions: HashMap<SocketAddr, mpsc::Sender<Bytes>> = HashMap::new();
    let mut buffer = vec![0; LARGEST];
    loop {
        let (length, client) = tokio::select! {
            biased;
            _ = &mut keeper.open => return,
            () = keeper.shutdown.draining() => return,
            received = socket.recv_from(&mut buffer) => match received {
                Ok(received) => received,
                // What became of an answer to somebody who has left.
                Err(error) => {
                    tracing::debug!(port = %keeper.port, %error, "a port of UDP received nothing");
                    continue;
                }
            },
        };
        let datagram = Bytes::copy_from_slice(&buffer[..length]);
        if !hand_over(&keeper, &socket, &mut sessions, client, datagram) {
            keeper.doors.udp.dropped.increment(1);
        }
    }
}

/// Whether the client's session takes the datagram; it gets one if it has none.
fn hand_over(
    keeper: &Keeper,
    socket: &Arc<UdpSocket>,
    sessions: &mut HashMap<SocketAddr, mpsc::Sender<Bytes>>,
    client: SocketAddr,
    mut datagram: Bytes,
) -> bool {
    if let Some(session) = sessions.get(&client) {
        match session.try_send(datagram) {
            Ok(()) => return true,
            Err(mpsc::error::TrySendError::Full(_)) => return false,
            Err(mpsc::error::TrySendError::Closed(back)) => datagram = back,
        }
    }
    // Those that ended are forgotten before they could be many.
    if sessions.len() > 2 * keeper.crowd.present() + KEPT {
        sessions.retain(|_, session| !session.is_closed());
    }
    if !keeper.has_room() {
        return false;
    }
    let (hand, waiting) = mpsc::channel(WAITING);
    let sent = hand.try_send(datagram).is_ok();
    sessions.insert(client, hand);
    let session = Session {
        doors: keeper.doors.clone(),
        port: keeper.port,
        door: socket.clone(),
        client,
        waiting,
        unanswered: Vec::new(),
        answered: false,
        _places: keeper.enter(),
    };
    let tasks = &keeper.doors.worker.tasks;
    let shutdown = tasks.shutdown();
    tasks.spawn_once("session of a port", session.run(shutdown));
    sent
}

thread_local! {
    /// What comes is read here first: a session that is quiet needs no room for the largest datagram.
    static RECEIVED: RefCell<Vec<u8>> = RefCell::new(vec![0; LARGEST]);
}

async fn receive_one(socket: &UdpSocket) -> io::Result<Bytes> {
    loop {
        socket.readable().await?;
        let received = RECEIVED.with_borrow_mut(|buffer| {
            let length = socket.try_recv(buffer)?;
            Ok(Bytes::copy_from_slice(&buffer[..length]))
        });
        match received {
            Err(error) if would_block(&error) => {}
            received => return received,
        }
    }
}

fn would_block(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock
}

/// One client's conversation.
struct Session {
    doors: Arc<Doors>,
    port: Port,
    door: Arc<UdpSocket>,
    client: SocketAddr,
    waiting: mpsc::Receiver<Bytes>,
    /// What was sent before anything came back.
    unanswered: Vec<Bytes>,
    answered: bool,
    _places: Places,
}

/// Why a session is with its instance no more.
enum Parted {
    /// It is over.
    Over,
    /// The instance does not listen: another may.
    Failed(io::Error),
    /// The instance has the port no more.
    Moved,
}

impl Session {
    async fn run(mut self, shutdown: Shutdown) {
        let policy = self.doors.worker.policy.load_full();
        let mut tried = Vec::new();
        while tried.len() < policy.max_attempts {
            let Some(serving) = choose(&self.doors, self.port, &policy, &tried) else {
                break;
            };
            let why = match self.connect(&serving, policy.connect_timeout).await {
                Ok(socket) => match self.converse(&socket, &serving, &shutdown).await {
                    Parted::Over => return,
                    Parted::Moved => continue,
                    Parted::Failed(why) => why,
                },
                Err(why) => why,
            };
            let endpoint = serving.endpoint();
            tracing::debug!(port = %self.port, address = %endpoint.identity.at(), %why, "an instance left a session");
            self.doors
                .worker
                .set_aside(endpoint, &policy, &why.to_string());
            if self.answered {
                // Its next datagram begins another: nobody knows what the last ones were for.
                return;
            }
            self.doors.udp.retries.increment(1);
            tried.push(endpoint.number);
        }
        self.doors.udp.unserved.increment(1);
    }

    async fn connect(&self, serving: &InFlight, within: Duration) -> io::Result<UdpSocket> {
        let address = serving.endpoint().identity.address();
        let connecting = async {
            let mut found = tokio::net::lookup_host((address.host.as_ref(), address.port)).await?;
            let to = found.next().ok_or(io::ErrorKind::AddrNotAvailable)?;
            let any = match to.is_ipv4() {
                true => "0.0.0.0:0",
                false => "[::]:0",
            };
            let socket = UdpSocket::bind(any).await?;
            socket.connect(to).await?;
            Ok(socket)
        };
        let connected = tokio::time::timeout(within, connecting).await;
        connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    /// Carries both ways until one of them ends it.
    async fn converse(
        &mut self,
        socket: &UdpSocket,
        serving: &InFlight,
        shutdown: &Shutdown,
    ) -> Parted {
        for datagram in self.unanswered.clone() {
            if let Err(error) = self.send(socket, &datagram).await {
                return Parted::Failed(error);
            }
        }
        let mut last = Instant::now();
        let mut is_open = true;
        loop {
            let idle = self.doors.worker.policy.load().udp.idle_timeout;
            let patience = match shutdown.is_draining() {
                true => idle.min(LAST_ANSWERS),
                false => idle,
            };
            let over = last + patience;
            tokio::select! {
                () = shutdown.draining(), if !shutdown.is_draining() => {}
                next = self.waiting.recv(), if is_open => {
                    let Some(datagram) = next else {
                        // The port is closed. Its socket is so only when no session holds it.
                        if !shutdown.is_draining() {
                            return Parted::Over;
                        }
                        is_open = false;
                        continue;
                    };
                    last = Instant::now();
                    if !self.is_served_by(serving) {
                        self.answered = false;
                        self.keep(&datagram);
                        return Parted::Moved;
                    }
                    self.keep(&datagram);
                    if let Err(error) = self.send(socket, &datagram).await {
                        return Parted::Failed(error);
                    }
                }
                received = receive_one(socket) => match received {
                    Ok(datagram) => {
                        last = Instant::now();
                        self.answered = true;
                        self.unanswered = Vec::new();
                        self.doors.udp.down.increment(datagram.len() as u64);
                        // (Whether it arrives is nobody's to know.)
                        let _ = self.door.send_to(&datagram, self.client).await;
                    }
                    Err(error) => return Parted::Failed(error),
                },
                () = tokio::time::sleep_until(over.min(Instant::now() + LOOK)) => {
                    if Instant::now() >= over {
                        return Parted::Over;
                    }
                }
            }
        }
    }

    async fn send(&self, socket: &UdpSocket, datagram: &[u8]) -> io::Result<()> {
        socket.send(datagram).await?;
        self.doors.udp.up.increment(datagram.len() as u64);
        Ok(())
    }

    fn keep(&mut self, datagram: &Bytes) {
        let fits = datagram.len() <= KEPT_BYTES && self.unanswered.len() < KEPT;
        if !self.answered && fits {
            self.unanswered.push(datagram.clone());
        }
    }

    /// Whether the instance still has the port.
    fn is_served_by(&self, serving: &InFlight) -> bool {
        let table = self.doors.worker.table.load();
        let number = serving.endpoint().number;
        table.at_port(self.port).is_some_and(|pool| {
            let mut members = pool.members.iter();
            members.any(|member| member.endpoint.number == number)
        })
    }
}
