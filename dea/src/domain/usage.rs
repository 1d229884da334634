//! Shares of a processor from two readings of a counter.

use std::time::Duration;

/// One reading.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reading {
    pub at: Duration,
    /// Processor seconds used so far.
    pub cpu_seconds: f64,
}

/// Share of one core between two readings: 0.5 is half a core. Zero where nothing can be said (no
/// earlier reading, no time passed, a counter that went back).
pub fn cpu_share(before: Option<Reading>, now: Reading) -> f64 {
    let Some(before) = before else { return 0.0 };
    let elapsed = now.at.saturating_sub(before.at).as_secs_f64();
    let used = now.cpu_seconds - before.cpu_seconds;
    if elapsed <= 0.0 || !used.is_finite() || used < 0.0 {
        0.0
    } else {
        used / elapsed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_a_difference() {
        let reading = |seconds, cpu_seconds| Reading {
            at: Duration::from_secs(seconds),
            cpu_seconds,
        };
        assert_eq!(cpu_share(None, reading(5, 9.0)), 0.0);
        assert_eq!(cpu_share(Some(reading(2, 1.0)), reading(4, 2.0)), 0.5);
        assert_eq!(cpu_share(Some(reading(4, 1.0)), reading(4, 2.0)), 0.0);
        assert_eq!(cpu_share(Some(reading(2, 3.0)), reading(4, 2.0)), 0.0);
    }
}
