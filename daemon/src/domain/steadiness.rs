//! Whether the wall clock goes on as time does.
//!
//! A clock that is set differs from the one that only counts by another amount than a moment before. Between two
//! looks also a sleeping machine is such a jump: timers, which count, are late by it. A clock that is slowly
//! brought in line differs by next to nothing from look to look, and is none.

use std::time::Duration;

/// Both clocks at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clocks {
    /// Since the epoch; may be set.
    pub wall: Duration,
    /// Since anything; only counts.
    pub counting: Duration,
}

impl Clocks {
    /// Seconds that the wall clock is before the other one.
    fn difference(self) -> f64 {
        self.wall.as_secs_f64() - self.counting.as_secs_f64()
    }
}

/// What was seen of the clocks before.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Steadiness {
    difference: Option<f64>,
}

impl Steadiness {
    /// By how many seconds the wall clock jumped since the last look, if by more than tolerated.
    pub fn look(&mut self, clocks: Clocks, tolerance: Duration) -> Option<f64> {
        let difference = clocks.difference();
        let before = self.difference.replace(difference)?;
        let jump = difference - before;
        (jump.abs() > tolerance.as_secs_f64()).then_some(jump)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOLERANCE: Duration = Duration::from_secs(5);

    fn jumps(looks: &[(u64, u64)]) -> Vec<Option<f64>> {
        let mut steadiness = Steadiness::default();
        looks
            .iter()
            .map(|(wall, counting)| {
                let clocks = Clocks {
                    wall: Duration::from_secs(*wall),
                    counting: Duration::from_secs(*counting),
                };
                steadiness.look(clocks, TOLERANCE)
            })
            .collect()
    }

    #[test]
    fn a_jump_is_told_once_in_either_direction() {
        assert_eq!(
            jumps(&[
                (1000, 10),
                (1001, 11),
                (87_402, 12),
                (87_403, 13),
                (1004, 14),
                (1005, 15)
            ]),
            [None, None, Some(86_400.0), None, Some(-86_400.0), None]
        );
    }

    #[test]
    fn a_look_that_comes_late_is_no_jump() {
        assert_eq!(jumps(&[(1000, 10), (1600, 610)]), [None, None]);
    }

    #[test]
    fn little_is_tolerated_also_again_and_again() {
        let slow: Vec<(u64, u64)> = (0..100).map(|look| (1000 + look * 6, look)).collect();
        assert!(jumps(&slow).iter().all(Option::is_none));
    }
}
