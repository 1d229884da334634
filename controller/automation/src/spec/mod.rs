//! What a pack's files say, checked, with the place of every fault.
//!
//! ```text
//!   text ─► yaml ─► fields ─► pack, action, sensor, rule, alias, policy, config ─► inspect
//!                     └─► problem: file, line, path, what is wrong, what to do
//! ```
//!
//! Every reader takes a [`yaml::Document`] and a [`Report`], reports all faults it finds and gives
//! a typed value; [`Report::has_errors`] says whether the value may be used. Documents from the API
//! go the same way ([`yaml::Document::of`]).
//!
//! What StackStorm lets pass is let pass here too: other keys in `pack.yaml`, and, with a warning,
//! in sensors and trigger types, which it never checks. Elsewhere an unknown key is an error.

pub mod action;
pub mod alias;
pub mod config;
mod fields;
mod inspect;
pub mod overrides;
pub mod pack;
pub mod parameter_schema;
pub mod policy;
mod problem;
pub mod rule;
pub mod sensor;
#[cfg(test)]
mod tests;
pub mod yaml;

pub use action::Action;
pub use alias::{Acknowledgement, Alias, AliasFormat, ResultMessage};
pub use fields::is_reference;
pub use inspect::{Inspection, Surroundings, inspect};
pub use pack::{Pack, VersionRange};
pub use policy::{Policy, PolicyTypes};
pub use problem::{Problem, Report, Severity};
pub use rule::{Rule, RuleAction, RuleKind, RuleTrigger, RuleType};
pub use sensor::{Sensor, TriggerType};
