//! What can be done in automation: one file per noun, knowing neither HTTP nor the bus.

pub mod actions;
pub mod base_environment;
pub mod builtin_packs;
pub mod callers;
pub mod configs;
pub mod executions;
mod fault;
pub mod fire;
pub mod installs;
pub mod keys;
pub mod loaded_keys;
pub mod natives;
pub mod notifications;
pub mod pack_content;
pub mod pack_index;
pub mod pack_sources;
pub mod pack_staging;
pub mod packs;
pub mod registration;
pub mod resources;
pub mod results;
pub mod runner_types;
pub mod sealed;
pub mod sensor_types;
pub mod tokens;
pub mod triggers;

pub use callers::Permission;
pub use fault::Fault;
