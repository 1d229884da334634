//! The one writer, and those who watch.
//!
//! Store and broadcasts are changed under one lock, so that a watcher who asks for recent lines and
//! then live ones gets each line once and none twice. The lock is held for the time of a few map
//! operations, never across a wait.

use crate::domain::store::{Entry, Limits, Store};
use proto::bus::stream::LogBatch;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::broadcast;

/// Entries a watcher may be behind; then it misses the oldest and is told how many lines those were.
const BEHIND: usize = 2048;

struct State {
    store: Store,
    live: BTreeMap<String, Live>,
}

/// Those who watch one source.
struct Live {
    sender: broadcast::Sender<Passed>,
    /// Lines passed on so far, those included that an entry says were lost.
    lines: u64,
}

/// An entry on its way to watchers. Who missed some before it sees by the count how many lines they
/// stood for: an entry may tell of the loss of many.
#[derive(Debug, Clone)]
pub struct Passed {
    pub entry: Arc<Entry>,
    /// Lines passed on before this one.
    pub before: u64,
}

/// What a watcher begins with.
pub struct Watched {
    /// The newest entries.
    pub recent: Vec<Arc<Entry>>,
    /// All that come after them.
    pub live: broadcast::Receiver<Passed>,
    /// Lines passed on before the first of those.
    pub before: u64,
}

#[derive(Default)]
struct Counters {
    lines: AtomicU64,
    lost: AtomicU64,
    missed: AtomicU64,
}

pub(crate) struct Hub {
    state: Mutex<State>,
    counters: Counters,
}

