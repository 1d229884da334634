//! The bounded memory of a sandbox's output.
//!
//! Lines wait here until the agent has acknowledged them, so that an agent that comes back
//! continues where the former one was. Nobody may make the memory grow: when it is full the
//! oldest line goes, and is counted as lost if it was never sent. The application is never
//! blocked by a missing listener.

use std::collections::VecDeque;

use crate::protocol::{Line, Notice, Numbered, frame_json, kind};

#[derive(Debug)]
pub struct Backlog {
    capacity: usize,
    bytes: usize,
    entries: VecDeque<Line>,
    /// The number the next line will get; numbers start at 1.
    next: u64,
    /// The first number that the present listener has not been sent.
    cursor: u64,
    lost: u64,
    exited: Option<Notice>,
    exit_sent: bool,
    gone: bool,
    gone_sent: bool,
}

/// What an entry costs beside its payload.
const OVERHEAD: usize = 64;

impl Backlog {
    pub fn new(capacity: usize) -> Backlog {
        Backlog {
            capacity,
            bytes: 0,
            entries: VecDeque::new(),
            next: 1,
            cursor: 1,
            lost: 0,
            exited: None,
            exit_sent: false,
            gone: false,
            gone_sent: false,
        }
    }

    pub fn push(&mut self, at_unix_ns: i64, stderr: bool, payload: Vec<u8>) {
        self.bytes += payload.len() + OVERHEAD;
        self.entries.push_back(Line {
            sequence: self.next,
            at_unix_ns,
            stderr,
            payload,
        });
        self.next += 1;
        while self.bytes > self.capacity
            && let Some(oldest) = self.entries.pop_front()
        {
            self.bytes -= oldest.payload.len() + OVERHEAD;
            if oldest.sequence >= self.cursor {
                self.lost += 1;
                self.cursor = oldest.sequence + 1;
            }
        }
    }

    pub fn exit(&mut self, notice: Notice) {
        self.exited.get_or_insert(notice);
    }

    pub fn has_exited(&self) -> bool {
        self.exited.is_some()
    }

    pub fn gone(&mut self) {
        self.gone = true;
    }

    /// A new listener: everything unacknowledged is sent again, the exit in any case.
    pub fn rewind(&mut self) {
        self.cursor = self.entries.front().map_or(self.next, |line| line.sequence);
        self.exit_sent = false;
        self.gone_sent = false;
    }

    pub fn acknowledge(&mut self, sequence: u64) {
        while let Some(oldest) = self.entries.front()
            && oldest.sequence <= sequence
        {
            self.bytes -= oldest.payload.len() + OVERHEAD;
            self.entries.pop_front();
        }
    }

    /// The next frame for the listener.
    pub fn next_frame(&mut self) -> Option<Vec<u8>> {
        if self.lost > 0 {
            let count = std::mem::take(&mut self.lost);
            return Some(self.notice(Notice::LinesLost { count }));
        }
        let first = self.entries.front().map_or(self.next, |line| line.sequence);
        if let Some(line) = self.entries.get(self.cursor.saturating_sub(first) as usize) {
            self.cursor = line.sequence + 1;
            return Some(line.encode());
        }
        if let Some(notice) = self.exited.clone()
            && !self.exit_sent
        {
            self.exit_sent = true;
            return Some(self.notice(notice));
        }
        if self.gone && !self.gone_sent {
            self.gone_sent = true;
            return Some(self.notice(Notice::Gone));
        }
        None
    }

    fn notice(&self, notice: Notice) -> Vec<u8> {
        // Acknowledging a notice acknowledges what was sent before it.
        let sequence = self.cursor - 1;
        frame_json(kind::NOTICE, &Numbered { sequence, notice })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{ExitStatus, Splitter};

    #[derive(Debug, PartialEq)]
    enum Heard {
        Line(u64, Vec<u8>),
        Lost(u64),
        Exited,
        Gone,
    }

    fn hear(backlog: &mut Backlog) -> Vec<Heard> {
        let mut heard = Vec::new();
        while let Some(frame) = backlog.next_frame() {
            let mut splitter = Splitter::default();
            splitter.push(&frame);
            let (kind, body) = splitter.next_frame().unwrap().unwrap();
            heard.push(if kind == kind::LINE {
                let line = Line::decode(&body).unwrap();
                Heard::Line(line.sequence, line.payload)
            } else {
                match serde_json::from_slice::<Numbered>(&body).unwrap().notice {
                    Notice::LinesLost { count } => Heard::Lost(count),
                    Notice::Exited { .. } => Heard::Exited,
                    Notice::Gone => Heard::Gone,
                }
            });
        }
        heard
    }

    fn exit() -> Notice {
        Notice::Exited {
            status: ExitStatus::Code(0),
            out_of_memory: false,
            peak_memory: 1,
        }
    }

    #[test]
    fn a_second_listener_continues_after_the_acknowledged() {
        let mut backlog = Backlog::new(10_000);
        for text in ["a", "b", "c"] {
            backlog.push(0, false, text.into());
        }
        assert_eq!(hear(&mut backlog).len(), 3);
        backlog.acknowledge(1);
        backlog.rewind();
        backlog.push(0, false, b"d".to_vec());
        let expected = [
            Heard::Line(2, b"b".to_vec()),
            Heard::Line(3, b"c".to_vec()),
            Heard::Line(4, b"d".to_vec()),
        ];
        assert_eq!(hear(&mut backlog), expected);
    }

    #[test]
    fn the_exit_comes_last_and_again_to_everyone() {
        let mut backlog = Backlog::new(10_000);
        backlog.exit(exit());
        backlog.push(0, false, b"late".to_vec());
        assert_eq!(
            hear(&mut backlog),
            [Heard::Line(1, b"late".to_vec()), Heard::Exited]
        );
        backlog.acknowledge(1);
        backlog.gone();
        backlog.rewind();
        assert_eq!(hear(&mut backlog), [Heard::Exited, Heard::Gone]);
    }

    #[test]
    fn a_full_backlog_loses_the_oldest_and_counts_what_was_never_sent() {
        let mut backlog = Backlog::new(10 * (OVERHEAD + 1));
        for _ in 0..5 {
            backlog.push(0, false, b"s".to_vec());
        }
        assert_eq!(hear(&mut backlog).len(), 5);
        for _ in 0..12 {
            backlog.push(0, false, b"u".to_vec());
        }
        let heard = hear(&mut backlog);
        assert_eq!(heard[0], Heard::Lost(2));
        assert_eq!(heard.len(), 1 + 10);
        assert!(backlog.bytes <= backlog.capacity);
        assert!(hear(&mut backlog).is_empty());
    }

    #[test]
    fn an_acknowledgement_from_the_future_is_harmless() {
        let mut backlog = Backlog::new(1000);
        backlog.push(0, false, b"a".to_vec());
        backlog.acknowledge(99);
        backlog.push(0, false, b"b".to_vec());
        assert_eq!(hear(&mut backlog), [Heard::Line(2, b"b".to_vec())]);
    }
}
