//! `dea.discover`: the first answer wins, so whoever fits worse waits longer before answering
//! (contract §2.3). A distributed auction without a referee: each agent turns its own load into a
//! delay.

use std::time::Duration;

const MOST: u64 = 250;

/// How long this agent waits before it answers: 10 ms for each instance it has of the same process
/// and up to 100 ms for its reserved share of memory, at most 250 ms.
pub fn delay(own_instances: u32, reserved_mb: u64, offered_mb: u64) -> Duration {
    let taint = u64::from(own_instances).saturating_mul(10);
    let load = reserved_mb
        .saturating_mul(100)
        .checked_div(offered_mb)
        .unwrap_or(100)
        .min(100);
    Duration::from_millis(taint.saturating_add(load).min(MOST))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_emptier_agent_answers_first() {
        assert_eq!(delay(0, 0, 1000), Duration::ZERO);
        assert_eq!(delay(2, 500, 1000), Duration::from_millis(70));
        assert!(delay(0, 900, 1000) > delay(0, 100, 1000));
        assert!(delay(3, 0, 1000) > delay(1, 0, 1000));
        assert_eq!(delay(u32::MAX, u64::MAX, 1), Duration::from_millis(250));
        assert_eq!(delay(0, 0, 0), Duration::from_millis(100));
    }
}
