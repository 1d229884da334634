//! What every Stackyard daemon stands on.
//!
//! A daemon is a library with `Config` and `start(config, deps) -> Running`. This crate makes the
//! [`Deps`]: the connection to the bus, the cluster store with the live settings, supervised
//! tasks with an orderly end, inherited listening sockets, telemetry and the status server. It
//! knows nothing of apps, routes or packs.
//!
//! ```text
//!   bootstrap file ──► Deps::build ──► start(config, deps) ──► Running ──► signals ──► stop
//!                        │ bus  (NATS, reconnects for ever)
//!                        │ cluster (etcd: settings, leadership, compare-and-set)
//!                        │ tasks (Supervisor), sockets, admin port
//! ```
//!
//! Nothing here waits for the bus or the store to be there: a daemon starts, says in `/readyz`
//! what it waits for, and goes on with what it last knew (DESIGN §2: keep serving).

pub mod admin;
pub mod bootstrap;
pub mod bus;
pub mod cluster;
pub mod component;
mod domain;
pub mod listen;
pub mod logs;
mod mishaps;
pub mod registration;
pub mod run;
pub mod seals;
pub mod sockets;
pub mod supervise;
pub mod telemetry;

pub use admin::Readiness;
pub use bootstrap::{AdminConfig, Bootstrap, BusConfig, ClusterIdentity, StoreConfig};
pub use bus::{Bus, BusError, BusStatus, Received, Subscription};
pub use cluster::{Cluster, ClusterError, Conflict, Stored, Write};
pub use listen::follow;
pub use logs::LogSender;
pub use run::{Deps, Running, StopCause, run};
pub use sockets::Sockets;
pub use supervise::{Policy, Shutdown, Supervisor};

pub use proto::bus::Role;
pub use proto::ids::ComponentId;
