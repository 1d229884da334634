//! Sockets, bus, files: what carries out the domain's decisions.
//!
//! ```text
//!   server ──accept──▶ http1 (strict front) ──▶ proxy ──▶ backends ──line──▶ instance
//!                 └──▶ http2 (hyper) ─────────────▲ │  └─▶ tunnel (upgrades)
//!   registry ◀── bus      registry ──snapshot──▶ lookups └─▶ exchange (log line, counters)
//!   doors ── opens the ports of routes ──▶ tcp, udp (carry what comes there) ──▶ instance
//!   traffic ──▶ bus       (what exchanges counted, each period)
//! ```

pub mod access_log;
pub mod answers;
pub mod backends;
pub mod blame;
pub mod bodies;
pub mod certificates;
pub mod choice;
pub mod client;
pub mod client_authorities;
pub mod clock;
pub mod condemned;
pub mod counters;
pub mod crew;
pub mod crowd;
pub mod doors;
pub mod error_page;
pub mod exchange;
pub mod failures;
pub mod fronts;
pub mod http1;
pub mod http2;
pub mod instance;
pub mod keep_alive;
pub mod latencies;
pub mod line;
pub mod opening;
pub mod ordered;
pub mod packing;
pub mod proxy;
pub mod registry;
pub mod room;
pub mod route_services;
pub mod server;
pub mod sleepers;
pub mod streams;
pub mod table_file;
pub mod tcp;
pub mod traffic;
pub mod trust;
pub mod tunnel;
pub mod udp;
pub mod upload;
