//! What can be done in automation: one file per noun, knowing neither HTTP nor the bus.

pub mod base_environment;
pub mod callers;
pub mod configs;
pub mod executions;
mod fault;
pub mod fire;
pub mod keys;
pub mod loaded_keys;
pub mod notifications;
pub mod resources;
pub mod results;
pub mod sealed;
pub mod tokens;

pub use callers::Permission;
pub use fault::Fault;
