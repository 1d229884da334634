//! What can be done in automation: one file per noun, knowing neither HTTP nor the bus.

pub mod actions;
pub mod aliases;
pub mod base_environment;
pub mod builtin_packs;
pub mod callers;
pub mod configs;
pub mod enforcements;
pub mod execution_documents;
pub mod execution_history;
pub mod executions;
mod fault;
pub mod fire;
pub mod inquiries;
pub mod keys;
pub mod loaded_keys;
pub mod matching;
pub mod notifications;
pub mod pack_content;
pub mod packs;
pub mod policies;
pub mod registration;
pub mod resources;
pub mod results;
pub mod roles;
pub mod rule_tests;
pub mod rules;
pub mod runner_types;
pub mod sealed;
pub mod sensor_types;
pub mod service_registry;
pub mod tokens;
pub mod traces;
pub mod triggers;
pub mod webhooks;

pub use callers::Permission;
pub use fault::Fault;
