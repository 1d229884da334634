//! Doing what the domain decided: one module per thing outside.
//!
//! [`agent`] is what they share. Work (an instance, a task) runs in a unit of its own; what must
//! never wait behind work (heartbeats, advertisements, registrations, the spool) has its own task
//! and only reads the table.

pub mod accepted;
pub mod adoption;
pub mod advertise;
pub mod agent;
pub mod automation;
pub mod commands;
pub mod droplets;
pub mod epochs;
pub mod evacuation;
pub mod fairness;
pub mod farewell;
pub mod folders;
pub mod health;
pub mod heartbeat;
pub mod inside;
pub mod life;
pub mod machine;
pub mod names;
pub mod pool;
pub mod preparing;
pub mod queries;
pub mod rhythm;
pub mod routes;
pub mod sampling;
pub mod spare_files;
pub mod spool;
mod start;
pub mod task_files;
pub mod tasks;
pub mod transfer;
pub mod unpack;
pub mod voice;

pub(crate) use crate::sandbox::chain;
pub use start::{engine_config, start};
