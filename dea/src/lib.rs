//! The execution agent: the only place of Stackyard that runs containers.
//!
//! It does what it is told (`dea.{id}.start`, `dea.stop`, tasks) and tells what it sees (heartbeats,
//! exits, routes, logs). It decides nothing about where things should run. Its own death harms no
//! app: sandboxes live under supervisors of their own, and the next agent adopts them from their
//! labels ([`domain::record`]).
//!
//! ```text
//!   domain/    what to do, and why: pure
//!   adapters/  doing it: bus, droplets, health checks, logs, spool, names
//!   sandbox/   the container engine
//! ```

pub mod adapters;
mod config;
pub mod domain;
pub mod sandbox;

pub use adapters::start;
pub use config::Config;
