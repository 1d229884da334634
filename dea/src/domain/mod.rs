//! What an agent decides, without doing it: values in, values out. No clock, no I/O, no tokio.
//!
//! ```text
//!   start command ──► capacity (room?) ──► instance (machine) ──► effects for the adapters
//!                                            ▲   uses probe (when to check), crash (why it ended)
//!                      environment, launcher │
//!   stop / find ────► selection              │        spool (facts not yet acknowledged)
//!   dea.discover ───► discover               │        dns   (questions from the sandboxes)
//!                          pool (sandboxes prepared ahead), fairness (who yields the processors)
//! ```

pub mod action;
pub mod action_output;
pub mod archive;
pub mod capacity;
pub mod crash;
pub mod discover;
pub mod dns;
pub mod environment;
pub mod epoch;
pub mod evacuation;
pub mod fairness;
pub mod instance;
pub mod launcher;
pub mod line_rate;
pub mod pack;
pub mod pack_host;
pub mod pool;
pub mod probe;
pub mod record;
pub mod remembered;
pub mod retention;
pub mod selection;
pub mod sensor;
pub mod session;
pub mod spool;
pub mod task;
pub mod usage;

use std::time::Duration;

/// The time, as the domain sees it.
///
/// `uptime` (since the agent started) drives every timer, so that a corrected clock neither ends
/// nor prolongs a wait; `unix` is only written down for others to read.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Now {
    pub uptime: Duration,
    /// Unix seconds.
    pub unix: f64,
}
