//! Sockets, bus, files: what carries out the domain's decisions.
//!
//! ```text
//!   server ──accept──▶ front (checks raw bytes) ──▶ hyper ──▶ proxy ──▶ backends ──▶ instance
//!                                                              │  └─▶ tunnel (upgrades)
//!   registry ◀── bus      registry ──snapshot──▶ lookups       └─▶ exchange (log line, counters)
//!   traffic ──▶ bus       (what exchanges counted, each period)
//! ```

pub mod access_log;
pub mod backends;
pub mod bodies;
pub mod certificates;
pub mod client;
pub mod clock;
pub mod counters;
pub mod crowd;
pub mod exchange;
pub mod front;
pub mod keep_alive;
pub mod proxy;
pub mod registry;
pub mod server;
pub mod table_file;
pub mod traffic;
pub mod tunnel;
