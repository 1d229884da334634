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

/// Entries a watcher may be behind; then it misses the oldest and is told how many.
const BEHIND: usize = 2048;

struct State {
    store: Store,
    live: BTreeMap<String, broadcast::Sender<Arc<Entry>>>,
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
    pub fn watch(
        &self,
        source: &str,
        recent: usize,
    ) -> (Vec<Arc<Entry>>, broadcast::Receiver<Arc<Entry>>) {
        let mut state = self.state();
        let recent = state.store.recent(source, recent);
        let live = state
            .live
            .entry(source.to_string())
            .or_insert_with(|| broadcast::Sender::new(BEHIND))
            .subscribe();
        (recent, live)
    }

    /// Forgets the broadcast of a source that nobody watches any more.
    pub fn unwatch(&self, source: &str) {
        let mut state = self.state();
        if state
            .live
            .get(source)
            .is_some_and(|live| live.receiver_count() == 0)
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
    fn pass_on(&self, source: &str, entry: Arc<Entry>) {
        if let Some(live) = self.live.get(source) {
            // Nobody listening is no fault.
            let _ = live.send(entry);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::bus::stream::LogLine;

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
        let (recent, mut live) = hub.watch("a", 3);
        hub.take(20, batch(5..7));
        assert_eq!(recent.len(), 3);
        let last = recent.last().expect("recent").timestamp;
        let first = live.try_recv().expect("live");
        assert!(first.timestamp > last);
        assert!(live.try_recv().is_ok());
        assert!(live.try_recv().is_err());
    }

    #[test]
    fn a_broadcast_lives_as_long_as_its_watchers() {
        let hub = Hub::new(Limits {
            entries_per_source: 100,
            bytes: 1 << 20,
        });
        let (_, first) = hub.watch("a", 0);
        let (_, second) = hub.watch("a", 0);
        drop(first);
        hub.unwatch("a");
        assert_eq!(hub.document()["watched_sources"], 1);
        drop(second);
        hub.unwatch("a");
        assert_eq!(hub.document()["watched_sources"], 0);
    }
}
