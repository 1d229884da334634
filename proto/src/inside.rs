//! The stream between `ssh-proxy` and an agent: one TCP connection for each session inside an instance.
//!
//! ```text
//! ssh-proxy ── Hello{ticket}, Open, Input… ──▶ agent ──▶ sandbox
//!           ◀── Opened, Output…, Ended ──────
//! ```
//! The proxy connects. An agent on another machine, which it cannot reach, connects to the proxy instead and says
//! Called{ticket} first, so that the proxy knows which session it is for; then all goes on as above.
//!
//! A message is a length (u32, big endian), a kind (one byte) and a body: JSON, except the users' own bytes,
//! which travel as they are. The ticket is what the controller told the agent over the bus a moment before
//! ([`crate::bus::dea::EnterInstance`]); without one of its tickets an agent says nothing and hangs up.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Largest message either side accepts.
pub const LIMIT: usize = 1 << 20;

/// What a session is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Opening {
    /// A shell, or one command in it.
    Run {
        command: Option<String>,
        /// Over those of the app.
        environment: BTreeMap<String, String>,
        terminal: Option<Terminal>,
    },
    /// The file transfer program of the app's stack.
    Transfer,
    /// A connection that begins in the instance's network.
    Connect { host: String, port: u16 },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terminal {
    /// The value of `TERM`.
    pub kind: String,
    #[serde(flatten)]
    pub size: Size,
}

/// Of a terminal, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Size {
    pub columns: u16,
    pub rows: u16,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToInstance {
    /// The first message.
    Hello {
        ticket: String,
    },
    /// The second one.
    Open(Opening),
    Input(Vec<u8>),
    InputEnded,
    Resize(Size),
    /// To the program and its process group, by number.
    Signal(i32),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FromInstance {
    /// The first message of an agent that connected itself.
    Called {
        ticket: String,
    },
    Opened,
    /// Nothing was opened; the last message.
    Refused {
        problem: String,
    },
    Output(Vec<u8>),
    Errors(Vec<u8>),
    /// No more output.
    OutputEnded,
    /// The last message.
    Ended(End),
}

/// How a session's program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    Status(i32),
    Signal(i32),
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Order {
    Hello { ticket: String },
    Open(Opening),
    InputEnded,
    Resize(Size),
    Signal(i32),
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum News {
    Called { ticket: String },
    Opened,
    Refused { problem: String },
    OutputEnded,
    Ended(End),
}

/// Bytes that are no message of this stream.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoMessage {
    #[error("a message of {0} bytes is too long or empty")]
    Length(usize),
    #[error("a message of the kind {0:?} was not expected")]
    Kind(char),
    #[error("a message does not read: {0}")]
    Body(String),
}

const WORDS: u8 = b'w';
const INPUT: u8 = b'0';
const OUTPUT: u8 = b'1';
const ERRORS: u8 = b'2';

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 1).unwrap_or(u32::MAX);
    let mut bytes = Vec::with_capacity(body.len() + 5);
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.push(kind);
    bytes.extend_from_slice(body);
    bytes
}

fn words(value: &impl Serialize) -> Vec<u8> {
    let body = serde_json::to_vec(value).expect("the messages have text keys only");
    message(WORDS, &body)
}

fn read<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, NoMessage> {
    serde_json::from_slice(body).map_err(|error| NoMessage::Body(error.to_string()))
}

impl ToInstance {
    pub fn encode(self) -> Vec<u8> {
        words(&match self {
            ToInstance::Input(bytes) => return message(INPUT, &bytes),
            ToInstance::Hello { ticket } => Order::Hello { ticket },
            ToInstance::Open(opening) => Order::Open(opening),
            ToInstance::InputEnded => Order::InputEnded,
            ToInstance::Resize(size) => Order::Resize(size),
            ToInstance::Signal(number) => Order::Signal(number),
        })
    }

    /// The next complete message.
    pub fn next(stream: &mut Splitter) -> Result<Option<ToInstance>, NoMessage> {
        let Some((kind, body)) = stream.next_message()? else {
            return Ok(None);
        };
        Ok(Some(match kind {
            INPUT => ToInstance::Input(body),
            WORDS => match read(&body)? {
                Order::Hello { ticket } => ToInstance::Hello { ticket },
                Order::Open(opening) => ToInstance::Open(opening),
                Order::InputEnded => ToInstance::InputEnded,
                Order::Resize(size) => ToInstance::Resize(size),
                Order::Signal(number) => ToInstance::Signal(number),
            },
            other => return Err(NoMessage::Kind(other.into())),
        }))
    }
}