impl Hub {
    pub fn new(limits: Limits) -> Hub {
        Hub {
            state: Mutex::new(State {
                store: Store::new(limits),
                live: BTreeMap::new(),
            }),
            counters: Counters::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a batch and passes it to the watchers. Losses come first: they happened before.
    pub fn take(&self, now: i64, batch: LogBatch) {
        let lost: u64 = batch.losses.iter().map(|loss| loss.lines).sum();
        self.counters
            .lines
            .fetch_add(batch.lines.len() as u64, Ordering::Relaxed);
        self.counters.lost.fetch_add(lost, Ordering::Relaxed);
        metrics::counter!("collector_lines_total").increment(batch.lines.len() as u64);
        metrics::counter!("collector_lines_lost_total").increment(lost);
        let mut first: BTreeMap<String, i64> = BTreeMap::new();
        if !batch.losses.is_empty() {
            for line in &batch.lines {
                let first = first.entry(line.source.clone()).or_insert(line.timestamp);
                *first = line.timestamp.min(*first);
            }
        }
        let mut state = self.state();
        for loss in batch.losses {
            let source = loss.source.clone();
            let before = first.get(&source).copied().unwrap_or(now);
            if let Some(entry) = state.store.loss(now, before, loss) {
                state.pass_on(&source, entry);
            }
        }
        for line in batch.lines {
            let source = line.source.clone();
            let entry = state.store.line(now, line);
            state.pass_on(&source, entry);
        }
        let usage = state.store.usage();
        drop(state);
        metrics::gauge!("collector_recent_bytes").set(usage.bytes as f64);
        metrics::gauge!("collector_sources").set(usage.sources as f64);
    }

    pub fn limit(&self, limits: Limits) {
        self.state().store.limit(limits);
    }

    pub fn range(
        &self,
        source: &str,
        start: i64,
        end: i64,
        limit: usize,
        descending: bool,
    ) -> Vec<Arc<Entry>> {
        self.state()
            .store
            .range(source, start, end, limit, descending)
    }

    /// The newest `recent` entries, and all that come after them.
    pub fn watch(&self, source: &str, recent: usize) -> Watched {
        let mut state = self.state();
        let recent = state.store.recent(source, recent);
        let live = state
            .live
            .entry(source.to_string())
            .or_insert_with(|| Live {
                sender: broadcast::Sender::new(BEHIND),
                lines: 0,
            });
        Watched {
            recent,
            live: live.sender.subscribe(),
            before: live.lines,
        }
    }

    /// Forgets the broadcast of a source that nobody watches any more.
    pub fn unwatch(&self, source: &str) {
        let mut state = self.state();
        if state
            .live
            .get(source)
            .is_some_and(|live| live.sender.receiver_count() == 0)
        {
            state.live.remove(source);
        }
    }

    /// Counts lines that a watcher was too slow for.
    pub fn missed(&self, lines: u64) {
        self.counters.missed.fetch_add(lines, Ordering::Relaxed);
        metrics::counter!("collector_stream_lines_missed_total").increment(lines);
    }

    pub fn document(&self) -> serde_json::Value {
        let (usage, watched) = {
            let state = self.state();
            (state.store.usage(), state.live.len())
        };
        serde_json::json!({
            "lines": self.counters.lines.load(Ordering::Relaxed),
            "lines_lost_before": self.counters.lost.load(Ordering::Relaxed),
            "lines_missed_by_streams": self.counters.missed.load(Ordering::Relaxed),
            "sources": usage.sources,
            "recent_bytes": usage.bytes,
            "watched_sources": watched,
        })
    }
}

impl State {
    fn pass_on(&mut self, source: &str, entry: Arc<Entry>) {
        if let Some(live) = self.live.get_mut(source) {
            let before = live.lines;
            live.lines += entry.lines();
            // Nobody listening is no fault.
            let _ = live.sender.send(Passed { entry, before });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::bus::stream::{LogLine, LogLoss};

    fn batch(numbers: std::ops::Range<i64>) -> LogBatch {
        let lines = numbers.map(|number| LogLine {
            timestamp: number,
            source: "a".into(),
            payload: number.to_string().into(),
            ..Default::default()
        });
        LogBatch {
            lines: lines.collect(),
            losses: vec![],
        }
    }

    #[test]
    fn between_recent_and_live_there_is_no_gap_and_no_double() {
        let hub = Hub::new(Limits {
            entries_per_source: 100,
            bytes: 1 << 20,
        });
        hub.take(10, batch(0..5));
        let mut watched = hub.watch("a", 3);
        hub.take(20, batch(5..7));
        assert_eq!(watched.recent.len(), 3);
        let last = watched.recent.last().expect("recent").timestamp;
        let first = watched.live.try_recv().expect("live");
        assert!(first.entry.timestamp > last);
        assert_eq!(first.before, watched.before);
        let second = watched.live.try_recv().expect("live");
        assert_eq!(second.before, watched.before + 1);
        assert!(watched.live.try_recv().is_err());
    }

    #[test]
    fn who_is_behind_learns_how_many_lines_the_missed_entries_stood_for() {
        let hub = Hub::new(Limits {
            entries_per_source: 100,
            bytes: 1 << 20,
        });
        let mut watched = hub.watch("a", 0);
        let mut first = batch(0..1);
        first.losses.push(LogLoss {
            source: "a".into(),
            place: "agent".into(),
            lines: 500,
        });
        hub.take(10, first);
        hub.take(20, batch(1..1 + BEHIND as i64));
        assert!(watched.live.try_recv().is_err(), "it is told to be behind");
        let next = watched.live.try_recv().expect("the oldest that is left");
        let missed = next.before - watched.before;
        assert_eq!(missed, 501, "a loss of 500 lines and one line");
    }

    #[test]
    fn a_broadcast_lives_as_long_as_its_watchers() {
        let hub = Hub::new(Limits {
            entries_per_source: 100,
            bytes: 1 << 20,
        });
        let first = hub.watch("a", 0);
        let second = hub.watch("a", 0);
        drop(first);
        hub.unwatch("a");
        assert_eq!(hub.document()["watched_sources"], 1);
        drop(second);
        hub.unwatch("a");
        assert_eq!(hub.document()["watched_sources"], 0);
    }
}
