//! The router's own clock: milliseconds since the process's router started. Small numbers in atomics,
//! never going back.

use crate::domain::table::Millis;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

#[derive(Debug, Clone, Copy)]
pub struct Clock {
    base: Instant,
}

impl Clock {
    pub fn start() -> Clock {
        Clock {
            base: Instant::now(),
        }
    }

    pub fn now(&self) -> Millis {
        self.base.elapsed().as_millis() as Millis
    }
}

/// Milliseconds since 1970, for humans and headers.
pub fn unix_millis() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_millis() as u64)
}

/// Nanoseconds since 1970.
pub fn unix_nanos() -> u128 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_nanos())
}
