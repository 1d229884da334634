//! What went wrong with endpoints last, for whoever asks why one is set aside.
//!
//! Beside the table, because almost no endpoint ever fails: those that do not pay nothing for it. What is kept is
//! bounded in number and in age.

use crate::domain::account::LastFailure;
use crate::domain::table::Millis;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// How long a failure is remembered.
const KEPT: Millis = 600_000;
/// Endpoints of which one is remembered; while there are as many, others' are not.
const MOST: usize = 10_000;

#[derive(Debug, Default)]
pub struct Failures {
    /// By the endpoint's number.
    last: Mutex<HashMap<u64, LastFailure>>,
}

impl Failures {
    pub fn note(&self, endpoint: u64, why: &str, now: Millis) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.len() < MOST || last.contains_key(&endpoint) {
            let why = why.to_string();
            last.insert(endpoint, LastFailure { why, at: now });
        }
    }

    pub fn of(&self, endpoint: u64) -> Option<LastFailure> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.get(&endpoint).cloned()
    }

    /// Forgets what is long past.
    pub fn sweep(&self, now: Millis) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.retain(|_, failure| now.saturating_sub(failure.at) <= KEPT);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_failure_of_an_endpoint_is_remembered_for_a_while() {
        let failures = Failures::default();
        failures.note(1, "refused", 10);
        failures.note(1, "reset", 20);
        failures.sweep(20 + KEPT);
        assert_eq!(failures.of(1).map(|last| last.why), Some("reset".into()));
        assert_eq!(failures.of(2), None);
        failures.sweep(21 + KEPT);
        assert_eq!(failures.of(1), None);
        for endpoint in 0..=MOST as u64 {
            failures.note(endpoint, "refused", 0);
        }
        assert_eq!(failures.of(MOST as u64), None);
        assert!(failures.of(0).is_some());
    }
}
