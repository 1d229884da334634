//! Facts that nobody acknowledged yet: what is sent again, when, and what is given up.
//!
//! A fact born on an agent (an exit, a task's result) exists nowhere else until a controller or a
//! stager says it has it. It is repeated at a fixed pace, for ever: the receiver may be away for
//! hours. The number is bounded; beyond it the *oldest* go, because the newest tell the present
//! (who missed the old ones sees in the heartbeats what runs).

use std::collections::BTreeMap;
use std::time::Duration;

/// Most facts kept.
pub const MOST: usize = 1000;
/// Between two attempts for one fact.
pub const PACE: Duration = Duration::from_secs(2);

/// The queue, by sequence number.
#[derive(Debug, Clone)]
pub struct Queue<F> {
    facts: BTreeMap<u64, Waiting<F>>,
    next: u64,
    most: usize,
}

#[derive(Debug, Clone)]
struct Waiting<F> {
    fact: F,
    due: Duration,
    under_way: bool,
}

impl<F: Clone> Queue<F> {
    pub fn new(most: usize) -> Queue<F> {
        Queue {
            facts: BTreeMap::new(),
            next: 1,
            most,
        }
    }

    /// Takes a fact of an earlier life, under its number.
    pub fn restore(&mut self, number: u64, fact: F) {
        self.facts.insert(
            number,
            Waiting {
                fact,
                due: Duration::ZERO,
                under_way: false,
            },
        );
        self.next = self.next.max(number.saturating_add(1));
    }

    /// The number a new fact will get: to write it down before it is queued.
    pub fn reserve(&mut self) -> u64 {
        let number = self.next;
        self.next = self.next.saturating_add(1);
        number
    }

    /// Queues a fact under its reserved number; returns those that had to go for it.
    #[must_use = "what was given up must be removed from the folder and said"]
    pub fn put(&mut self, number: u64, fact: F) -> Vec<u64> {
        self.facts.insert(
            number,
            Waiting {
                fact,
                due: Duration::ZERO,
                under_way: false,
            },
        );
        let mut given_up = Vec::new();
        while self.facts.len() > self.most {
            match self.facts.pop_first() {
                Some((oldest, _)) => given_up.push(oldest),
                None => break,
            }
        }
        given_up
    }

    /// Facts to send now, oldest first, at most `most`; they count as under way until
    /// [`Queue::settle`].
    pub fn take_due(&mut self, now: Duration, most: usize) -> Vec<(u64, F)> {
        let mut taken = Vec::new();
        for (number, waiting) in &mut self.facts {
            if taken.len() >= most {
                break;
            }
            if !waiting.under_way && waiting.due <= now {
                waiting.under_way = true;
                taken.push((*number, waiting.fact.clone()));
            }
        }
        taken
    }

    /// How an attempt ended. True: the fact is done and forgotten.
    pub fn settle(&mut self, number: u64, acknowledged: bool, now: Duration) -> bool {
        if acknowledged {
            return self.facts.remove(&number).is_some();
        }
        if let Some(waiting) = self.facts.get_mut(&number) {
            waiting.under_way = false;
            waiting.due = now + PACE;
        }
        false
    }

    /// Whoever sent is gone, and with it what was under way.
    pub fn resume(&mut self) {
        for waiting in self.facts.values_mut() {
            waiting.under_way = false;
        }
    }

    /// Everything is due at once: the bus came back.
    pub fn hurry(&mut self) {
        for waiting in self.facts.values_mut() {
            waiting.due = Duration::ZERO;
        }
    }

    /// Everything that waits, oldest first.
    pub fn facts(&self) -> impl Iterator<Item = &F> {
        self.facts.values().map(|waiting| &waiting.fact)
    }

    /// When the next attempt is due.
    pub fn next_due(&self) -> Option<Duration> {
        self.facts
            .values()
            .filter(|waiting| !waiting.under_way)
            .map(|waiting| waiting.due)
            .min()
    }

    pub fn len(&self) -> usize {
        self.facts.len()
    }

    pub fn is_empty(&self) -> bool {
        self.facts.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: Duration = Duration::from_secs(100);

    fn queue(most: usize, facts: &[&'static str]) -> (Queue<&'static str>, Vec<u64>) {
        let mut queue = Queue::new(most);
        let mut given_up = Vec::new();
        for fact in facts {
            let number = queue.reserve();
            given_up.extend(queue.put(number, *fact));
        }
        (queue, given_up)
    }

    #[test]
    fn a_fact_is_repeated_until_it_is_acknowledged() {
        let (mut queue, _) = queue(10, &["a"]);
        assert_eq!(queue.take_due(NOW, 5), [(1, "a")]);
        assert!(queue.take_due(NOW, 5).is_empty(), "it is under way");
        assert!(!queue.settle(1, false, NOW));
        assert!(queue.take_due(NOW, 5).is_empty(), "too early");
        assert_eq!(queue.next_due(), Some(NOW + PACE));
        assert_eq!(queue.take_due(NOW + PACE, 5), [(1, "a")]);
        assert!(queue.settle(1, true, NOW));
        assert!(queue.is_empty());
    }

    #[test]
    fn the_oldest_go_first_when_it_is_full() {
        let (queue, given_up) = queue(2, &["a", "b", "c", "d"]);
        assert_eq!(given_up, [1, 2]);
        assert_eq!(queue.len(), 2);
    }

    #[test]
    fn a_restored_queue_goes_on_counting() {
        let mut queue = Queue::new(10);
        queue.restore(7, "old");
        assert_eq!(queue.reserve(), 8);
        assert_eq!(queue.take_due(Duration::ZERO, 1), [(7, "old")]);
    }

    #[test]
    fn what_a_sender_took_with_it_is_sent_by_the_next() {
        let (mut queue, _) = queue(10, &["a"]);
        assert_eq!(queue.take_due(NOW, 5), [(1, "a")]);
        queue.resume();
        assert_eq!(queue.take_due(NOW, 5), [(1, "a")]);
    }

    proptest! {
        /// Nothing unacknowledged is lost below the bound, nothing acknowledged comes again.
        #[test]
        fn what_is_not_acknowledged_stays(answers in proptest::collection::vec(any::<bool>(), 0..80)) {
            let mut queue = Queue::new(1000);
            let mut open: std::collections::BTreeSet<u64> = (0..10).map(|_| {
                let number = queue.reserve();
                assert!(queue.put(number, number).is_empty());
                number
            }).collect();
            let mut now = NOW;
            for answer in answers {
                let taken = queue.take_due(now, 1);
                if let Some((number, fact)) = taken.first().copied() {
                    prop_assert_eq!(number, fact);
                    prop_assert!(open.contains(&number));
                    if answer { open.remove(&number); }
                    queue.settle(number, answer, now);
                }
                now += PACE;
            }
            queue.hurry();
            let left: std::collections::BTreeSet<u64> = queue.take_due(now, 1000).into_iter().map(|(number, _)| number).collect();
            prop_assert_eq!(left, open);
        }
    }
}
