//! Times as StackStorm's API writes them. Inside they are Unix milliseconds.

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// `2026-01-31T12:00:00.250000Z`: always six digits of a second, always UTC. A time outside the
/// years that can be written becomes the nearest that can.
pub fn timestamp(milliseconds: i64) -> String {
    let instant = Timestamp::from_millisecond(milliseconds).unwrap_or(if milliseconds < 0 {
        Timestamp::MIN
    } else {
        Timestamp::MAX
    });
    TimeZone::UTC
        .to_datetime(instant)
        .strftime("%Y-%m-%dT%H:%M:%S%.6fZ")
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_six_digits_of_a_second() {
        assert_eq!(timestamp(1_700_000_000_123), "2023-11-14T22:13:20.123000Z");
        assert_eq!(timestamp(0), "1970-01-01T00:00:00.000000Z");
        assert_eq!(timestamp(-1), "1969-12-31T23:59:59.999000Z");
    }

    #[test]
    fn a_time_that_cannot_be_written_is_the_nearest() {
        assert!(timestamp(i64::MAX).starts_with("9999-"));
    }
}
