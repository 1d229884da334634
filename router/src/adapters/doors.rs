//! The ports of routes: opened while a route has them, closed after it.
//!
//! One task compares what is open with the table ([`crate::domain::ports`]), whenever its ports change and each second:
//! then also what could not be opened is tried again, and what ended by a fault is opened anew. A port that cannot be
//! opened is told (`yard router routes`, the log) and nothing else of the router minds.
//!
//! Routers of one machine share a port (`SO_REUSEPORT`): the kernel spreads clients over them. Whoever opened it without
//! that, or as another user, has it alone.
//!
//! Everybody who comes in has a place among the router's clients, and one among those of ports, who together get no more
//! than half: clients of ports stay for hours, and nobody could ask anything of the others' apps meanwhile.

use super::choice::pick;
use super::crowd::{Crowd, Place};
use super::proxy::Worker;
use super::{tcp, udp};
use crate::domain::policy::{Policy, ports_key};
use crate::domain::ports::plan;
use crate::domain::table::{InFlight, Ports};
use daemon::Shutdown;
use metrics::{Counter, Gauge};
use proto::ports::{Port, Transport};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;
use tokio::sync::{Notify, oneshot};
use tokio::time::MissedTickBehavior;

/// How often is looked at what could not be opened, and at the settings.
const LOOK: Duration = Duration::from_secs(1);

/// The ports of one router.
pub struct Doors {
    pub(super) worker: Arc<Worker>,
    address: IpAddr,
    ports_changed: Arc<Notify>,
    /// Why a port is not open.
    closed: Mutex<BTreeMap<Port, String>>,
    /// Clients of all ports.
    crowd: Arc<Crowd>,
    pub(super) tcp: Counts,
    pub(super) udp: Counts,
}

/// What is counted of one transport.
pub(super) struct Counts {
    pub clients: Counter,
    pub present: Gauge,
    /// From clients to instances.
    pub up: Counter,
    pub down: Counter,
    /// Nobody could be reached for them.
    pub unserved: Counter,
    /// Another instance had to be tried.
    pub retries: Counter,
    /// Datagrams that had no room.
    pub dropped: Counter,
}

impl Counts {
    fn of(transport: Transport) -> Counts {
        let named = || [("transport", transport.name())];
        let bytes = |direction| {
            let labels = [("transport", transport.name()), ("direction", direction)];
            metrics::counter!("port_bytes_total", &labels)
        };
        Counts {
            clients: metrics::counter!("port_clients_total", &named()),
            present: metrics::gauge!("port_clients", &named()),
            up: bytes("up"),
            down: bytes("down"),
            unserved: metrics::counter!("port_clients_unserved_total", &named()),
            retries: metrics::counter!("port_retries_total", &named()),
            dropped: metrics::counter!("port_datagrams_dropped_total", &named()),
        }
    }
}

/// A port that is open, until this is dropped.
struct Door {
    _open: oneshot::Sender<()>,
    /// Whether somebody still stands there.
    keeper: Weak<()>,
}

/// What the one who stands at a port has.
pub(super) struct Keeper {
    pub doors: Arc<Doors>,
    pub port: Port,
    pub shutdown: Shutdown,
    pub crowd: Arc<Crowd>,
    /// Ends when the port is to be closed.
    pub open: oneshot::Receiver<()>,
    _alive: Arc<()>,
}

/// One client's places: at the port, among those of all ports, among all clients.
pub(super) struct Places {
    _places: [Place; 3],
    present: Gauge,
}

impl Drop for Places {
    fn drop(&mut self) {
        self.present.decrement(1.0);
    }
}

impl Doors {
    pub fn new(worker: Arc<Worker>, address: IpAddr, ports_changed: Arc<Notify>) -> Arc<Doors> {
        Arc::new(Doors {
            worker,
            address,
            ports_changed,
            closed: Mutex::default(),
            crowd: Arc::default(),
            tcp: Counts::of(Transport::Tcp),
            udp: Counts::of(Transport::Udp),
        })
    }

    /// Why the port is not open; `None`: it is.
    pub fn closed(&self, port: Port) -> Option<String> {
        self.reasons().get(&port).cloned()
    }

