//! Two clocks. What is seen is timed by one that never jumps; what is compared with rows, which
//! other processes wrote too, by the wall clock.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Time since an arbitrary moment before the start; never goes back.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    started: Instant,
}

impl Clock {
    pub(super) fn start() -> Clock {
        Clock {
            started: Instant::now(),
        }
    }

    pub(super) fn now(&self) -> Duration {
        self.started.elapsed()
    }
}

fn since_epoch() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}

/// Unix microseconds, as in the rows.
pub(super) fn unix_micros() -> i64 {
    i64::try_from(since_epoch().as_micros()).unwrap_or(i64::MAX)
}

pub(super) fn unix_nanos() -> i64 {
    i64::try_from(since_epoch().as_nanos()).unwrap_or(i64::MAX)
}

pub(super) fn unix_seconds() -> f64 {
    since_epoch().as_secs_f64()
}
