//! What happened, as a digest and as the last lines for people.

use super::Millis;
use std::collections::VecDeque;
use std::fmt;

/// FNV-1a over every line.
pub struct Trace {
    digest: u64,
    last: VecDeque<String>,
    most_lines: usize,
    /// Lines are written out; else only their times and numbers count.
    pub in_words: bool,
    pub steps: u64,
}

impl Trace {
    /// Keeps so many lines.
    pub fn new(in_words: bool, most_lines: usize) -> Trace {
        Trace {
            digest: 0xcbf2_9ce4_8422_2325,
            last: VecDeque::new(),
            most_lines,
            in_words,
            steps: 0,
        }
    }

    pub fn note(&mut self, at: Millis, number: u64, what: &dyn fmt::Display) {
        self.steps += 1;
        self.take_in(&at.to_le_bytes());
        self.take_in(&number.to_le_bytes());
        if self.in_words {
            let line = format!("{:>10.3} {what}", at as f64 / 1000.0);
            self.take_in(line.as_bytes());
            if self.last.len() >= self.most_lines {
                self.last.pop_front();
            }
            self.last.push_back(line);
        }
    }

    fn take_in(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.digest = (self.digest ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    pub fn digest(&self) -> u64 {
        self.digest
    }

    pub fn last(&self) -> impl Iterator<Item = &String> {
        self.last.iter()
    }
}
