//! What can be done in automation: one file per noun, knowing neither HTTP nor the bus.

pub mod base_environment;
pub mod callers;
pub mod configs;
pub mod enforcements;
pub mod executions;
mod fault;
pub mod fire;
pub mod keys;
pub mod loaded_keys;
pub mod matching;
pub mod notifications;
pub mod resources;
pub mod results;
pub mod rule_tests;
pub mod rules;
pub mod sealed;
pub mod tokens;
pub mod traces;
pub mod triggers;
pub mod webhooks;

pub use callers::Permission;
pub use fault::Fault;
