//! What the parts that serve one client connection tell each other: the reader that checks the raw
//! bytes ([`super::front`]), the handler of requests and the task that watches the time.
//!
//! hyper sits between them and knows nothing of it, so the link is the *number of the request* on
//! its connection: HTTP/1 serves them in order, hence both sides count the same.

use crate::domain::refusal::{Fault, Refusal};
use crate::domain::table::Millis;
use futures_util::task::AtomicWaker;
use http::HeaderValue;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

const IDLE: u64 = 0;
const IN_HEAD: u64 = 1;
const BUSY: u64 = 2;

const NO_DECISION: u8 = 0;
const STAY: u8 = 1;
const TUNNEL: u8 = 2;

/// One client connection.
#[derive(Debug)]
pub struct ClientConnection {
    pub peer: SocketAddr,
    /// For X-Forwarded-For.
    pub address: HeaderValue,
    /// Requests that hyper handed out.
    served: AtomicU64,
    /// Number of the request that stands for a refused head; 0 for none.
    refused_at: AtomicU64,
    refusal: Mutex<Option<Fault>>,
    head_timed_out: AtomicBool,
    /// Number of the last request that asks for an upgrade.
    upgrade_at: AtomicU64,
    decision: AtomicU8,
    /// Wakes the reader.
    pub reader: AtomicWaker,
    /// Wakes whoever passes the request's body on.
    pub body: AtomicWaker,
    broken_body: AtomicBool,
    /// Phase in the lowest two bits, since when above.
    phase: AtomicU64,
}

/// What the time says about a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overdue {
    Fine,
    /// No request for too long.
    Idle,
    /// A head that does not end.
    Head,
}

impl ClientConnection {
    pub fn new(peer: SocketAddr, now: Millis) -> ClientConnection {
        let address = match peer.ip() {
            std::net::IpAddr::V6(ip) => ip.to_ipv4_mapped().map_or(peer.ip(), Into::into),
            ip => ip,
        };
        ClientConnection {
            peer,
            address: HeaderValue::from_str(&address.to_string())
                .expect("an ip address is visible ASCII"),
            served: AtomicU64::new(0),
            refused_at: AtomicU64::new(0),
            refusal: Mutex::new(None),
            head_timed_out: AtomicBool::new(false),
            upgrade_at: AtomicU64::new(0),
            decision: AtomicU8::new(NO_DECISION),
            reader: AtomicWaker::new(),
            body: AtomicWaker::new(),
            broken_body: AtomicBool::new(false),
            phase: AtomicU64::new(now << 2 | IDLE),
        }
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
        let fault = *self
            .refusal
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        Some(fault.map_or(Refusal::Unknown, Refusal::Malformed))
    }

    /// Called by the reader: the head of that number may not pass.
    pub fn refuse(&self, number: u64, fault: Option<Fault>) {
        *self
            .refusal
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner()) = fault;
        self.refused_at.store(number, Ordering::Release);
    }

    pub fn head_timed_out(&self) -> bool {
        self.head_timed_out.load(Ordering::Acquire)
    }

    pub fn time_out_head(&self) {
        self.head_timed_out.store(true, Ordering::Release);
        self.reader.wake();
    }

    /// Called by the reader: the head of that number asks for an upgrade.
    pub fn asks_upgrade(&self, number: u64) {
        self.upgrade_at.store(number, Ordering::Release);
    }

    pub fn is_upgrade(&self, number: u64) -> bool {
        self.upgrade_at.load(Ordering::Acquire) == number
    }

    /// The answer to an upgrade: from now on a tunnel, or requests again.
    pub fn decide(&self, tunnel: bool) {
        self.decision
            .store(if tunnel { TUNNEL } else { STAY }, Ordering::Release);
        self.reader.wake();
    }

    /// Called by the reader: takes the decision, if there is one.
    pub fn take_decision(&self) -> Option<bool> {
        match self.decision.swap(NO_DECISION, Ordering::AcqRel) {
            STAY => Some(false),
            TUNNEL => Some(true),
            _ => None,
        }
    }

    pub fn break_body(&self) {
        self.broken_body.store(true, Ordering::Release);
        self.body.wake();
    }

    pub fn body_is_broken(&self) -> bool {
        self.broken_body.load(Ordering::Acquire)
    }

    pub fn head_begins(&self, now: Millis) {
        if self.phase.load(Ordering::Relaxed) & 3 == IDLE {
            self.phase.store(now << 2 | IN_HEAD, Ordering::Relaxed);
        }
    }

    pub fn head_complete(&self, now: Millis) {
        self.phase.store(now << 2 | BUSY, Ordering::Relaxed);
    }

    pub fn request_ends(&self, now: Millis) {
        self.phase.store(now << 2 | IDLE, Ordering::Relaxed);
    }

    pub fn overdue(&self, now: Millis, head: Millis, idle: Millis) -> Overdue {
        let phase = self.phase.load(Ordering::Relaxed);
        let age = now.saturating_sub(phase >> 2);
        match phase & 3 {
            IDLE if age >= idle => Overdue::Idle,
            IN_HEAD if age >= head => Overdue::Head,
            _ => Overdue::Fine,
        }
    }
}
