//! How many log lines of one instance pass in a second. An app in a loop must not fill the bus and
//! everybody's memory; what is not sent is counted and said, so that a gap in a log is visible.

use std::time::Duration;

const WINDOW: Duration = Duration::from_secs(1);

/// Lines of one instance.
#[derive(Debug, Clone, Default)]
pub struct LineRate {
    window: Duration,
    passed: u64,
    dropped: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Send it; before it, say that so many were dropped (0: say nothing).
    Pass {
        dropped_before: u64,
    },
    Drop,
}

impl LineRate {
    /// Judges one line; `most` lines a second pass.
    pub fn judge(&mut self, now: Duration, most: u64) -> Verdict {
        if now.saturating_sub(self.window) >= WINDOW {
            self.window = now;
            self.passed = 0;
        }
        if self.passed >= most {
            self.dropped += 1;
            return Verdict::Drop;
        }
        self.passed += 1;
        Verdict::Pass {
            dropped_before: self.take_dropped(),
        }
    }

    /// Lines lost elsewhere on their way here.
    pub fn add_dropped(&mut self, lines: u64) {
        self.dropped = self.dropped.saturating_add(lines);
    }

    /// Whether something was dropped and not said yet.
    pub fn owes(&self) -> bool {
        self.dropped > 0
    }

    /// What was dropped and not said yet.
    pub fn take_dropped(&mut self) -> u64 {
        std::mem::take(&mut self.dropped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_cut_and_the_gap_is_told_once() {
        let mut rate = LineRate::default();
        let at = Duration::from_millis;
        for _ in 0..3 {
            assert_eq!(rate.judge(at(5000), 3), Verdict::Pass { dropped_before: 0 });
        }
        assert_eq!(rate.judge(at(5100), 3), Verdict::Drop);
        assert_eq!(rate.judge(at(5999), 3), Verdict::Drop);
        assert_eq!(rate.judge(at(6000), 3), Verdict::Pass { dropped_before: 2 });
        assert_eq!(rate.judge(at(6001), 3), Verdict::Pass { dropped_before: 0 });
        rate.add_dropped(7);
        assert_eq!(rate.take_dropped(), 7);
        assert_eq!(rate.take_dropped(), 0);
    }
}
