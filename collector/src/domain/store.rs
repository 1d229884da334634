//! Recent log lines in memory: a ring per source, all rings within one bound.
//!
//! Readers walk by time: "give me what came after this timestamp". Two equal timestamps, or a line
//! that arrives late with an old one, would be skipped for ever. So the store has one writer that
//! gives each entry of a source a timestamp of its own:
//!
//! - greater than the one before it, always;
//! - at most [`LATE`] older than its arrival, because walkers stay two seconds behind the present;
//! - not in the future, however wrong an agent's clock is.
//!
//! When all rings together are too large, the largest one gives up its oldest entry: an app that
//! floods its log loses its own past, not that of its neighbours.

use proto::bus::stream::{LogLine, LogLoss};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// A line that arrives later than this is stamped as if it were this old. Less than the two seconds that
/// Cloud Foundry's clients stay behind.
pub const LATE: i64 = 1_000_000_000;
/// Longer lines are cut.
pub const LONGEST_LINE: usize = 64 * 1024;
/// Sources kept; beyond, those that were silent longest are forgotten.
pub const MOST_SOURCES: usize = 50_000;
/// What an entry costs besides its text.
const OVERHEAD: usize = 128;
/// Heads remembered per source to be shared by its lines.
const HEADS: usize = 32;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    pub entries_per_source: usize,
    /// Of all sources together.
    pub bytes: usize,
}

/// What many lines have in common.
#[derive(Debug, PartialEq, Eq)]
pub struct Head {
    pub instance: String,
    pub source_type: String,
    pub stderr: bool,
    pub tags: BTreeMap<String, String>,
}

#[derive(Debug, PartialEq, Eq)]
pub struct Entry {
    /// Unix nanoseconds, unique and rising within its source.
    pub timestamp: i64,
    pub content: Content,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Content {
    Line {
        head: Arc<Head>,
        payload: Vec<u8>,
    },
    /// Lines that should be here and were lost on their way.
    Loss {
        lines: u64,
        place: String,
    },
}

impl Entry {
    /// How many lines of the source it stands for.
    pub fn lines(&self) -> u64 {
        match &self.content {
            Content::Line { .. } => 1,
            Content::Loss { lines, .. } => *lines,
        }
    }

    fn cost(&self) -> usize {
        OVERHEAD
            + match &self.content {
                Content::Line { payload, .. } => payload.len(),
                Content::Loss { place, .. } => place.len(),
            }
    }
}

impl Head {
    fn cost(&self) -> usize {
        let tags: usize = self
            .tags
            .iter()
            .map(|(name, value)| name.len() + value.len() + 64)
            .sum();
        OVERHEAD + self.instance.len() + self.source_type.len() + tags
    }
}

#[derive(Debug, Default)]
struct Source {
    entries: VecDeque<Arc<Entry>>,
    heads: VecDeque<Arc<Head>>,
    bytes: usize,
    /// Of the newest entry, also when that is gone.
    last: i64,
}

#[derive(Debug)]
pub struct Store {
    limits: Limits,
    sources: BTreeMap<Arc<str>, Source>,
    /// (bytes, source), to find the largest.
    sizes: BTreeSet<(usize, Arc<str>)>,
    bytes: usize,
}

/// What `/varz` shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    pub sources: usize,
    pub bytes: usize,
}

impl Store {
    pub fn new(limits: Limits) -> Store {
        Store {
            limits,
            sources: BTreeMap::new(),
            sizes: BTreeSet::new(),
            bytes: 0,
        }
    }

    pub fn usage(&self) -> Usage {
        Usage {
            sources: self.sources.len(),
            bytes: self.bytes,
        }
    }

    /// Takes new limits; what no longer fits goes at once.
    pub fn limit(&mut self, limits: Limits) {
        self.limits = limits;
        for name in self.sources.keys().cloned().collect::<Vec<_>>() {
            self.change(&name, |source| {
                while source.entries.len() > limits.entries_per_source {
                    source.evict();
                }
            });
        }
        self.shrink();
    }

