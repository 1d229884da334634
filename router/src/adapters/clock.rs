//! The router's own clock: milliseconds since the process's router started. Small numbers in atomics,
//! never going back. It is the kernel's coarse clock, which may be some milliseconds behind: it is asked several
//! times for each request, and nothing that is timed by it is shorter.

use crate::domain::table::Millis;
use nix::time::{ClockId, clock_gettime};
use std::cell::RefCell;
use std::io::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

#[derive(Debug, Clone, Copy)]
pub struct Clock {
    base: Duration,
}

impl Clock {
    pub fn start() -> Clock {
        Clock {
            base: coarse(ClockId::CLOCK_MONOTONIC_COARSE),
        }
    }

    pub fn now(&self) -> Millis {
        let now = coarse(ClockId::CLOCK_MONOTONIC_COARSE);
        now.saturating_sub(self.base).as_millis() as Millis
    }
}

/// (These clocks are there on every Linux.)
fn coarse(clock: ClockId) -> Duration {
    clock_gettime(clock).map_or(Duration::ZERO, Duration::from)
}

/// Milliseconds since 1970, for humans and headers.
pub fn unix_millis() -> u64 {
    millis_of(unix_nanos())
}

/// Nanoseconds since 1970.
pub fn unix_nanos() -> u128 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_nanos())
}

/// The milliseconds in nanoseconds. (Of those since 1970 there are 64 bits until 2554.)
pub fn millis_of(nanos: u128) -> u64 {
    u64::try_from(nanos).unwrap_or(u64::MAX) / 1_000_000
}

/// The length of `Sun, 06 Nov 1994 08:49:37 GMT`.
const HTTP_DATE: usize = 29;

thread_local! {
    /// The date as answers have it, of that second.
    static DATE: RefCell<(u64, [u8; HTTP_DATE])> = const { RefCell::new((0, [0; HTTP_DATE])) };
}

/// Uses the date as answers have it, which is written once a second.
pub fn http_date<T>(using: impl FnOnce(&[u8]) -> T) -> T {
    let now = coarse(ClockId::CLOCK_REALTIME_COARSE);
    let second = now.as_secs();
    DATE.with_borrow_mut(|(written, date)| {
        if *written != second {
            *written = second;
            // (It fits: the form has this length whatever the date.)
            let _ = write!(
                &mut date[..],
                "{}",
                httpdate::HttpDate::from(UNIX_EPOCH + now)
            );
        }
        using(&date[..])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_one_that_others_read() {
        let said = http_date(|date| String::from_utf8_lossy(date).into_owned());
        let read = httpdate::parse_http_date(&said).expect("a date");
        let age = SystemTime::now().duration_since(read).expect("in the past");
        assert!(age.as_secs() < 5, "{said}");
    }
}