impl FromInstance {
    pub fn encode(self) -> Vec<u8> {
        words(&match self {
            FromInstance::Output(bytes) => return message(OUTPUT, &bytes),
            FromInstance::Errors(bytes) => return message(ERRORS, &bytes),
            FromInstance::Called { ticket } => News::Called { ticket },
            FromInstance::Opened => News::Opened,
            FromInstance::Refused { problem } => News::Refused { problem },
            FromInstance::OutputEnded => News::OutputEnded,
            FromInstance::Ended(end) => News::Ended(end),
        })
    }

    /// The next complete message.
    pub fn next(stream: &mut Splitter) -> Result<Option<FromInstance>, NoMessage> {
        let Some((kind, body)) = stream.next_message()? else {
            return Ok(None);
        };
        Ok(Some(match kind {
            OUTPUT => FromInstance::Output(body),
            ERRORS => FromInstance::Errors(body),
            WORDS => match read(&body)? {
                News::Called { ticket } => FromInstance::Called { ticket },
                News::Opened => FromInstance::Opened,
                News::Refused { problem } => FromInstance::Refused { problem },
                News::OutputEnded => FromInstance::OutputEnded,
                News::Ended(end) => FromInstance::Ended(end),
            },
            other => return Err(NoMessage::Kind(other.into())),
        }))
    }
}

/// Cuts the stream into messages.
#[derive(Debug, Default)]
pub struct Splitter {
    bytes: Vec<u8>,
}

impl Splitter {
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    fn next_message(&mut self) -> Result<Option<(u8, Vec<u8>)>, NoMessage> {
        let Some(header) = self.bytes.first_chunk::<4>() else {
            return Ok(None);
        };
        let length = u32::from_be_bytes(*header) as usize;
        if length == 0 || length > LIMIT {
            return Err(NoMessage::Length(length));
        }
        if self.bytes.len() < 4 + length {
            return Ok(None);
        }
        let message = (self.bytes[4], self.bytes[5..4 + length].to_vec());
        self.bytes.drain(..4 + length);
        Ok(Some(message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_survive_any_cutting() {
        let size = Size {
            columns: 80,
            rows: 24,
        };
        let sent = [
            ToInstance::Hello { ticket: "t".into() },
            ToInstance::Open(Opening::Run {
                command: Some("id".into()),
                environment: BTreeMap::from([("A".into(), "1".into())]),
                terminal: Some(Terminal {
                    kind: "xterm".into(),
                    size,
                }),
            }),
            ToInstance::Open(Opening::Transfer),
            ToInstance::Open(Opening::Connect {
                host: "localhost".into(),
                port: 80,
            }),
            ToInstance::Input(vec![0, 255, b'\n']),
            ToInstance::InputEnded,
            ToInstance::Resize(size),
            ToInstance::Signal(2),
        ];
        let bytes: Vec<u8> = sent
            .iter()
            .flat_map(|message| message.clone().encode())
            .collect();
        for step in 1..40 {
            let mut stream = Splitter::default();
            let mut got = Vec::new();
            for piece in bytes.chunks(step) {
                stream.push(piece);
                while let Some(message) = ToInstance::next(&mut stream).unwrap() {
                    got.push(message);
                }
            }
            assert_eq!(got, sent, "in pieces of {step}");
        }
    }

    #[test]
    fn answers_survive_the_way() {
        let sent = [
            FromInstance::Called { ticket: "t".into() },
            FromInstance::Opened,
            FromInstance::Refused {
                problem: "no".into(),
            },
            FromInstance::Output(vec![1]),
            FromInstance::Errors(vec![]),
            FromInstance::OutputEnded,
            FromInstance::Ended(End::Status(3)),
            FromInstance::Ended(End::Signal(9)),
        ];
        let mut stream = Splitter::default();
        for message in &sent {
            stream.push(&message.clone().encode());
        }
        for message in sent {
            assert_eq!(FromInstance::next(&mut stream).unwrap(), Some(message));
        }
    }

    #[test]
    fn what_is_no_message_is_refused() {
        for bytes in [
            vec![0, 0, 0, 0],
            vec![0xff; 5],
            message(b'?', b""),
            message(WORDS, b"{"),
        ] {
            let mut stream = Splitter::default();
            stream.push(&bytes);
            assert!(ToInstance::next(&mut stream).is_err(), "{bytes:?}");
        }
    }
}
