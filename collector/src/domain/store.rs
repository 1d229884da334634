//! Recent log lines in memory: a ring per source, all rings within one bound.
//!
//! The lines of one app come from several senders, each in batches, so they arrive out of order: what
//! the controller says of a staging may overtake the staging's last lines. They are kept in the order
//! of the time they were said at.
//!
//! Readers walk by time: "give me what came after this timestamp". Two equal timestamps, or a line
//! that is put where a walker has passed, would be skipped for ever. So the store has one writer
//! that gives each entry of a source a timestamp of its own:
//!
//! - the sender's, or the next that is free after it: lines said at one time stay as they came;
//! - at most [`LATE`] older than its arrival, because walkers stay two seconds behind the present;
//! - not in the future, however wrong an agent's clock is;
//! - later than what was given up already.
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
/// Heads shared by the lines of a source; a line whose head finds no place there has its own.
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
    /// Unix nanoseconds, unique within its source, whose entries are in this order.
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
                // Nobody else holds the head: it is not one of the shared ones, which are counted once.
                Content::Line { head, payload } if Arc::strong_count(head) == 1 => {
                    head.cost() + payload.len()
                }
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
    heads: Vec<Arc<Head>>,
    bytes: usize,
    /// Of the newest entry, also when that is gone.
    last: i64,
    /// Of the newest entry that was given up.
    given_up: i64,
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

    /// Keeps the news that lines of a source were lost before the time `before`. None if it does not
    /// say whose.
    pub fn loss(&mut self, now: i64, before: i64, loss: LogLoss) -> Option<Arc<Entry>> {
        if loss.source.is_empty() || loss.lines == 0 {
            return None;
        }
        let content = Content::Loss {
            lines: loss.lines,
            place: loss.place,
        };
        Some(self.append(&loss.source, now, before, |_| content))
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
            let (place, timestamp) = source.place(timestamp.clamp(now.saturating_sub(LATE), now));
            let entry = Arc::new(Entry {
                timestamp,
                content: content(source),
            });
            source.last = source.last.max(timestamp);
            source.bytes += entry.cost();
            source.entries.insert(place, entry.clone());
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
    /// Where an entry of this time goes, and the time it gets: the first free one.
    fn place(&self, timestamp: i64) -> (usize, i64) {
        let wanted = timestamp.max(self.given_up.saturating_add(1));
        let first = self
            .entries
            .partition_point(|entry| entry.timestamp < wanted);
        // Times are unique and rising, so those without a gap after the wanted one are a prefix of the rest.
        let (mut taken, mut free) = (first, self.entries.len());
        while taken < free {
            let middle = taken + (free - taken) / 2;
            let without_gap = wanted.saturating_add((middle - first) as i64);
            if self.entries[middle].timestamp == without_gap {
                taken = middle + 1;
            } else {
                free = middle;
            }
        }
        (taken, wanted.saturating_add((taken - first) as i64))
    }

    /// Gives up the oldest entry; with the last one, the heads too.
    fn evict(&mut self) {
        if let Some(entry) = self.entries.pop_front() {
            self.bytes -= entry.cost();
            self.given_up = entry.timestamp;
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
        if self.heads.len() == HEADS {
            let bytes = &mut self.bytes;
            self.heads.retain(|known| {
                let used = Arc::strong_count(known) > 1;
                if !used {
                    *bytes -= known.cost();
                }
                used
            });
        }
        let head = Arc::new(head);
        if self.heads.len() < HEADS {
            self.bytes += head.cost();
            self.heads.push(head.clone());
        }
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
    fn timestamps_are_unique_and_near_the_present() {
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
        assert_eq!(
            stamps,
            [NOW - 5, NOW - 4, NOW - 9, NOW, NOW - LATE, NOW - LATE + 1],
            "what is too late for its own time gets the oldest there is"
        );
    }

    #[test]
    fn lines_are_in_the_order_they_were_said_in_and_not_that_of_their_arrival() {
        let mut store = Store::new(Limits {
            entries_per_source: 100,
            bytes: 1 << 20,
        });
        let said = |milliseconds: i64| NOW + milliseconds * 1_000_000;
        // The controller's word overtakes the last batch of the staging's agent.
        store.line(said(300), line("a", said(290), "Staging complete"));
        for (time, text) in [(100, "Installing"), (250, "Done 1"), (250, "Done 2")] {
            store.line(said(350), line("a", said(time), text));
        }
        let wanted = ["Installing", "Done 1", "Done 2", "Staging complete"];
        assert_eq!(texts(&store.recent("a", 10)), wanted);
        assert_eq!(texts(&store.recent("a", 1)), ["Staging complete"]);
        let read = store.range("a", said(0), said(1000), 10, false);
        assert_eq!(texts(&read), wanted);
    }

    #[test]
    fn many_lines_of_one_time_stay_as_they_came() {
        let mut store = Store::new(Limits {
            entries_per_source: 5000,
            bytes: 1 << 30,
        });
        store.line(NOW, line("a", NOW + 3, "in between"));
        store.line(NOW + 9000, line("a", NOW + 9000, "after"));
        for number in 0..2000 {
            store.line(NOW + 9000, line("a", NOW - 2, &number.to_string()));
        }
        let entries = store.recent("a", 5000);
        assert!(entries.is_sorted_by(|a, b| a.timestamp < b.timestamp));
        let numbers: Vec<String> = texts(&entries)
            .into_iter()
            .filter(|text| text.parse::<u32>().is_ok())
            .collect();
        let wanted: Vec<String> = (0..2000).map(|number| number.to_string()).collect();
        assert_eq!(numbers, wanted);
        assert_eq!(texts(&entries).last().map(String::as_str), Some("after"));
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
        seen.sort_by_key(|text| text.parse::<i64>().expect("a number"));
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
    fn what_lines_have_in_common_counts_where_it_is_not_shared() {
        let limits = Limits {
            entries_per_source: 10_000,
            bytes: 200_000,
        };
        let mut store = Store::new(limits);
        for number in 0..3000 {
            let mut line = line("many", NOW + number, "x");
            line.instance = (number % 100).to_string();
            line.tags.insert("tag".to_string(), "y".repeat(1000));
            store.line(NOW + number, line);
            assert!(store.usage().bytes <= limits.bytes);
        }
        let mut heads: Vec<*const Head> = store
            .recent("many", 10_000)
            .iter()
            .filter_map(|entry| match &entry.content {
                Content::Line { head, .. } => Some(Arc::as_ptr(head)),
                Content::Loss { .. } => None,
            })
            .collect();
        heads.sort_unstable();
        heads.dedup();
        assert!(heads.len() * 1000 <= limits.bytes, "{} heads", heads.len());
        // The books are even again when all is given up.
        store.limit(Limits {
            entries_per_source: 1,
            bytes: 0,
        });
        assert_eq!(store.usage().bytes, 0);
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
                    NOW + 20,
                    NOW + 10,
                    LogLoss {
                        source: "a".into(),
                        lines: 7,
                        place: "agent".into()
                    }
                )
                .is_some()
        );
        store.line(NOW + 20, line("a", NOW + 10, "after"));
        assert_eq!(
            store.loss(
                NOW,
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
