//! When a process that died is started again.
//!
//! At once, nearly: a router that is away for a second is a second without answers. But a process
//! that dies again and again gets rarer attempts, so that it does not eat the machine.

use std::time::Duration;

/// From the settings `node/restart/*`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    pub first_delay: Duration,
    pub max_delay: Duration,
}

/// A life this long was a good one: the count of deaths begins anew.
pub const GOOD_LIFE: Duration = Duration::from_secs(20);

/// What is remembered of a process between its lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct History {
    /// Short lives in a row.
    short_lives: u32,
}

impl History {
    /// The process died after `life`; gives the wait until the next one.
    pub fn died(&mut self, life: Duration, policy: Policy) -> Duration {
        if life >= GOOD_LIFE {
            self.short_lives = 0;
        }
        let doublings = self.short_lives.min(20);
        self.short_lives = self.short_lives.saturating_add(1);
        (policy.first_delay * 2u32.pow(doublings)).min(policy.max_delay.max(policy.first_delay))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: Policy = Policy {
        first_delay: Duration::from_millis(100),
        max_delay: Duration::from_secs(30),
    };

    #[test]
    fn the_first_restart_is_quick_and_the_next_ones_are_rarer() {
        let mut history = History::default();
        let waits: Vec<u128> = (0..4)
            .map(|_| history.died(Duration::from_secs(1), POLICY).as_millis())
            .collect();
        assert_eq!(waits, [100, 200, 400, 800]);
        for _ in 0..100 {
            assert!(history.died(Duration::ZERO, POLICY) <= POLICY.max_delay);
        }
        assert_eq!(
            history.died(GOOD_LIFE, POLICY),
            POLICY.first_delay,
            "a good life is forgiven"
        );
    }
}
