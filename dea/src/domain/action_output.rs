//! What an action prints: kept for its result, and passed on in batches.
//!
//! Batches are small and frequent enough for somebody who watches (every [`EVERY`], or when
//! [`MOST`] bytes wait), and large enough that an action that prints single characters does not
//! flood the bus. What cannot be passed on is counted and the count travels with the next piece of
//! its stream; the result is complete all the same.

use super::pack_host::Stream;
use proto::bus::automation::OutputPiece;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// Longest time that a piece waits.
pub const EVERY: Duration = Duration::from_millis(50);
/// Bytes that are passed on at once.
pub const MOST: usize = 64 << 10;

/// Longest a byte can become when it is no text (U+FFFD).
const WIDEST: usize = 3;

/// Both streams of one execution.
#[derive(Debug, Clone, Default)]
pub struct Output {
    /// Most bytes kept of each stream: what the host sends beyond it is not believed.
    limit: usize,
    kept: BTreeMap<Stream, String>,
    pieces: Vec<OutputPiece>,
    waiting: usize,
    due: Option<Duration>,
    lost: BTreeMap<Stream, u64>,
    /// Number of the next piece, if none is missing.
    next: u64,
    /// A piece is missing; of which stream is not known.
    incomplete: bool,
    /// Something of it was passed on.
    passed_on: bool,
}

/// A piece as it is written down, so that the result is complete after a restart of the agent too.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Printed {
    pub stream: Stream,
    /// Place among the pieces of both streams.
    pub seq: u64,
    pub data: String,
}

impl Output {
    pub fn new(limit: u64) -> Output {
        Output {
            limit: usize::try_from(limit)
                .unwrap_or(usize::MAX)
                .saturating_mul(WIDEST),
            ..Output::default()
        }
    }

    /// With what an earlier agent had of it, which was passed on already.
    pub fn resumed(limit: u64, printed: Vec<Printed>) -> Output {
        let mut output = Output::new(limit);
        for piece in printed {
            output.push(piece, Duration::ZERO, 0);
        }
        output.take_batch();
        output
    }

    /// Takes a piece. True: the batch is full.
    pub fn push(&mut self, piece: Printed, now: Duration, unix_us: i64) -> bool {
        let Printed { stream, seq, data } = piece;
        if seq < self.next {
            return false;
        }
        let kept = self.kept.entry(stream).or_default();
        if kept.len() + data.len() > self.limit {
            self.incomplete = true;
            return false;
        }
        if seq > self.next {
            self.incomplete = true;
        }
        self.next = seq + 1;
        kept.push_str(&data);
        self.waiting += data.len();
        self.pieces.push(OutputPiece {
            stream: stream.name().to_string(),
            timestamp: unix_us,
            data: data.into_bytes(),
            lost: self.lost.remove(&stream).unwrap_or_default(),
        });
        self.due.get_or_insert(now + EVERY);
        self.waiting >= MOST
    }

    /// When the batch is to go.
    pub fn due(&self) -> Option<Duration> {
        self.due
    }

    /// The batch; empty if nothing waits.
    pub fn take_batch(&mut self) -> Vec<OutputPiece> {
        self.waiting = 0;
        self.due = None;
        self.passed_on |= !self.pieces.is_empty();
        std::mem::take(&mut self.pieces)
    }

    /// The batch could not be passed on.
    pub fn lose(&mut self, batch: &[OutputPiece]) {
        for piece in batch {
            let stream = if piece.stream == Stream::Stderr.name() {
                Stream::Stderr
            } else {
                Stream::Stdout
            };
            *self.lost.entry(stream).or_default() += piece.data.len() as u64 + piece.lost;
        }
    }

    /// Everything that a stream printed, once.
    pub fn take_text(&mut self, stream: Stream) -> String {
        self.kept.remove(&stream).unwrap_or_default()
    }

    /// Whether its end has to wait until something before it was sent.
    pub fn was_passed_on(&self) -> bool {
        self.passed_on
    }

