//! The rows of automation: what packs bring, what runs, what happened, and the datastore.
//!
//! Nouns that packs bring (actions, rules, …) keep what they say about themselves as one JSON
//! document; columns beside it are what is searched or changed alone.

pub mod accounts;
pub mod action_aliases;
pub mod actions;
pub mod api_keys;
pub mod execution_outputs;
pub mod executions;
pub mod held_executions;
pub mod key_values;
pub mod pack_configs;
pub mod pack_files;
pub mod pack_stagings;
pub mod packs;
pub mod policies;
pub mod retention;
pub mod role_assignments;
pub mod rule_enforcements;
pub mod rules;
pub mod runner_types;
pub mod sensor_triggers;
pub mod sensor_types;
pub mod tokens;
pub mod traces;
pub mod trigger_instances;
pub mod trigger_types;
pub mod triggers;
