//! What a timer fires after a stretch of time in which it may have been late, or nobody looked.

use super::timer::Timer;

/// Missed times are counted one by one up to this many.
const COUNTED: u64 = 1000;

/// What is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due {
    /// What is fired now: at most one, the latest.
    pub fire: Option<Fire>,
    /// How many times passed without being fired: earlier ones, and the latest if it is too late.
    pub skipped: u64,
    /// Whether more were skipped than were counted.
    pub more_skipped: bool,
    /// When to look again; None if the timer never fires again.
    pub next: Option<i64>,
}

/// A firing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fire {
    /// When it should have been, Unix milliseconds.
    pub scheduled_at: i64,
    /// How late it is, milliseconds.
    pub late: i64,
}

impl Timer {
    /// What is due at `now`, if everything up to and including `last` has been dealt with. A firing
    /// that is late by no more than `grace` is made up for, once; what is later is skipped.
    ///
    /// A timer must not pour out hours of firings after an outage: rules would run for times that
    /// nobody waits for any more.
    pub fn due(&self, anchor: i64, last: i64, now: i64, grace: i64) -> Due {
        let mut passed = 0;
        let mut more_skipped = false;
        let mut latest = None;
        let mut cursor = last;
        let next = loop {
            match self.next(anchor, cursor) {
                Some(at) if at <= now => {
                    passed += 1;
                    latest = Some(at);
                    cursor = at;
                    if passed == COUNTED {
                        let recent = now.saturating_sub(grace.max(0)).saturating_sub(1);
                        if recent > cursor {
                            more_skipped = true;
                            cursor = recent;
                        }
                    }
                }
                next => break next,
            }
        };
        let fire = latest
            .map(|scheduled_at| Fire {
                scheduled_at,
                late: now - scheduled_at,
            })
            .filter(|fire| fire.late <= grace);
        Due {
            fire,
            skipped: passed - u64::from(fire.is_some()),
            more_skipped,
            next,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::tz::TimeZone;
    use serde_json::json;

    fn every(seconds: i64) -> Timer {
        Timer::parse(
            "core.st2.IntervalTimer",
            &json!({"unit": "seconds", "delta": seconds}),
            &TimeZone::UTC,
        )
        .expect("an interval")
    }

    #[test]
    fn a_firing_in_time_is_fired() {
        assert_eq!(
            every(10).due(0, 10_000, 20_005, 1000),
            Due {
                fire: Some(Fire {
                    scheduled_at: 20_000,
                    late: 5
                }),
                skipped: 0,
                more_skipped: false,
                next: Some(30_000),
            }
        );
    }

    #[test]
    fn nothing_is_due_before_its_time_nor_twice() {
        for last in [10_000, 19_999] {
            let due = every(10).due(0, last, 19_999, 1000);
            assert_eq!((due.fire, due.skipped, due.next), (None, 0, Some(20_000)));
        }
        assert_eq!(every(10).due(0, 20_000, 20_005, 1000).fire, None);
    }

    #[test]
    fn after_an_outage_the_latest_is_made_up_for_within_grace() {
        let due = every(10).due(0, 10_000, 45_000, 5000);
        assert_eq!(due.fire.map(|fire| fire.scheduled_at), Some(40_000));
        assert_eq!((due.skipped, due.next), (2, Some(50_000)));
        let due = every(10).due(0, 10_000, 45_000, 4999);
        assert_eq!((due.fire, due.skipped, due.next), (None, 3, Some(50_000)));
    }

    #[test]
    fn a_long_outage_is_not_counted_to_the_end() {
        let year = 365 * 86_400_000;
        let due = every(1).due(0, 0, year, 5000);
        assert_eq!(due.fire.map(|fire| fire.scheduled_at), Some(year));
        assert!(due.more_skipped);
        assert_eq!(due.next, Some(year + 1000));
    }

    #[test]
    fn a_date_fires_once_or_never() {
        let date = Timer::parse(
            "core.st2.DateTimer",
            &json!({"date": "1970-01-01T00:00:10Z"}),
            &TimeZone::UTC,
        )
        .expect("a date");
        let due = date.due(0, 0, 10_000, 1000);
        assert_eq!((due.fire.map(|fire| fire.late), due.next), (Some(0), None));
        let due = date.due(0, 0, 20_000, 1000);
        assert_eq!((due.fire, due.skipped, due.next), (None, 1, None));
    }
}
