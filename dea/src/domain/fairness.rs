//! Who yields the processors: an instance that takes more than its due runs only when nobody else of the agent wants
//! to, until it takes less.
//!
//! Shares alone divide time fairly in the long run. In the short run whoever wakes waits for the turn of who burns, at
//! each step of a request; who yields is interrupted at once. An instance's due is its part, by the shares of all that
//! are placed here, of what all of them took: somebody takes more than that only as long as others take less than
//! they may, and who yields and is short of it stops yielding.

use std::collections::BTreeMap;
use std::time::Duration;

/// Taking so many times its due is more than its due; less than the other part of it, clearly less.
const OVER: f64 = 1.05;
const UNDER: f64 = 0.9;
/// Who takes less than this part of the machine disturbs nobody, whatever its due; nor do all together. What others
/// than instances take is not known here: yielding costs nothing where there is room for all.
const NOTABLE: f64 = 0.25;
/// So long somebody yields on who disturbs nobody any more: not back and forth with each burst.
const AT_LEAST: Duration = Duration::from_secs(1);
/// The part of the last look in what an instance is said to take.
const NEW: f64 = 0.5;

/// What an instance may claim, and what it took since the last look, in processors.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Use {
    pub shares: u64,
    pub took: f64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    /// In processors, over the last few looks.
    takes: f64,
    /// Since when it yields.
    yields: Option<Duration>,
}

/// Who takes how much, and who yields.
#[derive(Debug)]
pub struct Fairness<K> {
    processors: f64,
    seen: BTreeMap<K, Seen>,
}

impl<K: Ord + Clone> Fairness<K> {
    pub fn new(processors: usize) -> Fairness<K> {
        Fairness {
            processors: processors as f64,
            seen: BTreeMap::new(),
        }
    }

    /// Whether there is anything to judge, by what all took together since the last look. If not, what was seen until
    /// then says nothing any more.
    pub fn matters(&mut self, all_took: f64) -> bool {
        let matters = self.count() > 0 || self.is_notable(all_took);
        if !matters {
            self.seen.clear();
        }
        matters
    }

    pub fn count(&self) -> usize {
        let seen = self.seen.values();
        seen.filter(|seen| seen.yields.is_some()).count()
    }

    fn is_notable(&self, taken: f64) -> bool {
        taken >= self.processors * NOTABLE
    }

