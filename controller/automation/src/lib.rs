//! The pure engine of automation: what packs say, what expressions give, which rules match, what
//! an execution may do next. No I/O, no clock, no randomness: time and ids come in as arguments.
//!
//! ```text
//!   pack files ─► spec ─► parameters ─┐
//!   trigger instance ─► rules ────────┼─► execution ─► policies ─► (placed and run elsewhere)
//!   clock ─► timers                   │
//!   datastore, config ─► expressions ─┘
//! ```

pub mod aliases;
pub mod datastore;
pub mod documents;
pub mod execution;
pub mod expressions;
pub mod parameters;
pub mod policies;
pub mod python_regex;
pub mod rules;
pub mod runners;
pub mod spec;
pub mod timers;
pub mod triggers;
