//! The language every Stackyard component speaks: identifiers, the bus catalogue with its
//! messages, the cluster configuration schema and the documents of the public API.
//!
//! Nothing here does I/O, reads a clock or knows tokio: a value of this crate can be built,
//! printed, compared and decoded in any test. Daemons never depend on each other; they meet here.

pub mod api;
pub mod buildpacks;
pub mod bus;
pub mod certificates;
pub mod config;
pub mod ids;
pub mod inside;
pub mod join;
pub mod log;
pub mod manifest;
pub mod node;
pub mod ports;
pub mod roles;
pub mod services;
pub mod timing;
