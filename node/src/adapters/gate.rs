//! The gate: the one listener by which other machines reach this cluster.
//!
//! ```text
//! TLS ──► one line: who, and what ──► Join, Standing, Leave, Farewell: whoever follows the roles (`guests`)
//!                                └──► Connect: the named service on loopback, if the machine's daemons need it
//! ```
//!
//! Whoever proves nothing costs little: he is heard shortly, so many at once that nobody waits for others (`domain::hall`),
//! and whoever fails to join some times is not heard for a while (`domain::doorkeeper`). A machine's connections are cut when its identity is withdrawn: whether it is believed is
//! looked up, and the connection entered among those to be cut, under one lock.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use daemon::{Policy, Supervisor};
use proto::bus::Role;
use proto::join::{GateAnswer, GateRequest, Identity, Refused, Token};
use tokio::io::{AsyncRead, AsyncWrite, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_rustls::server::TlsStream;
use tracing::{debug, info, warn};

use super::layout;
use super::machines::Records;
use super::wire::{self, Served};
use crate::domain::doorkeeper::Doorkeeper;
use crate::domain::hall::Hall;
use crate::domain::machines::{NotBelieved, offered};
use crate::recast::{Asked, Guest};

/// Connections that have not proven anything yet, at once: more than any machine opens when its link comes back, and
/// fewer than there are descriptors.
const STRANGERS: usize = 512;
/// How long one may take to say what it wants.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a question may take that the cluster store is asked for.
const LONG_PATIENCE: Duration = Duration::from_secs(60);
/// Connections of one machine at once.
const MOST_CONNECTIONS: usize = 4096;

pub struct Gate {
    pub address: SocketAddrV4,
    pub records: Records,
    served: Served,
    listener: TcpListener,
    /// What machines may be connected to: ports on loopback by name.
    services: watch::Sender<BTreeMap<String, u16>>,
    /// Whoever follows the roles.
    desk: mpsc::Sender<Asked>,
    /// Of those who want to join.
    doorkeeper: Mutex<Doorkeeper>,
    /// Of those who say that they have: they are answered all the same, and told of in the log as long as it hears them.
    strangers: Mutex<Doorkeeper>,
    /// Whoever has not proven anything yet. What is kept of him ends his connection when it goes.
    hall: Mutex<Hall<oneshot::Sender<()>>>,
    /// By machine: turned to true, its connections end.
    cuts: Mutex<BTreeMap<String, watch::Sender<bool>>>,
    begun: Instant,
}

impl Gate {
    /// Opens it.
    pub async fn open(
        address: SocketAddrV4,
        records: Records,
        served: Served,
        services: BTreeMap<String, u16>,
        desk: mpsc::Sender<Asked>,
    ) -> anyhow::Result<Arc<Gate>> {
        let listener = TcpListener::bind(address).await.with_context(|| {
            format!("the gate cannot listen on {address}: --advertise takes an address of this machine and a free port, or off")
        })?;
        Ok(Arc::new(Gate {
            address,
            records,
            served,
            listener,
            services: watch::Sender::new(services),
            desk,
            doorkeeper: Mutex::default(),
            strangers: Mutex::default(),
            hall: Mutex::new(Hall::new(STRANGERS)),
            cuts: Mutex::default(),
            begun: Instant::now(),
        }))
    }

    /// Serves until the node stops.
    pub fn serve(self: &Arc<Self>, tasks: &Supervisor) {
        let (gate, supervisor) = (self.clone(), tasks.clone());
        tasks.spawn("gate", Policy::Restart, move |shutdown| {
            let (gate, supervisor) = (gate.clone(), supervisor.clone());
            async move {
                info!(address = %gate.address, "other machines can reach the gate");
                loop {
                    let (stream, from) = tokio::select! {
                        accepted = gate.listener.accept() => match accepted {
                            Ok(accepted) => accepted,
                            Err(error) => {
                                // It would fail again at once: no descriptors, most likely.
                                warn!(%error, "a connection to the gate was not accepted");
                                tokio::time::sleep(Duration::from_millis(200)).await;
                                continue;
                            }
                        },
                        () = shutdown.cancelled() => return Ok(()),
                    };
                    let (gate, shutdown) = (gate.clone(), shutdown.clone());
                    let place = gate.place(from.ip());
                    supervisor.spawn_once("gate-connection", async move {
                        let handled = gate.handle(stream, from, place);
                        tokio::select! {
                            result = handled => if let Err(error) = result {
                                debug!(%error, %from, "a connection to the gate ended");
                            },
                            () = shutdown.cancelled() => {}
                        }
                    });
                }
            }
        });
    }

    pub fn fingerprint(&self) -> &str {
        &self.served.fingerprint
    }

    /// A token for one machine.
    pub fn issue(&self, roles: &[Role], ttl: Duration) -> anyhow::Result<Token> {
        let (now, secret) = (unix_now(), layout::secret());
        let token = Token {
            gate: self.address,
            expires: now + ttl.as_secs(),
            fingerprint: self.served.fingerprint.clone(),
            id: layout::secret()[..16].to_string(),
            secret,
        };
        let digest = wire::digest_of(token.secret.as_bytes());
        self.records
            .change(|machines| machines.issue(&token.id, digest, token.expires, roles, now))??;
        info!(token = %token.id, expires = token.expires, "a token for a machine was made");
        Ok(token)
    }

    /// The services as they are now.
    pub fn set_services(&self, services: BTreeMap<String, u16>) {
        self.services.send_replace(services);
    }

    pub fn services(&self) -> BTreeMap<String, u16> {
        self.services.borrow().clone()
    }

    /// Connections of a machine to services, now.
    pub fn connections(&self, machine: &str) -> usize {
        self.cuts()
            .get(machine)
            .map_or(0, watch::Sender::receiver_count)
    }

    /// Ends what a machine has; only of use once its identity is withdrawn.
    pub fn cut(&self, machine: &str) {
        if let Some(cut) = self.cuts().remove(machine) {
            cut.send_replace(true);
        }
    }

    fn cuts(&self) -> MutexGuard<'_, BTreeMap<String, watch::Sender<bool>>> {
        held(&self.cuts)
    }

    /// A place in the hall.
    fn place(self: &Arc<Self>, address: IpAddr) -> Place {
        let (kept, sent_away) = oneshot::channel();
        let (number, other) = held(&self.hall).enter(address, kept);
        drop(other);
        Place {
            gate: self.clone(),
            number,
            sent_away,
        }
    }

    async fn handle(
        &self,
        stream: TcpStream,
        from: SocketAddr,
        mut place: Place,
    ) -> io::Result<()> {
        let heard = tokio::select! {
            heard = self.hear(stream, from) => heard?,
            _ = &mut place.sent_away => return Err(io::Error::other("the hall was full, and others came")),
        };
        drop(place);
        match heard {
            Some((stream, request)) => self.grant(stream, request).await,
            None => Ok(()),
        }
    }

    /// What somebody wants, if he is who he says.
    async fn hear(
        &self,
        stream: TcpStream,
        from: SocketAddr,
    ) -> io::Result<Option<(TlsStream<TcpStream>, GateRequest)>> {
        wire::tune(&stream)?;
        let begun = async {
            let mut stream = self.served.acceptor.accept(stream).await?;
            let request: GateRequest = wire::read(&mut stream).await?;
            Ok::<_, io::Error>((stream, request))
        };
        let (mut stream, request) = tokio::time::timeout(PATIENCE, begun)
            .await
            .map_err(io::Error::other)??;
        let from = from.ip();
        match self.examine(&request, from) {
            Err(not_believed) => {
                let refused = Refused {
                    why: not_believed.to_string(),
                    withdrawn: matches!(not_believed, NotBelieved::NoMachine(_)),
                };
                answer(&mut stream, &GateAnswer::Refused(refused)).await?;
                Ok(None)
            }
            Ok(()) => Ok(Some((stream, request))),
        }
    }

    /// Whether whoever asks is who he says.
    fn examine(&self, request: &GateRequest, from: IpAddr) -> Result<(), NotBelieved> {
        let now = self.begun.elapsed();
        let (result, doorkeeper) = match request {
            GateRequest::Join(join) => {
                if !held(&self.doorkeeper).hears(from, now) {
                    return Err(NotBelieved::NotHeard);
                }
                let digest = wire::digest_of(join.secret.as_bytes());
                let proven = self.records.lock().proven(&join.token, &digest, unix_now());
                (proven.map(|_| ()), &self.doorkeeper)
            }
            // A machine that was removed is to learn it, however often it asks.
            GateRequest::Standing { identity, .. }
            | GateRequest::Connect { identity, .. }
            | GateRequest::Leave { identity }
            | GateRequest::Farewell { identity } => (self.believe(identity), &self.strangers),
        };
        if let Err(why) = &result {
            let mut doorkeeper = held(doorkeeper);
            if doorkeeper.hears(from, now) {
                warn!(%from, %why, "a machine at the gate is not believed");
            }
            doorkeeper.failed(from, now);
        }
        result
    }

    fn believe(&self, identity: &Identity) -> Result<(), NotBelieved> {
        let digest = wire::digest_of(identity.key.as_bytes());
        self.records
            .lock()
            .believed(identity.machine.as_str(), &digest)
            .map(|_| ())
    }

    async fn grant<S>(&self, mut stream: S, request: GateRequest) -> io::Result<()>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let guest = match request {
            GateRequest::Connect { identity, service } => {
                return self.connect(stream, &identity, &service).await;
            }
            GateRequest::Join(join) => Guest::Join(join),
            GateRequest::Standing { identity, holds } => Guest::Standing {
                machine: identity.machine.to_string(),
                holds,
            },
            GateRequest::Leave { identity } => Guest::Leave(identity.machine.to_string()),
            GateRequest::Farewell { identity } => Guest::Farewell(identity.machine.to_string()),
        };
        let (reply, told) = oneshot::channel();
        let asking = async {
            self.desk.send(Asked::Guest { guest, reply }).await.ok()?;
            told.await.ok()
        };
        let told = tokio::time::timeout(LONG_PATIENCE, asking).await;
        let told = told.ok().flatten();
        let told =
            told.unwrap_or_else(|| refusal("the cluster does not answer: try again in a moment"));
        answer(&mut stream, &told).await
    }

    async fn connect<S>(&self, mut stream: S, identity: &Identity, service: &str) -> io::Result<()>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let machine = identity.machine.as_str();
        let opened = {
            let mut cuts = self.cuts();
            match self.believe(identity) {
                Ok(()) => {
                    let cut = cuts
                        .entry(machine.to_string())
                        .or_insert_with(|| watch::Sender::new(false));
                    (cut.receiver_count() < MOST_CONNECTIONS).then(|| cut.subscribe())
                }
                Err(_) => None,
            }
        };
        let Some(mut cut) = opened else {
            return answer(
                &mut stream,
                &refusal("this machine has too many connections"),
            )
            .await;
        };
        let daemons = self
            .records
            .lock()
            .get(machine)
            .map(|machine| machine.daemons.clone())
            .unwrap_or_default();
        let Some(port) = offered(&daemons, &self.services.borrow())
            .get(service)
            .copied()
        else {
            warn!(
                machine,
                service, "a machine asked for a service that its daemons do not need"
            );
            return answer(
                &mut stream,
                &refusal("the daemons of this machine do not need that service"),
            )
            .await;
        };
        let connecting = TcpStream::connect((Ipv4Addr::LOCALHOST, port));
        let mut inner = match tokio::time::timeout(PATIENCE, connecting).await {
            Ok(Ok(inner)) => inner,
            Ok(Err(_)) | Err(_) => {
                return answer(&mut stream, &refusal("the service does not answer")).await;
            }
        };
        inner.set_nodelay(true)?;
        answer(&mut stream, &GateAnswer::Connected).await?;
        tokio::select! {
            copied = copy_bidirectional(&mut stream, &mut inner) => copied.map(drop),
            _ = cut.wait_for(|cut| *cut) => Ok(()),
        }
    }
}

