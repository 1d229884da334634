//! Whether there is room on a disk.
//!
//! A disk whose free room plays around the threshold is told of once and not at every measure: it has room again
//! only well above the threshold, and is not told of anew right after it had.

use std::time::Duration;

/// Room is back with so many times the threshold.
const ENOUGH: f64 = 1.25;
/// So long after the last want of room no other one begins.
const QUIET: Duration = Duration::from_secs(30);

/// What a filesystem has, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    pub free: u64,
    pub total: u64,
}

impl Space {
    /// With less room than this the disk is low: as configured, but no more than a tenth of a small one.
    fn threshold(self, configured: u64) -> u64 {
        configured.min(self.total / 10)
    }
}

/// What a measure changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    Low,
    Recovered,
}

/// What is known of one disk.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Room {
    is_low: bool,
    recovered_at: Option<Duration>,
}

impl Room {
    /// Judges a measure; `now` never goes back.
    pub fn look(&mut self, space: Space, configured: u64, now: Duration) -> Option<Change> {
        let threshold = space.threshold(configured);
        if self.is_low {
            if (space.free as f64) < threshold as f64 * ENOUGH {
                return None;
            }
            self.is_low = false;
            self.recovered_at = Some(now);
            return Some(Change::Recovered);
        }
        let is_quiet = self
            .recovered_at
            .is_none_or(|at| now.saturating_sub(at) >= QUIET);
        if space.free >= threshold || !is_quiet {
            return None;
        }
        self.is_low = true;
        Some(Change::Low)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOW: u64 = 100;

    fn look(room: &mut Room, free: u64, second: u64) -> Option<Change> {
        let space = Space {
            free,
            total: 10_000,
        };
        room.look(space, LOW, Duration::from_secs(second))
    }

    #[test]
    fn a_disk_is_low_below_the_threshold_and_has_room_again_well_above_it() {
        let mut room = Room::default();
        assert_eq!(look(&mut room, 100, 0), None);
        assert_eq!(look(&mut room, 99, 1), Some(Change::Low));
        for free in [0, 99, 101, 124] {
            assert_eq!(look(&mut room, free, 2), None, "{free} is neither news");
        }
        assert_eq!(look(&mut room, 125, 3), Some(Change::Recovered));
        assert_eq!(look(&mut room, 125, 4), None);
    }

    #[test]
    fn a_disk_that_fills_and_empties_all_the_time_is_told_of_now_and_then() {
        let mut room = Room::default();
        let changes: Vec<u64> = (0..120)
            .filter(|second| {
                let free = if second % 2 == 0 { 0 } else { 1000 };
                look(&mut room, free, *second) == Some(Change::Low)
            })
            .collect();
        assert_eq!(changes, [0, 32, 64, 96]);
    }

    #[test]
    fn of_a_small_disk_a_tenth_is_enough() {
        let mut room = Room::default();
        let small = |free| Space { free, total: 500 };
        assert_eq!(room.look(small(50), LOW, Duration::ZERO), None);
        assert_eq!(room.look(small(49), LOW, Duration::ZERO), Some(Change::Low));
    }

    #[test]
    fn another_threshold_counts_from_the_next_measure_on() {
        let mut room = Room::default();
        let space = Space {
            free: 500,
            total: 10_000,
        };
        let now = Duration::from_secs(1);
        assert_eq!(room.look(space, 100, now), None);
        assert_eq!(room.look(space, 900, now), Some(Change::Low));
        assert_eq!(room.look(space, 100, now), Some(Change::Recovered));
    }
}
