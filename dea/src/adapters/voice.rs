//! The log lines of one instance or task: its own, and what the agent says about it.
//!
//! Lines of the app are limited in rate; what is not passed on is counted, and the count travels
//! with the log. The agent's own lines are few and never limited.

use crate::domain::line_rate::{LineRate, Verdict};
use daemon::LogSender;
use proto::bus::stream::LogLine;
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub struct Voice {
    logs: LogSender,
    /// App guid.
    source: String,
    /// Index of the instance.
    instance: String,
    /// Of the app's own lines.
    source_type: String,
    tags: BTreeMap<String, String>,
    rate: LineRate,
}

impl Voice {
    pub fn new(
        logs: LogSender,
        source: &str,
        instance: String,
        source_type: String,
        tags: BTreeMap<String, String>,
    ) -> Voice {
        Voice {
            logs,
            source: source.to_string(),
            instance,
            source_type,
            tags,
            rate: LineRate::default(),
        }
    }

    /// A line of the app.
    pub fn line(
        &mut self,
        stderr: bool,
        at_unix_ns: i64,
        payload: Vec<u8>,
        now: Duration,
        most: u64,
    ) {
        match self.rate.judge(now, most) {
            Verdict::Drop => {}
            Verdict::Pass { dropped_before } => {
                self.tell_lost(dropped_before);
                self.logs.send(LogLine {
                    timestamp: at_unix_ns,
                    source: self.source.clone(),
                    instance: self.instance.clone(),
                    source_type: self.source_type.clone(),
                    stderr,
                    payload,
                    tags: self.tags.clone(),
                });
            }
        }
    }

    /// Lines lost before they came here.
    pub fn lost(&mut self, lines: u64) {
        self.tell_lost(lines);
    }

    /// Whether [`Voice::settle`] has something to tell.
    pub fn owes(&self) -> bool {
        self.rate.owes()
    }

    /// Tells what the limit held back, at the end or when the log falls silent.
    pub fn settle(&mut self) {
        let dropped = self.rate.take_dropped();
        self.tell_lost(dropped);
    }

    fn tell_lost(&self, lines: u64) {
        if lines > 0 {
            self.logs.lost(&self.source, lines);
        }
    }

    /// A line of the agent about it.
    pub fn say(&self, text: &str) {
        self.logs.send(LogLine {
            timestamp: unix_ns(),
            source: self.source.clone(),
            instance: self.instance.clone(),
            source_type: proto::log::SOURCE_AGENT.to_string(),
            stderr: false,
            payload: text.as_bytes().to_vec(),
            tags: self.tags.clone(),
        });
    }
}

fn unix_ns() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}
