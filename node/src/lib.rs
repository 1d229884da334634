//! The node: keeps the daemons of one machine alive.
//!
//! ```text
//! prepare   home, secrets, ports, networks, kernel settings        adapters::{layout, machine}
//! serve     sockets, nats, etcd, its users, bootstrap files        plan, cluster
//! keep      one task per part: start or adopt, watch, restart      crew, keeper
//! renew     restarts for values that need one, one at a time       rolling
//! tell      the node's socket, /etc/hosts                          board, adapters::control, names
//! stop      in waves, then look for leftovers                      cluster, adapters::cleanup
//! ```
//!
//! What to do is decided in [`domain`], without touching anything. The node may be killed: its
//! parts go on, and the next node adopts them.

pub mod adapters;
pub mod board;
pub mod cluster;
pub mod crew;
pub mod domain;
pub mod keeper;
pub mod names;
pub mod plan;
pub mod roles;
pub mod rolling;

use std::net::IpAddr;
use std::path::PathBuf;

/// What the operator asked for. What is left open stays as the cluster has it, or takes the
/// default when there is none yet.
#[derive(Debug, Clone)]
pub struct Wanted {
    pub home: PathBuf,
    pub domain: Option<String>,
    pub bind: Option<IpAddr>,
    pub port: Option<u16>,
    /// 0 for none.
    pub tls_port: Option<u16>,
    pub deas: Option<u32>,
    pub hosts: Option<bool>,
}
