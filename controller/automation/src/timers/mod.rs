//! Timers: when an interval, a date or a cron line fires next.
//!
//! ```text
//!   trigger type + parameters ─► Timer::parse ─► Timer ─► next(anchor, after)   when to wake up
//!                                                     └─► due(anchor, last, now, grace)   what to fire then
//! ```
//!
//! A timer is a pure function from times to times: the controller keeps only when it was created (the
//! anchor) and up to when it was considered. Intervals count from the anchor, so a restart or a new
//! leader does not move them. The semantics of cron fields are those of APScheduler 3, which
//! StackStorm uses: weekday 0 is Monday, and what is omitted below the last given field is its minimum.

mod cron;
mod due;
mod timer;

pub use cron::{Cron, FieldError};
pub use due::{Due, Fire};
pub use timer::{Timer, TimerError, payload, zone};
