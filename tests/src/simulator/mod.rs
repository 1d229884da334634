//! The whole cluster in virtual time, from a seed.
//!
//! **Problem.** The parts that decide (placement, dispatch, the health manager's plans, an instance's life,
//! the route table) are tested each by itself. What breaks a cluster is what they do to each other when
//! messages are lost, late, doubled or out of order, and when processes and machines die in the middle.
//!
//! **Approach.** The decisions are the real code; time, bus, store, containers and users are simulated.
//! Everything that happens is an event in one queue ([`cluster`]), everything random comes from one seed
//! ([`random`]), so a run is the same to the last bit whenever it is repeated. [`invariants`] judges after
//! every step by what *really* happened in the containers. When the faults are over, the cluster must come
//! to what is wanted within a bound, and stay there.
//!
//! ```text
//!   users ─► rows (apps) ─► controllers ─► bus (network) ─► agents ─► containers
//!              └─ bulk ─► health managers ─┘    └─► routers            │ truth
//!                                  invariants ◄──────────────────────┘
//! ```
//!
//! **What a newcomer gets wrong.** Nothing may be iterated in the order of a hash, and no component may
//! look at another: what it knows must have come by a message. A rule of an invariant may be wrong as well
//! as the code it judges: a second instance is a fault only if nothing explains it.

pub mod agent;
pub mod apps;
pub mod cluster;
pub mod controller;
pub mod event;
pub mod gateway;
pub mod invariants;
pub mod manager;
pub mod message;
pub mod network;
pub mod random;
pub mod scenario;
pub mod trace;

pub use cluster::Simulation;
pub use invariants::Violation;
pub use scenario::{Outcome, Scenario};

/// Milliseconds since the simulation began.
pub type Millis = u64;

/// When that was, in Unix seconds.
pub const EPOCH: f64 = 1_700_000_000.0;

/// Now, by a clock that is off by so many milliseconds.
pub fn unix(now: Millis, skew: i64) -> f64 {
    EPOCH + (now as i64 + skew) as f64 / 1000.0
}

/// Rules that are broken on purpose, to see that somebody notices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sabotage {
    /// A health manager takes silence for absence while its bus is away.
    ManagerTrustsSilence,
    /// An agent follows a start command whenever it hears one.
    AgentForgetsIds,
    /// An agent follows commands of leaders that were replaced.
    AgentObeysAnybody,
    /// A router takes every endpoint for one of another name too.
    RouterMixesNames,
    /// An agent takes what it has no room for.
    AgentTakesTooMuch,
    /// Complete heartbeats leave out an instance.
    BeatsLeaveOut,
    /// A router prunes while its bus is away.
    RouterPrunesAlone,
    /// A byte of many messages is another one when they arrive.
    SpoiltBytes,
}
