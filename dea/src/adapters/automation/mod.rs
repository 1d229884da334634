//! Actions and sensors of packs.
//!
//! ```text
//!   action.run ─▶ requests ─▶ unit (one per sandbox) ◀─▶ host (yard_host in the sandbox)
//!                    │ note       │ workers: a control group for each execution
//!                    ▼            ├─▶ output ─▶ yard.action.output
//!                  notes          └─▶ conclude ─▶ spool ─▶ yard.action.exited
//! ```
//!
//! [`requests`] decides at the door, under the agent's lock; [`unit`] owns a sandbox and everything
//! that runs in it; [`making`] makes one, [`ahead`] one that waits for a pack; [`sensors`] keeps sensors going, each in a sandbox of its
//! own; [`report`] tells what there is.

pub mod ahead;
pub mod conclude;
pub mod host;
pub mod making;
pub mod notes;
pub mod output;
pub mod report;
pub mod requests;
pub mod retire;
pub mod sensors;
pub mod unit;
pub mod workers;

use std::time::{SystemTime, UNIX_EPOCH};

/// Now, in Unix microseconds.
fn unix_us() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}