    /// Keeps a line. `now` is the time of arrival in Unix nanoseconds.
    pub fn line(&mut self, now: i64, line: LogLine) -> Arc<Entry> {
        let LogLine {
            timestamp,
            source,
            instance,
            source_type,
            stderr,
            mut payload,
            tags,
        } = line;
        payload.truncate(LONGEST_LINE);
        payload.shrink_to_fit();
        let head = Head {
            instance,
            source_type,
            stderr,
            tags: tags.into_iter().collect(),
        };
        self.append(&source, now, timestamp, |source| Content::Line {
            head: source.share(head),
            payload,
        })
    }

    /// Keeps the news that lines of a source were lost. None if it does not say whose.
    pub fn loss(&mut self, now: i64, loss: LogLoss) -> Option<Arc<Entry>> {
        if loss.source.is_empty() || loss.lines == 0 {
            return None;
        }
        let content = Content::Loss {
            lines: loss.lines,
            place: loss.place,
        };
        Some(self.append(&loss.source, now, now, |_| content))
    }

    /// The newest `count` entries, oldest first.
    pub fn recent(&self, source: &str, count: usize) -> Vec<Arc<Entry>> {
        let Some(source) = self.sources.get(source) else {
            return Vec::new();
        };
        let skip = source.entries.len().saturating_sub(count);
        source.entries.iter().skip(skip).cloned().collect()
    }

    /// Entries from `start` (inclusive) to `end` (exclusive): the first `limit` of them, or the last
    /// ones, newest first.
    pub fn range(
        &self,
        source: &str,
        start: i64,
        end: i64,
        limit: usize,
        descending: bool,
    ) -> Vec<Arc<Entry>> {
        let Some(source) = self.sources.get(source) else {
            return Vec::new();
        };
        let from = source
            .entries
            .partition_point(|entry| entry.timestamp < start);
        let to = source
            .entries
            .partition_point(|entry| entry.timestamp < end)
            .max(from);
        let entries = source.entries.range(from..to).cloned();
        if descending {
            entries.rev().take(limit).collect()
        } else {
            entries.take(limit).collect()
        }
    }

    fn append(
        &mut self,
        name: &str,
        now: i64,
        timestamp: i64,
        content: impl FnOnce(&mut Source) -> Content,
    ) -> Arc<Entry> {
        let name = match self.sources.get_key_value(name) {
            Some((name, _)) => name.clone(),
            None => self.add_source(name),
        };
        let limit = self.limits.entries_per_source;
        let entry = self.change(&name, |source| {
            let timestamp = timestamp
                .clamp(now.saturating_sub(LATE), now)
                .max(source.last.saturating_add(1));
            let entry = Arc::new(Entry {
                timestamp,
                content: content(source),
            });
            source.last = timestamp;
            source.bytes += entry.cost();
            source.entries.push_back(entry.clone());
            while source.entries.len() > limit {
                source.evict();
            }
            entry
        });
        self.shrink();
        entry
    }

    fn add_source(&mut self, name: &str) -> Arc<str> {
        if self.sources.len() >= MOST_SOURCES {
            self.forget_silent();
        }
        let name: Arc<str> = name.into();
        self.sources.insert(name.clone(), Source::default());
        self.sizes.insert((0, name.clone()));
        name
    }

    /// Forgets a hundredth of the sources, so that the search is not repeated for each new one.
    fn forget_silent(&mut self) {
        let mut silent: Vec<(i64, Arc<str>)> = self
            .sources
            .iter()
            .map(|(name, source)| (source.last, name.clone()))
            .collect();
        silent.sort_unstable();
        for (_, name) in silent.into_iter().take(MOST_SOURCES / 100 + 1) {
            if let Some(source) = self.sources.remove(&name) {
                self.bytes -= source.bytes;
                self.sizes.remove(&(source.bytes, name));
            }
        }
    }

    /// Changes a source that exists, and the books about it.
    fn change<T>(&mut self, name: &Arc<str>, change: impl FnOnce(&mut Source) -> T) -> T {
        let source = self.sources.entry(name.clone()).or_default();
        let before = source.bytes;
        let result = change(source);
        let after = source.bytes;
        self.sizes.remove(&(before, name.clone()));
        self.sizes.insert((after, name.clone()));
        self.bytes = self.bytes - before + after;
        result
    }

