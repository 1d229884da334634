//! The numbers (contract §4.3), all of them settings of the cluster.

use super::Millis;
use proto::config::Settings;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Wait before an instance that is missing without a known reason is started.
    pub grace: Millis,
    /// An agent silent for this long is lost.
    pub lost_after: Millis,
    /// Nothing is planned from a desired state older than this.
    pub stale_after: Millis,
    /// Crashes answered at once.
    pub immediate_restarts: u32,
    pub first_delay: Millis,
    pub max_delay: Millis,
    /// An instance that ran this long starts counting its crashes anew.
    pub reset_after: Millis,
    /// Most starts asked for and not yet seen.
    pub window: usize,
    /// A request is repeated after this long, then less and less often.
    pub repeat: Millis,
}

/// Older crashes are never looked for.
const LONGEST_RECALL: Millis = 24 * 3600 * 1000;
/// Longest wait before a request is repeated.
const MAX_REPEAT: Millis = 60_000;

impl Policy {
    pub fn read(settings: &Settings) -> Policy {
        let millis = |path| settings.duration(path).as_millis() as Millis;
        Policy {
            grace: millis("health-manager/missing/grace"),
            lost_after: millis("health-manager/agent/lost_after"),
            stale_after: millis("health-manager/desired/stale_after"),
            immediate_restarts: u32::try_from(
                settings.integer("health-manager/crash/immediate_restarts"),
            )
            .unwrap_or(0),
            first_delay: millis("health-manager/crash/first_delay"),
            max_delay: millis("health-manager/crash/max_delay"),
            reset_after: millis("health-manager/crash/reset_after"),
            window: usize::try_from(settings.integer("health-manager/starts/window")).unwrap_or(1),
            repeat: 5000,
        }
    }

    /// Wait after the n-th crash in a row (from 1).
    pub fn delay_after(&self, crashes: u32) -> Millis {
        match crashes.checked_sub(self.immediate_restarts + 1) {
            None => 0,
            Some(doublings) => {
                let factor = 1u64.checked_shl(doublings).unwrap_or(u64::MAX);
                self.first_delay.saturating_mul(factor).min(self.max_delay)
            }
        }
    }

    /// How far back crashes matter to the back-off: as many as bring it to its longest, each as late as
    /// it may be to still belong to the row.
    pub fn recall_span(&self) -> Millis {
        let longest = (self.immediate_restarts + 1..)
            .take(64)
            .find(|crashes| self.delay_after(*crashes) >= self.max_delay)
            .unwrap_or(self.immediate_restarts + 64);
        let each = self.max_delay.saturating_add(self.reset_after);
        each.saturating_mul(u64::from(longest)).min(LONGEST_RECALL)
    }

    /// Wait before what was asked `times` times is asked again.
    pub fn repeat_after(&self, times: u32) -> Millis {
        let factor = 1u64
            .checked_shl(times.saturating_sub(1))
            .unwrap_or(u64::MAX);
        self.repeat.saturating_mul(factor).min(MAX_REPEAT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_back_off_is_that_of_the_contract() {
        let policy = Policy::read(&Settings::default());
        let seconds: Vec<u64> = (0..=12)
            .map(|crashes| policy.delay_after(crashes) / 1000)
            .collect();
        assert_eq!(
            seconds,
            [0, 0, 0, 0, 30, 60, 120, 240, 480, 960, 960, 960, 960]
        );
        assert_eq!(policy.delay_after(u32::MAX), 960_000);
        // Nine crashes until the longest delay, each after at most that and five minutes.
        assert_eq!(policy.recall_span(), 9 * (960 + 300) * 1000);
    }

    #[test]
    fn requests_are_repeated_less_and_less_often() {
        let policy = Policy::read(&Settings::default());
        let seconds: Vec<u64> = (1..=6)
            .map(|times| policy.repeat_after(times) / 1000)
            .collect();
        assert_eq!(seconds, [5, 10, 20, 40, 60, 60]);
        assert_eq!(policy.repeat_after(u32::MAX), 60_000);
    }
}