/// Somebody's place among those who have not proven anything yet.
struct Place {
    gate: Arc<Gate>,
    number: u64,
    sent_away: oneshot::Receiver<()>,
}

impl Drop for Place {
    fn drop(&mut self) {
        held(&self.gate.hall).leave(self.number);
    }
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner())
}

fn refusal(why: &str) -> GateAnswer {
    GateAnswer::Refused(Refused {
        why: why.to_string(),
        withdrawn: false,
    })
}

async fn answer<S: AsyncWrite + Unpin>(stream: &mut S, answer: &GateAnswer) -> io::Result<()> {
    tokio::time::timeout(PATIENCE, wire::write(stream, answer))
        .await
        .map_err(io::Error::other)?
}

pub fn unix_now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

/// From which of our addresses packets to that one leave.
pub fn source_towards(address: Ipv4Addr) -> io::Result<Ipv4Addr> {
    // No packet is sent: the kernel only chooses.
    let socket = std::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.connect((address, 9))?;
    match socket.local_addr()?.ip() {
        IpAddr::V4(address) => Ok(address),
        IpAddr::V6(_) => Err(io::Error::other("no IPv4 address leads there")),
    }
}

/// Why a token is not made, for people.
pub fn no_gate() -> String {
    "this cluster has no gate for other machines: `sudo yard down`, then `sudo yard up --advertise ADDRESS` with an address at which they reach this one".to_string()
}