    fn shrink(&mut self) {
        while self.bytes > self.limits.bytes {
            let Some((bytes, name)) = self.sizes.last().cloned() else {
                return;
            };
            if bytes == 0 {
                return;
            }
            self.change(&name, Source::evict);
        }
    }
}

impl Source {
    /// Gives up the oldest entry; with the last one, the heads too.
    fn evict(&mut self) {
        if let Some(entry) = self.entries.pop_front() {
            self.bytes -= entry.cost();
        }
        if self.entries.is_empty() {
            self.heads.clear();
            self.bytes = 0;
        }
    }

    fn share(&mut self, head: Head) -> Arc<Head> {
        if let Some(known) = self.heads.iter().find(|known| ***known == head) {
            return known.clone();
        }
        if self.heads.len() == HEADS
            && let Some(old) = self.heads.pop_front()
        {
            self.bytes -= old.cost();
        }
        self.bytes += head.cost();
        let head = Arc::new(head);
        self.heads.push_back(head.clone());
        head
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_700_000_000_000_000_000;
    const LIMITS: Limits = Limits {
        entries_per_source: 5,
        bytes: 1 << 20,
    };

    fn line(source: &str, timestamp: i64, text: &str) -> LogLine {
        LogLine {
            timestamp,
            source: source.into(),
            instance: "0".into(),
            source_type: "APP/PROC/WEB".into(),
            payload: text.into(),
            ..Default::default()
        }
    }

    fn texts(entries: &[Arc<Entry>]) -> Vec<String> {
        let text = |entry: &Arc<Entry>| match &entry.content {
            Content::Line { payload, .. } => String::from_utf8_lossy(payload).into_owned(),
            Content::Loss { lines, place } => format!("{lines} lost at {place}"),
        };
        entries.iter().map(text).collect()
    }

    #[test]
    fn timestamps_are_unique_rising_and_near_the_present() {
        let mut store = Store::new(LIMITS);
        let stamps: Vec<i64> = [
            NOW - 5,
            NOW - 5,
            NOW - 9,
            NOW + 60_000_000_000,
            NOW - 60_000_000_000,
            0,
        ]
        .into_iter()
        .map(|timestamp| store.line(NOW, line("a", timestamp, "x")).timestamp)
        .collect();
        assert_eq!(stamps, [NOW - 5, NOW - 4, NOW - 3, NOW, NOW + 1, NOW + 2]);
        assert_eq!(
            store
                .line(NOW, line("b", NOW - 60_000_000_000, "x"))
                .timestamp,
            NOW - LATE,
            "too late for its own time"
        );
    }

    #[test]
    fn each_source_keeps_its_newest_entries_in_order() {
        let mut store = Store::new(LIMITS);
        for number in 0..8 {
            store.line(NOW + number, line("a", NOW + number, &number.to_string()));
        }
        store.line(NOW, line("b", NOW, "other"));
        assert_eq!(texts(&store.recent("a", 100)), ["3", "4", "5", "6", "7"]);
        assert_eq!(texts(&store.recent("a", 2)), ["6", "7"]);
        assert_eq!(texts(&store.recent("b", 2)), ["other"]);
        assert!(store.recent("c", 2).is_empty());
    }

    #[test]
    fn a_range_includes_its_start_and_excludes_its_end() {
        let mut store = Store::new(LIMITS);
        for number in 0..5 {
            store.line(NOW + number, line("a", NOW + number, &number.to_string()));
        }
        let range =
            |start, end, limit, descending| texts(&store.range("a", start, end, limit, descending));
        assert_eq!(range(NOW + 1, NOW + 4, 10, false), ["1", "2", "3"]);
        assert_eq!(range(NOW + 1, NOW + 4, 2, false), ["1", "2"]);
        assert_eq!(range(NOW + 1, NOW + 4, 2, true), ["3", "2"]);
        assert_eq!(range(i64::MIN, i64::MAX, 1, true), ["4"]);
        assert!(range(NOW + 4, NOW + 1, 10, false).is_empty());
    }

    #[test]
    fn walking_by_time_sees_each_line_once_whatever_the_clocks_say() {
        let mut store = Store::new(Limits {
            entries_per_source: 1000,
            bytes: 1 << 20,
        });
        let (mut at, mut seen) = (i64::MIN, Vec::new());
        for number in 0..200i64 {
            let now = NOW + number * 50_000_000;
            let skew = [0, -3_000_000_000, 7_000_000_000, -10][number as usize % 4];
            store.line(now, line("a", now + skew, &number.to_string()));
            let read = store.range("a", at, now - 2 * LATE, 1000, false);
            if let Some(last) = read.last() {
                at = last.timestamp + 1;
            }
            seen.extend(texts(&read));
        }
        seen.extend(texts(&store.range("a", at, i64::MAX, 1000, false)));
        assert_eq!(
            seen,
            (0..200)
                .map(|number| number.to_string())
                .collect::<Vec<_>>()
        );
    }

    #[test]
    fn the_memory_bound_holds_and_the_loudest_pays() {
        let limits = Limits {
            entries_per_source: 1000,
            bytes: 100_000,
        };
        let mut store = Store::new(limits);
        store.line(NOW, line("quiet", NOW, "keep me"));
        for number in 0..2000 {
            store.line(NOW + number, line("loud", NOW + number, &"x".repeat(500)));
            assert!(store.usage().bytes <= limits.bytes);
        }
        assert_eq!(texts(&store.recent("quiet", 10)), ["keep me"]);
        assert!(store.recent("loud", 1000).len() > 100);
        let counted: usize = store.sources.values().map(|source| source.bytes).sum();
        assert_eq!(counted, store.usage().bytes);
        assert_eq!(store.sizes.len(), store.sources.len());
    }

    #[test]
    fn smaller_limits_take_effect_at_once() {
        let mut store = Store::new(LIMITS);
        for number in 0..5 {
            store.line(NOW + number, line("a", NOW, "x"));
        }
        store.limit(Limits {
            entries_per_source: 2,
            bytes: 1 << 20,
        });
        assert_eq!(store.recent("a", 10).len(), 2);
        store.limit(Limits {
            entries_per_source: 2,
            bytes: 0,
        });
        assert_eq!(
            store.usage(),
            Usage {
                sources: 1,
                bytes: 0
            }
        );
        let next = store.line(NOW, line("a", NOW, "x"));
        assert!(
            next.timestamp > NOW + 4,
            "also after everything was given up: {}",
            next.timestamp
        );
    }

    #[test]
    fn losses_stand_where_they_happened() {
        let mut store = Store::new(LIMITS);
        store.line(NOW, line("a", NOW, "before"));
        assert!(
            store
                .loss(
                    NOW,
                    LogLoss {
                        source: "a".into(),
                        lines: 7,
                        place: "agent".into()
                    }
                )
                .is_some()
        );
        store.line(NOW, line("a", NOW, "after"));
        assert_eq!(
            store.loss(
                NOW,
                LogLoss {
                    source: String::new(),
                    lines: 7,
                    place: "bus".into()
                }
            ),
            None
        );
        assert_eq!(
            texts(&store.recent("a", 10)),
            ["before", "7 lost at agent", "after"]
        );
    }

    #[test]
    fn the_number_of_sources_is_bounded_too() {
        let mut store = Store::new(LIMITS);
        for number in 0..MOST_SOURCES as i64 + 10 {
            store.line(NOW + number, line(&number.to_string(), NOW + number, ""));
        }
        assert!(store.usage().sources <= MOST_SOURCES);
        assert!(
            store.recent("0", 1).is_empty(),
            "the one that was silent longest is gone"
        );
        assert_eq!(store.sizes.len(), store.sources.len());
    }

    #[test]
    fn a_line_is_cut_where_it_would_be_too_long() {
        let mut store = Store::new(LIMITS);
        let entry = store.line(NOW, line("a", NOW, &"x".repeat(LONGEST_LINE + 1)));
        assert!(
            matches!(&entry.content, Content::Line { payload, .. } if payload.len() == LONGEST_LINE)
        );
    }
}
