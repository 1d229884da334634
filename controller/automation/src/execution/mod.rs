//! The life of an execution: states, transitions, deadlines.
//!
//! ```text
//!                    ┌──────────────── agent lost before the start ───────────────┐
//!                    ▼                                                             │
//!   accepted ─► requested ─► scheduled ─► running ─► succeeded | failed | timeout | abandoned
//!                 │    ▲         │        │   │  └─► pending ─► succeeded | timeout
//!                 ▼    │         │        │   └────► pausing ─► paused ─► resuming ─► running
//!               delayed┘         └────────┴────────► canceling ─► canceled
//!                    ▲                    │
//!                    └─── refused again ──┘
//! ```
//!
//! Problem: several processes that may die at any time move one record, and a user watches it.
//! Approach: the record holds all that decides; [`Execution::step`] is the only way to change it, a
//! table over all pairs of status and event. Its answer is what is to be done now ([`Effect`]); whoever
//! commits the new record does that next, and a controller that starts anew asks for it again
//! ([`Event::ControllerRestarted`]). An event that comes twice, or too late, is *ignored* with a reason;
//! an event that makes no sense is *illegal*, and its text is for whoever sent it.
//!
//! What a newcomer gets wrong:
//! - An agent may start the work only once its `Started` was answered with `Ok`. That is what makes it
//!   safe to place an execution anew whose agent was lost before: the old placement's `Started` is refused.
//! - What was started and cannot be known any more ends `abandoned`; it is never started a second time
//!   (a retry policy may ask for a new execution).
//! - Nothing may stay in a state for ever: every state that is not final has a [`Deadline`].

mod deadline;
mod event;
mod illegal;
mod record;
mod status;
mod step;

pub use deadline::{Deadline, Overdue, Settings};
pub use event::{Effect, Event, ToChildren};
pub use illegal::Illegal;
pub use record::{Accepted, Execution, Hold, LogEntry, Placement};
pub use status::{Status, UnknownStatus};
pub use step::{Answer, Moved};

#[cfg(test)]
mod tests;
