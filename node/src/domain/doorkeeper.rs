//! How often somebody may fail to prove who he is.
//!
//! Secrets are long enough that nobody guesses one; the bound keeps strangers from filling the log and from
//! keeping the machine busy. It counts by address, so that one of them shuts nobody else out.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

/// Failures within [`WINDOW`] after which an address is not heard any more.
const MOST: u32 = 10;
const WINDOW: Duration = Duration::from_secs(60);
/// Addresses that are remembered; beyond it the oldest are forgotten.
const ADDRESSES: usize = 10_000;

#[derive(Debug, Default)]
pub struct Doorkeeper {
    failures: BTreeMap<IpAddr, Failures>,
}

#[derive(Debug)]
struct Failures {
    begun: Duration,
    count: u32,
}

impl Doorkeeper {
    /// Whether an address may try. `now`: since any fixed moment.
    pub fn hears(&self, address: IpAddr, now: Duration) -> bool {
        self.failures
            .get(&address)
            .is_none_or(|failures| failures.count < MOST || failures.is_over(now))
    }

    pub fn failed(&mut self, address: IpAddr, now: Duration) {
        if self.failures.len() >= ADDRESSES {
            self.failures.retain(|_, failures| !failures.is_over(now));
        }
        if self.failures.len() >= ADDRESSES
            && let Some(oldest) = self
                .failures
                .iter()
                .min_by_key(|(_, failures)| failures.begun)
                .map(|(address, _)| *address)
        {
            self.failures.remove(&oldest);
        }
        let failures = self.failures.entry(address).or_insert(Failures {
            begun: now,
            count: 0,
        });
        if failures.is_over(now) {
            *failures = Failures {
                begun: now,
                count: 0,
            };
        }
        failures.count += 1;
    }
}

impl Failures {
    fn is_over(&self, now: Duration) -> bool {
        now.saturating_sub(self.begun) >= WINDOW
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_fails_often_is_not_heard_for_a_while_and_others_are() {
        let mut keeper = Doorkeeper::default();
        let [one, other] = ["192.0.2.1", "192.0.2.2"].map(|text| text.parse().expect("an address"));
        let at = Duration::from_secs;
        for _ in 0..MOST {
            assert!(keeper.hears(one, at(100)));
            keeper.failed(one, at(100));
        }
        assert!(!keeper.hears(one, at(159)) && keeper.hears(other, at(159)));
        assert!(keeper.hears(one, at(160)));
        keeper.failed(one, at(160));
        assert!(keeper.hears(one, at(161)));
    }
}