    /// Whether something between the first piece and the last is missing.
    pub fn is_incomplete(&self) -> bool {
        self.incomplete
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(9);

    fn piece(stream: Stream, seq: u64, data: &str) -> Printed {
        Printed {
            stream,
            seq,
            data: data.into(),
        }
    }

    #[test]
    fn pieces_wait_for_each_other_a_moment() {
        let mut output = Output::new(1 << 20);
        assert_eq!(output.due(), None);
        assert!(output.take_batch().is_empty() && !output.was_passed_on());
        assert!(!output.push(piece(Stream::Stdout, 0, "a"), NOW, 1));
        assert!(!output.push(piece(Stream::Stderr, 1, "b"), NOW + EVERY / 2, 2));
        assert_eq!(output.due(), Some(NOW + EVERY), "the first one counts");
        let batch = output.take_batch();
        let told: Vec<(&str, &[u8])> = batch
            .iter()
            .map(|piece| (piece.stream.as_str(), piece.data.as_slice()))
            .collect();
        assert_eq!(told, [("stdout", &b"a"[..]), ("stderr", b"b")]);
        assert!(output.was_passed_on());
        assert_eq!((output.due(), output.take_batch().len()), (None, 0));
        let full = "x".repeat(MOST);
        assert!(output.push(piece(Stream::Stdout, 2, &full), NOW, 3));
        assert_eq!(output.take_text(Stream::Stdout).len(), MOST + 1);
        assert_eq!(output.take_text(Stream::Stderr), "b");
        assert!(!output.is_incomplete());
    }

    #[test]
    fn what_is_lost_is_told_with_the_next_piece_of_its_stream() {
        let mut output = Output::new(100);
        for seq in 0..2 {
            output.push(piece(Stream::Stdout, seq, "four"), NOW, 0);
            let batch = output.take_batch();
            output.lose(&batch);
        }
        output.push(piece(Stream::Stderr, 2, "e"), NOW, 0);
        output.push(piece(Stream::Stdout, 3, "o"), NOW, 0);
        let lost: Vec<u64> = output.take_batch().iter().map(|piece| piece.lost).collect();
        assert_eq!(lost, [0, 8]);
        assert_eq!(
            output.take_text(Stream::Stdout),
            "fourfouro",
            "the result has it"
        );
    }

    #[test]
    fn a_gap_is_noticed_and_a_repetition_is_not_printed_twice() {
        let mut output = Output::new(100);
        output.push(piece(Stream::Stdout, 0, "a"), NOW, 0);
        output.push(piece(Stream::Stdout, 0, "a"), NOW, 0);
        assert!(!output.is_incomplete());
        output.push(piece(Stream::Stdout, 2, "c"), NOW, 0);
        assert!(output.is_incomplete());
        assert_eq!(output.take_text(Stream::Stdout), "ac");
    }

    #[test]
    fn after_a_restart_it_goes_on_where_it_was() {
        let before = vec![piece(Stream::Stdout, 0, "a"), piece(Stream::Stderr, 1, "e")];
        let mut output = Output::resumed(100, before);
        assert!(output.take_batch().is_empty(), "that was passed on before");
        output.push(piece(Stream::Stdout, 1, "twice"), NOW, 0);
        output.push(piece(Stream::Stdout, 2, "b"), NOW, 0);
        assert_eq!(output.take_text(Stream::Stdout), "ab");
        assert!(!output.is_incomplete());
    }

    #[test]
    fn a_host_that_sends_too_much_is_not_believed() {
        let mut output = Output::new(10);
        output.push(piece(Stream::Stdout, 0, &"x".repeat(30)), NOW, 0);
        assert!(!output.is_incomplete());
        output.push(piece(Stream::Stdout, 1, "x"), NOW, 0);
        assert!(output.is_incomplete());
        assert_eq!(output.take_text(Stream::Stdout).len(), 30);
    }
}