    fn reasons(&self) -> std::sync::MutexGuard<'_, BTreeMap<Port, String>> {
        self.closed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens and closes until the daemon drains.
    pub async fn run(self: Arc<Self>, shutdown: Shutdown) -> anyhow::Result<()> {
        let mut open: BTreeMap<Port, Door> = BTreeMap::new();
        let mut seen: Arc<Ports> = Arc::default();
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let is_time = tokio::select! {
                () = shutdown.draining() => return Ok(()),
                _ = look.tick() => true,
                () = self.ports_changed.notified() => false,
            };
            let routes = self.worker.table.load().ports().clone();
            if is_time || !Arc::ptr_eq(&routes, &seen) {
                self.look(&routes, &mut open);
                seen = routes;
            }
        }
    }

    fn look(self: &Arc<Self>, routes: &Ports, open: &mut BTreeMap<Port, Door>) {
        open.retain(|_, door| door.keeper.strong_count() > 0);
        let policy = self.worker.policy.load();
        let are_open: BTreeSet<Port> = open.keys().copied().collect();
        let plan = plan(routes, &are_open, |port| policy.allows(port));
        for port in plan.close {
            open.remove(&port);
            tracing::info!(%port, "a port of a route was closed");
        }
        let mut closed: BTreeMap<Port, String> = BTreeMap::new();
        for port in plan.outside {
            let key = ports_key(port.transport);
            closed.insert(port, format!("it is none of the ports in {key}"));
        }
        for port in plan.open {
            match self.open(port) {
                Ok(door) => {
                    tracing::info!(%port, "a port of a route is open");
                    open.insert(port, door);
                }
                Err(error) => {
                    closed.insert(port, format!("it cannot be opened: {error}"));
                }
            }
        }
        let mut told = self.reasons();
        for (port, reason) in &closed {
            if told.get(port) != Some(reason) {
                tracing::warn!(%port, reason, "a port of a route is not open");
            }
        }
        *told = closed;
    }

    fn open(self: &Arc<Self>, port: Port) -> io::Result<Door> {
        let (held, until) = oneshot::channel();
        let alive = Arc::new(());
        let keeper = Arc::downgrade(&alive);
        let tasks = &self.worker.tasks;
        let at = Keeper {
            doors: self.clone(),
            port,
            shutdown: tasks.shutdown(),
            crowd: Arc::default(),
            open: until,
            _alive: alive,
        };
        let address = (self.address, port.number).into();
        match port.transport {
            Transport::Tcp => {
                let listener = tcp::bind(address)?;
                tasks.spawn_once("port of TCP", tcp::accept(listener, at));
            }
            Transport::Udp => {
                let socket = udp::bind(address)?;
                tasks.spawn_once("port of UDP", udp::receive(socket, at));
            }
        }
        Ok(Door {
            _open: held,
            keeper,
        })
    }

    pub(super) fn counts(&self, transport: Transport) -> &Counts {
        match transport {
            Transport::Tcp => &self.tcp,
            Transport::Udp => &self.udp,
        }
    }
}

impl Keeper {
    /// Whether one more may come in at this port.
    pub fn has_room(&self) -> bool {
        let worker = &self.doors.worker;
        let policy = worker.policy.load();
        let all = worker.crowd.limit(policy.max_clients);
        self.crowd
            .has_room(policy.of_ports(self.port.transport).max_clients)
            && self.doors.crowd.has_room((all / 2).max(1))
            && worker.crowd.has_room(policy.max_clients)
    }

    pub fn enter(&self) -> Places {
        let counts = self.doors.counts(self.port.transport);
        counts.clients.increment(1);
        counts.present.increment(1.0);
        Places {
            _places: [
                self.crowd.enter(),
                self.doors.crowd.enter(),
                self.doors.worker.crowd.enter(),
            ],
            present: counts.present.clone(),
        }
    }
}

/// One of the instances that have the port, but for those that were tried.
pub(super) fn choose(
    doors: &Doors,
    port: Port,
    policy: &Policy,
    tried: &[u64],
) -> Option<InFlight> {
    let table = doors.worker.table.load();
    let pool = table.at_port(port)?;
    let member = pick(&doors.worker, policy, pool, tried, None).ok()?;
    Some(member.endpoint.enter())
}
