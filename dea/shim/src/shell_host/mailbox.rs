//! Events on their way to the client.
//!
//! They outlive a connection: what was not sent waits for the next client, and how an execution ended is
//! kept until the client says that it took it in. The wait is bounded: above [`HIGH`] bytes the host stops
//! reading output.

use crate::frames;
use serde_json::Value;
use std::collections::{BTreeSet, VecDeque};
use std::io::{self, ErrorKind, Write};

pub const HIGH: usize = 4 << 20;
pub const LOW: usize = 1 << 20;
const KEPT_ENDS: usize = 1024;
const KEPT_BYTES: usize = 64 << 20;

#[derive(Debug, Default)]
pub struct Mailbox {
    /// Frames, and of an end its execution.
    waiting: VecDeque<(Vec<u8>, Option<String>)>,
    waiting_bytes: usize,
    sent_of_first: usize,
    /// Oldest first; they are few, or forgotten in this order.
    ends: VecDeque<(String, Vec<u8>)>,
    ends_bytes: usize,
}

impl Mailbox {
    pub fn waiting_bytes(&self) -> usize {
        self.waiting_bytes
    }

    pub fn put(&mut self, event: &Value) {
        self.push(frames::frame(event), None);
    }

    /// An end is repeated to each client until it is forgotten.
    pub fn put_end(&mut self, id: &str, event: &Value) {
        let frame = frames::frame(event);
        self.push(frame.clone(), Some(id.to_string()));
        self.ends_bytes += frame.len();
        self.ends.push_back((id.to_string(), frame));
        while self.ends.len() > KEPT_ENDS || (self.ends_bytes > KEPT_BYTES && self.ends.len() > 1) {
            if let Some((_, frame)) = self.ends.pop_front() {
                self.ends_bytes -= frame.len();
            }
        }
    }

    pub fn knows_end_of(&self, id: &str) -> bool {
        self.ends.iter().any(|(ended, _)| ended == id)
    }

    /// False: there is no such end.
    pub fn forget(&mut self, id: &str) -> bool {
        let Some(at) = self.ends.iter().position(|(ended, _)| ended == id) else {
            return false;
        };
        if let Some((_, frame)) = self.ends.remove(at) {
            self.ends_bytes -= frame.len();
        }
        true
    }

    /// For a new client: the greeting, what was not sent, and the ends that were sent but not forgotten.
    pub fn greet(&mut self, hello: &Value) {
        let unsent = std::mem::take(&mut self.waiting);
        (self.waiting_bytes, self.sent_of_first) = (0, 0);
        let told: BTreeSet<String> = unsent.iter().filter_map(|(_, id)| id.clone()).collect();
        self.push(frames::frame(hello), None);
        for (frame, id) in unsent {
            self.push(frame, id);
        }
        let again: Vec<_> = self
            .ends
            .iter()
            .filter(|(id, _)| !told.contains(id))
            .cloned()
            .collect();
        for (id, frame) in again {
            self.push(frame, Some(id));
        }
    }

    /// Sends what the connection takes. True: nothing is left.
    pub fn send(&mut self, connection: &mut impl Write) -> io::Result<bool> {
        while !self.waiting.is_empty() {
            let (first, others) = (self.sent_of_first, self.waiting.iter());
            let mut parts: Vec<io::IoSlice<'_>> = others
                .take(64)
                .map(|(frame, _)| io::IoSlice::new(frame))
                .collect();
            parts[0].advance(first);
            let mut sent = match connection.write_vectored(&parts) {
                Ok(sent) => sent,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            self.waiting_bytes -= sent;
            while let Some((frame, _)) = self.waiting.front() {
                let left = frame.len() - self.sent_of_first;
                if sent < left {
                    self.sent_of_first += sent;
                    break;
                }
                sent -= left;
                self.sent_of_first = 0;
                self.waiting.pop_front();
            }
        }
        Ok(true)
    }

    fn push(&mut self, frame: Vec<u8>, id: Option<String>) {
        self.waiting_bytes += frame.len();
        self.waiting.push_back((frame, id));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Takes so many bytes, then no more.
    struct Narrow(Vec<u8>, usize);

    impl Write for Narrow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let length = bytes.len().min(self.1);
            if length == 0 {
                return Err(ErrorKind::WouldBlock.into());
            }
            self.1 -= length;
            self.0.extend_from_slice(&bytes[..length]);
            Ok(length)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn told(bytes: &[u8]) -> Vec<Value> {
        let mut decoder = frames::Decoder::default();
        decoder.push(bytes);
        std::iter::from_fn(|| decoder.next_body().unwrap().map(Value::Object)).collect()
    }

    #[test]
    fn events_arrive_whole_however_little_is_taken_at_a_time() {
        let mut mailbox = Mailbox::default();
        let events = [
            json!({"event": "a"}),
            json!({"event": "b", "data": "x".repeat(50)}),
        ];
        events.iter().for_each(|event| mailbox.put(event));
        let mut received = Vec::new();
        loop {
            let mut connection = Narrow(Vec::new(), 7);
            let done = mailbox.send(&mut connection).unwrap();
            received.extend(connection.0);
            if done {
                break;
            }
        }
        assert_eq!(told(&received), events);
        assert_eq!(mailbox.waiting_bytes(), 0);
    }

    #[test]
    fn a_new_client_hears_what_was_not_sent_and_every_end_that_is_not_forgotten() {
        let mut mailbox = Mailbox::default();
        let end = |id: &str| json!({"event": "exited", "id": id});
        for id in ["a", "b"] {
            mailbox.put_end(id, &end(id));
        }
        let mut first = Narrow(Vec::new(), usize::MAX);
        assert!(mailbox.send(&mut first).unwrap());
        assert!(mailbox.forget("a") && !mailbox.forget("a"));
        mailbox.put(&json!({"event": "output"}));
        mailbox.put_end("c", &end("c"));
        mailbox.greet(&json!({"event": "hello"}));
        let mut second = Narrow(Vec::new(), usize::MAX);
        mailbox.send(&mut second).unwrap();
        let hello = json!({"event": "hello"});
        assert_eq!(
            told(&second.0),
            [hello, json!({"event": "output"}), end("c"), end("b")]
        );
        assert!(mailbox.knows_end_of("b") && !mailbox.knows_end_of("a"));
    }

    #[test]
    fn only_so_many_ends_are_kept() {
        let mut mailbox = Mailbox::default();
        for number in 0..=KEPT_ENDS {
            mailbox.put_end(&number.to_string(), &json!({}));
        }
        assert!(!mailbox.knows_end_of("0") && mailbox.knows_end_of("1"));
    }
}
