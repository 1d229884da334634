//! The node: keeps the daemons of one machine alive.
//!
//! ```text
//! prepare   home, secrets, ports, networks, kernel settings        adapters::{layout, machine}
//! serve     sockets, nats, etcd, its users, bootstrap files        plan, cluster
//! keep      one task per part: start or adopt, watch, restart      crew, keeper
//! join      other machines come in by the gate; a joined one goes out by its link      guests, joined, joining
//! recast    daemons come and go as the machine's roles say         recast
//! renew     restarts for values that need one, one at a time       rolling
//! tell      the node's socket, the cluster store, /etc/hosts       board, adapters::control, report, names
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
pub mod guests;
pub mod joined;
pub mod joining;
pub mod keeper;
pub mod names;
pub mod plan;
pub mod recast;
pub mod report;
pub mod roles;
pub mod rolling;

use std::net::IpAddr;
use std::path::PathBuf;

use proto::bus::Role;
use proto::join::Advertised;
use proto::roles::Wish;

/// What the operator asked for. What is left open stays as the cluster has it, or takes the
/// default when there is none yet.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    pub home: PathBuf,
    pub domain: Option<String>,
    pub bind: Option<IpAddr>,
    pub port: Option<u16>,
    /// 0 for none.
    pub tls_port: Option<u16>,
    pub counts: WantedCounts,
    /// A file with the URL of the PostgreSQL database of the controllers.
    pub database_file: Option<PathBuf>,
    pub hosts: Option<bool>,
    /// Where other machines reach this one.
    pub advertise: Option<Advertised>,
}

/// How many of these daemons, as far as that was said.
#[derive(Debug, Clone, Copy, Default, clap::Args)]
pub struct WantedCounts {
    /// Execution agents on this machine [default: as before, or 1].
    #[arg(long)]
    pub deas: Option<u32>,
    /// Controllers on this machine; several need a PostgreSQL database [default: as before, or 1].
    #[arg(long)]
    pub controllers: Option<u32>,
    /// Routers on this machine, each a port higher than the one before [default: as before, or 1].
    #[arg(long)]
    pub routers: Option<u32>,
    /// Stagers on this machine [default: as before, or 1].
    #[arg(long)]
    pub stagers: Option<u32>,
    /// Health managers on this machine [default: as before, or 1].
    #[arg(long)]
    pub health_managers: Option<u32>,
}

impl WantedCounts {
    /// Those that were said, with the option that says them.
    pub fn said(&self) -> Vec<(Role, u32, &'static str)> {
        [
            (Role::Dea, self.deas, "--deas"),
            (Role::Controller, self.controllers, "--controllers"),
            (Role::Router, self.routers, "--routers"),
            (Role::Stager, self.stagers, "--stagers"),
            (
                Role::HealthManager,
                self.health_managers,
                "--health-managers",
            ),
        ]
        .into_iter()
        .filter_map(|(role, count, option)| Some((role, count?, option)))
        .collect()
    }

    /// As wishes for roles.
    pub fn wishes(&self) -> Vec<(Role, Wish)> {
        let said = self.said().into_iter();
        said.map(|(role, count, _)| (role, Wish::Exactly(count)))
            .collect()
    }
}
