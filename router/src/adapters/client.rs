//! What the parts that serve one client connection tell each other: who reads the client's bytes
//! ([`super::http1`], [`super::http2`]), the handler of requests and whoever watches the time.
//!
//! The link is the *number of the request* on its connection: HTTP/1 serves them in order, hence both
//! sides count the same.
//!
//! HTTP/2 serves many at once. There each request has a value of its own ([`ClientConnection::stream`]), as
//! if it had come on a connection of its own, and [`super::streams`] knows those of one connection.

use super::crowd::Place;
use super::streams::Ticket;
use super::tunnel::{ClientSide, Switched};
use crate::domain::refusal::{Fault, Refusal};
use crate::domain::table::Millis;
use futures_util::task::AtomicWaker;
use http::{HeaderValue, Request};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use tokio::sync::oneshot;

const IDLE: u64 = 0;
const IN_HEAD: u64 = 1;
const BUSY: u64 = 2;

/// One client connection.
#[derive(Debug)]
pub struct ClientConnection {
    pub peer: SocketAddr,
    /// For X-Forwarded-For.
    pub address: HeaderValue,
    /// It came over TLS.
    pub secure: bool,
    /// The certificate it showed, in base64.
    pub certificate: Option<Box<HeaderValue>>,
    /// Requests that reached the handler.
    served: AtomicU64,
    /// Number of the request that stands for a refused head; 0 for none.
    refused_at: AtomicU64,
    refusal: Mutex<Option<Fault>>,
    head_timed_out: AtomicBool,
    /// Number of the last request that asks for an upgrade.
    upgrade_at: AtomicU64,
    /// Wakes whoever passes the request's body on.
    pub body: AtomicWaker,
    broken_body: AtomicBool,
    body_timed_out: AtomicBool,
    /// Since when the instance waits for the client's body, and the router for the client to read.
    body_awaited: Since,
    reader_awaited: Since,
    /// Phase in the lowest two bits, since when above.
    phase: AtomicU64,
    holds: Holds,
}

/// What is held until the last of this connection, tunnels too, is gone.
#[derive(Debug)]
enum Holds {
    Connection {
        _place: Place,
        /// Where its socket goes if the request under way makes a tunnel of it.
        switch: Mutex<Option<oneshot::Sender<Switched>>>,
    },
    /// One request among those of an HTTP/2 connection.
    Stream(Ticket),
}

/// A moment, or none.
#[derive(Debug, Default)]
pub(super) struct Since(AtomicU64);

impl Since {
    /// Keeps the earliest moment.
    pub(super) fn begin(&self, now: Millis) {
        if self.0.load(Ordering::Relaxed) == 0 {
            self.0.store(now.max(1), Ordering::Relaxed);
        }
    }

    /// Says whether there was one.
    pub(super) fn end(&self) -> bool {
        let begun = self.has_begun();
        if begun {
            self.0.store(0, Ordering::Relaxed);
        }
        begun
    }

    pub(super) fn has_begun(&self) -> bool {
        self.0.load(Ordering::Relaxed) != 0
    }

    pub(super) fn lasts(&self, now: Millis, limit: Millis) -> bool {
        match self.0.load(Ordering::Relaxed) {
            0 => false,
            since => now.saturating_sub(since) >= limit,
        }
    }
}

/// How long a client may take.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    pub head: Millis,
    pub idle: Millis,
    pub body: Millis,
    pub send: Millis,
}

/// What the time says about a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overdue {
    Fine,
    /// No request for too long.
    Idle,
    /// A head that does not end.
    Head,
    /// A body that does not come.
    Body,
    /// An answer that is not read.
    Reader,
}

impl ClientConnection {
    pub fn new(peer: SocketAddr, now: Millis, secure: bool, place: Place) -> ClientConnection {
        let address = match peer.ip() {
            std::net::IpAddr::V6(ip) => ip.to_ipv4_mapped().map_or(peer.ip(), Into::into),
            ip => ip,
        };
        let address =
            HeaderValue::from_str(&address.to_string()).expect("an ip address is visible ASCII");
        let holds = Holds::Connection {
            _place: place,
            switch: Mutex::new(None),
        };
        ClientConnection::with(peer, address, secure, now << 2 | IDLE, holds)
    }

    /// One request on this HTTP/2 connection.
    pub fn stream(&self, now: Millis, ticket: Ticket) -> ClientConnection {
        let holds = Holds::Stream(ticket);
        let phase = now << 2 | BUSY;
        let client =
            ClientConnection::with(self.peer, self.address.clone(), self.secure, phase, holds);
        ClientConnection {
            certificate: self.certificate.clone(),
            ..client
        }
    }

    fn with(
        peer: SocketAddr,
        address: HeaderValue,
        secure: bool,
        phase: u64,
        holds: Holds,
    ) -> ClientConnection {
        ClientConnection {
            peer,
            secure,
            certificate: None,
            address,
            served: AtomicU64::new(0),
            refused_at: AtomicU64::new(0),
            refusal: Mutex::new(None),
            head_timed_out: AtomicBool::new(false),
            upgrade_at: AtomicU64::new(0),
            body: AtomicWaker::new(),
            broken_body: AtomicBool::new(false),
            body_timed_out: AtomicBool::new(false),
            body_awaited: Since::default(),
            reader_awaited: Since::default(),
            phase: AtomicU64::new(phase),
            holds,
        }
    }

