//! Desired × observed → requests. No I/O, no clock: time comes in as an argument.
//!
//! ```text
//!   bulk API ──▶ Desired ┐
//!   heartbeats ▶ Observed ┼─▶ plan ─▶ Plan { requests with reasons, when to look again }
//!   exits ─────▶ Memory  ┘    └──── commit: what was asked, what was noticed
//! ```

pub mod crashes;
pub mod desired;
pub mod memory;
pub mod observed;
pub mod plan;
pub mod policy;
pub mod round;
pub mod world;

/// Milliseconds on the health manager's own clock, which never goes back.
pub type Millis = u64;
