//! Which malformed message is worth a log line.
//!
//! A broken sender repeats itself, by the clock, for ever. One line a minute for each subject,
//! kind of fault and sender tells all there is to tell; the rest is counted and the count is said
//! in the next line. The table is bounded: senders and subjects come from outside.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

const QUIET: Duration = Duration::from_secs(60);
const MOST: usize = 1000;
/// What of a sender's name is remembered: it comes from outside, as long as it likes.
const LONGEST_SENDER: usize = 128;

#[derive(Debug, Default)]
pub(super) struct Faults {
    seen: BTreeMap<(String, String, String), (Instant, u64)>,
}

impl Faults {
    /// `Some(n)`: log it, and `n` like it were not logged since the last line.
    pub(super) fn admit(
        &mut self,
        subject: &str,
        kind: &str,
        sender: &str,
        now: Instant,
    ) -> Option<u64> {
        let sender: String = sender.chars().take(LONGEST_SENDER).collect();
        let key = (subject.to_string(), kind.to_string(), sender);
        if let Some((logged, unlogged)) = self.seen.get_mut(&key) {
            if now.saturating_duration_since(*logged) < QUIET {
                *unlogged += 1;
                return None;
            }
            let count = std::mem::take(unlogged);
            *logged = now;
            return Some(count);
        }
        if self.seen.len() >= MOST {
            self.seen
                .retain(|_, (logged, _)| now.saturating_duration_since(*logged) < QUIET);
            if self.seen.len() >= MOST {
                return None;
            }
        }
        self.seen.insert(key, (now, 0));
        Some(0)
    }
}

/// The kind of a fault: its first two words, which decoders keep constant ("missing field",
/// "invalid type"), not the names and places that follow.
pub(super) fn kind(fault: &str) -> String {
    let words: Vec<&str> = fault
        .split_whitespace()
        .take(2)
        .map(|word| word.trim_matches(|c: char| !c.is_ascii_alphanumeric()))
        .filter(|word| !word.is_empty() && word.len() < 30)
        .collect();
    words.join(" ").to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_a_minute_for_each_subject_fault_and_sender() {
        let mut faults = Faults::default();
        let start = Instant::now();
        assert_eq!(faults.admit("a", "missing field", "dea-1", start), Some(0));
        assert_eq!(
            faults.admit(
                "a",
                "missing field",
                "dea-1",
                start + Duration::from_secs(1)
            ),
            None
        );
        assert_eq!(
            faults.admit(
                "a",
                "missing field",
                "dea-1",
                start + Duration::from_secs(2)
            ),
            None
        );
        assert_eq!(
            faults.admit(
                "a",
                "missing field",
                "dea-2",
                start + Duration::from_secs(2)
            ),
            Some(0)
        );
        assert_eq!(
            faults.admit("a", "invalid type", "dea-1", start + Duration::from_secs(2)),
            Some(0)
        );
        assert_eq!(
            faults.admit(
                "a",
                "missing field",
                "dea-1",
                start + Duration::from_secs(61)
            ),
            Some(2)
        );
    }

    #[test]
    fn a_flood_of_new_senders_is_bounded_and_passes() {
        let mut faults = Faults::default();
        let start = Instant::now();
        for number in 0..5000 {
            faults.admit("a", "k", &number.to_string(), start);
        }
        assert!(faults.seen.len() <= MOST);
        faults.seen.clear();
        faults.admit("a", "k", &"x".repeat(1 << 20), start);
        assert!(
            faults
                .seen
                .keys()
                .all(|(_, _, sender)| sender.len() <= LONGEST_SENDER)
        );
        assert_eq!(faults.admit("a", "k", "new", start + QUIET), Some(0));
    }

    #[test]
    fn the_kind_of_a_fault_names_no_content() {
        assert_eq!(
            kind("missing field `droplet` at line 1 column 2"),
            "missing field"
        );
        assert_eq!(
            kind("invalid type: string \"x\", expected u16"),
            "invalid type"
        );
        assert_eq!(kind(""), "");
    }
}