    /// Whether it is one of several requests on an HTTP/2 connection.
    pub fn is_stream(&self) -> bool {
        matches!(self.holds, Holds::Stream(_))
    }

    /// A request reached the handler: its number.
    pub fn request_begins(&self) -> u64 {
        self.served.fetch_add(1, Ordering::AcqRel) + 1
    }

    /// Why the request of this number is not what the client sent, if so.
    pub fn refusal_of(&self, number: u64) -> Option<Refusal> {
        if self.refused_at.load(Ordering::Acquire) != number {
            return None;
        }
        if self.head_timed_out.load(Ordering::Acquire) {
            return Some(Refusal::HeadTimeout);
        }
        let fault = *self.refusal.lock().unwrap_or_else(PoisonError::into_inner);
        Some(fault.map_or(Refusal::Unknown, Refusal::Malformed))
    }

    /// Called by the reader: the head of that number may not pass.
    pub fn refuse(&self, number: u64, fault: Option<Fault>) {
        *self.refusal.lock().unwrap_or_else(PoisonError::into_inner) = fault;
        self.refused_at.store(number, Ordering::Release);
    }

    pub fn time_out_head(&self) {
        self.head_timed_out.store(true, Ordering::Release);
    }

    /// Called by the reader: the head of that number asks for an upgrade.
    pub fn asks_upgrade(&self, number: u64) {
        self.upgrade_at.store(number, Ordering::Release);
    }

    pub fn is_upgrade(&self, number: u64) -> bool {
        self.upgrade_at.load(Ordering::Acquire) == number
    }

    /// Its side of the tunnel that `request` is to become.
    pub fn side<B>(&self, request: &mut Request<B>) -> ClientSide {
        match &self.holds {
            Holds::Connection { switch, .. } => {
                let (tell, told) = oneshot::channel();
                *switch.lock().unwrap_or_else(PoisonError::into_inner) = Some(tell);
                ClientSide::Http1(told)
            }
            Holds::Stream(_) => ClientSide::Http2(hyper::upgrade::on(request)),
        }
    }

    /// Gives the connection's socket to whoever waits for it.
    pub fn switches(&self, side: Switched) {
        if let Holds::Connection { switch, .. } = &self.holds {
            let told = switch.lock().unwrap_or_else(PoisonError::into_inner).take();
            // (Whoever waited may have gone, and the socket goes too.)
            let _ = told.map(|told| told.send(side));
        }
    }

    pub fn break_body(&self) {
        self.broken_body.store(true, Ordering::Release);
        self.body.wake();
    }

    pub fn body_is_broken(&self) -> bool {
        self.broken_body.load(Ordering::Acquire)
    }

    pub fn time_out_body(&self) {
        self.body_timed_out.store(true, Ordering::Release);
        self.body.wake();
    }

    pub fn body_timed_out(&self) -> bool {
        self.body_timed_out.load(Ordering::Acquire)
    }

    /// The instance wants more of the request's body than the client has sent.
    pub fn awaits_body(&self, now: Millis) {
        self.body_awaited.begin(now);
    }

    pub fn body_moves(&self) {
        self.body_awaited.end();
    }

    /// The client's socket takes no more of the answer.
    pub fn awaits_reader(&self, now: Millis) {
        self.reader_awaited.begin(now);
    }

    /// Says whether it was waited for.
    pub fn reader_moves(&self) -> bool {
        self.reader_awaited.end()
    }

    pub fn head_begins(&self, now: Millis) {
        if self.phase.load(Ordering::Relaxed) & 3 == IDLE {
            self.phase.store(now << 2 | IN_HEAD, Ordering::Relaxed);
        }
    }

    pub fn head_complete(&self, now: Millis) {
        self.phase.store(now << 2 | BUSY, Ordering::Relaxed);
    }

    /// Whether nothing is under way and has not been for so long.
    pub fn is_quiet(&self, now: Millis, since: Millis) -> bool {
        let phase = self.phase.load(Ordering::Relaxed);
        phase & 3 == IDLE && now.saturating_sub(phase >> 2) >= since
    }

    pub fn request_ends(&self, now: Millis) {
        self.phase.store(now << 2 | IDLE, Ordering::Relaxed);
        if let Holds::Stream(ticket) = &self.holds {
            ticket.ends(now);
        }
    }

    pub fn overdue(&self, now: Millis, patience: Patience) -> Overdue {
        if self.reader_awaited.lasts(now, patience.send) {
            return Overdue::Reader;
        }
        if self.body_awaited.lasts(now, patience.body) {
            return Overdue::Body;
        }
        let phase = self.phase.load(Ordering::Relaxed);
        let age = now.saturating_sub(phase >> 2);
        match phase & 3 {
            IDLE if age >= patience.idle => Overdue::Idle,
            IN_HEAD if age >= patience.head => Overdue::Head,
            _ => Overdue::Fine,
        }
    }
}