    /// Who has to yield from now on, and who no more. Who is not named any more is forgotten.
    pub fn judge(&mut self, now: Duration, uses: &BTreeMap<K, Use>) -> Vec<(K, bool)> {
        self.seen.retain(|key, _| uses.contains_key(key));
        for (key, one) in uses {
            let seen = self.seen.entry(key.clone()).or_default();
            seen.takes += (one.took - seen.takes) * NEW;
        }
        let shares: u64 = uses.values().map(|one| one.shares).sum();
        let taken: f64 = self.seen.values().map(|seen| seen.takes).sum();
        let is_notable = self.is_notable(taken);
        let notable = self.processors * NOTABLE;
        let mut changes = Vec::new();
        for (key, seen) in &mut self.seen {
            let due = taken * uses[key].shares as f64 / shares.max(1) as f64;
            let yields = match seen.yields {
                None => seen.takes >= notable && seen.takes > due * OVER,
                Some(_) if is_notable => seen.takes >= due * UNDER,
                Some(since) => now.saturating_sub(since) < AT_LEAST,
            };
            if yields != seen.yields.is_some() {
                seen.yields = yields.then_some(now);
                changes.push((key.clone(), yields));
            }
        }
        changes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(tenths: u64) -> Duration {
        Duration::from_millis(100 * tenths)
    }

    fn uses<const N: usize>(all: [(&'static str, u64, f64); N]) -> BTreeMap<&'static str, Use> {
        all.into_iter()
            .map(|(key, shares, took)| (key, Use { shares, took }))
            .collect()
    }

    /// The same, look after look.
    fn looks<const N: usize>(
        fairness: &mut Fairness<&'static str>,
        tenths: std::ops::Range<u64>,
        all: [(&'static str, u64, f64); N],
    ) -> Vec<(&'static str, bool)> {
        let now = uses(all);
        tenths
            .flat_map(|tenth| fairness.judge(at(tenth), &now))
            .collect()
    }

    #[test]
    fn who_takes_more_than_its_due_yields_within_moments_and_its_neighbour_does_not() {
        let mut fairness = Fairness::new(2);
        let burning = [("burner", 128, 1.5), ("neighbour", 128, 0.3)];
        assert_eq!(looks(&mut fairness, 0..3, burning), [("burner", true)]);
        assert_eq!(looks(&mut fairness, 3..50, burning), [], "and goes on so");
        assert_eq!(fairness.count(), 1);
    }

    #[test]
    fn larger_shares_are_no_licence_to_disturb() {
        let mut fairness = Fairness::new(2);
        let burning = [("burner", 128, 1.5), ("neighbour", 64, 0.3)];
        assert_eq!(looks(&mut fairness, 0..4, burning), [("burner", true)]);
    }

    #[test]
    fn alone_or_each_with_its_due_nobody_yields() {
        for all in [
            [("alone", 8, 2.0), ("gone", 0, 0.0)],
            [("one", 128, 1.0), ("other", 128, 0.98)],
            [("large", 192, 1.5), ("small", 64, 0.5)],
        ] {
            let mut fairness = Fairness::new(2);
            assert_eq!(looks(&mut fairness, 0..50, all), [], "{all:?}");
        }
    }

    #[test]
    fn a_small_use_disturbs_nobody_whatever_its_due() {
        let mut fairness = Fairness::new(2);
        let now = [("small", 8, 0.4), ("large", 256, 1.5)];
        assert_eq!(looks(&mut fairness, 0..50, now), []);
        let mut fairness = Fairness::<&str>::new(2);
        assert!(!fairness.matters(0.4) && fairness.matters(0.5));
    }

    #[test]
    fn who_yields_and_gets_less_than_its_due_yields_no_more() {
        let mut fairness = Fairness::new(2);
        let greedy = [("greedy", 128, 1.8), ("other", 128, 0.1)];
        assert_eq!(looks(&mut fairness, 0..3, greedy), [("greedy", true)]);
        let starved = [("greedy", 128, 0.0), ("other", 128, 1.9)];
        let changes = looks(&mut fairness, 3..8, starved);
        assert_eq!(changes, [("greedy", false), ("other", true)]);
        let even = [("greedy", 128, 1.0), ("other", 128, 1.0)];
        assert_eq!(looks(&mut fairness, 8..12, even), []);
    }

    #[test]
    fn who_disturbs_nobody_any_more_yields_no_more_after_a_moment() {
        let mut fairness = Fairness::new(2);
        let greedy = [("greedy", 128, 1.8), ("other", 128, 0.1)];
        assert_eq!(looks(&mut fairness, 0..3, greedy), [("greedy", true)]);
        let quiet = [("greedy", 128, 0.3), ("other", 128, 0.1)];
        assert_eq!(looks(&mut fairness, 3..9, quiet), []);
        assert!(fairness.matters(0.4), "somebody yields still");
        assert_eq!(looks(&mut fairness, 9..20, quiet), [("greedy", false)]);
        assert!(!fairness.matters(0.4));
    }

    #[test]
    fn who_is_gone_is_forgotten() {
        let mut fairness = Fairness::new(2);
        let greedy = [("greedy", 128, 1.8), ("other", 128, 0.1)];
        assert_eq!(looks(&mut fairness, 0..3, greedy), [("greedy", true)]);
        assert_eq!(looks(&mut fairness, 3..4, [("other", 128, 0.1)]), []);
        assert_eq!(fairness.count(), 0);
        // The same name again is somebody new.
        assert_eq!(looks(&mut fairness, 4..7, greedy), [("greedy", true)]);
    }
}
