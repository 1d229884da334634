//! What the agent and a session say to each other.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::protocol::{ExitStatus, ProtocolError, Splitter, frame, frame_json, kind};

/// What a session is for: its first message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Opening {
    Run {
        argv: Vec<String>,
        /// `NAME=value`: these over those of the application.
        env: Vec<String>,
        /// None: plain pipes.
        terminal: Option<Size>,
    },
    /// A connection that begins in the sandbox's network.
    Connect { to: SocketAddr },
}

/// Of a terminal, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Size {
    pub columns: u16,
    pub rows: u16,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToSession {
    Open(Opening),
    Input(Vec<u8>),
    InputEnded,
    Resize(Size),
    /// To the program and its process group.
    Signal(i32),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FromSession {
    Opened,
    /// Nothing was opened; the last message.
    Refused {
        problem: String,
    },
    Output(Vec<u8>),
    Errors(Vec<u8>),
    /// No more output.
    OutputEnded,
    /// The last message: the program has ended, with everything it left behind.
    Ended {
        status: ExitStatus,
    },
}

/// The messages without bytes of users.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Order {
    Open(Opening),
    InputEnded,
    Resize(Size),
    Signal(i32),
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum News {
    Opened,
    Refused { problem: String },
    OutputEnded,
    Ended { status: ExitStatus },
}

impl ToSession {
    pub fn encode(self) -> Vec<u8> {
        let order = match self {
            ToSession::Input(bytes) => return frame(kind::SESSION_INPUT, &bytes),
            ToSession::Open(opening) => Order::Open(opening),
            ToSession::InputEnded => Order::InputEnded,
            ToSession::Resize(size) => Order::Resize(size),
            ToSession::Signal(number) => Order::Signal(number),
        };
        frame_json(kind::SESSION, &order)
    }

    /// The next complete message.
    pub fn next(splitter: &mut Splitter) -> Result<Option<ToSession>, ProtocolError> {
        let Some((kind, body)) = splitter.next_frame()? else {
            return Ok(None);
        };
        Ok(Some(match kind {
            kind::SESSION_INPUT => ToSession::Input(body),
            kind::SESSION => match serde_json::from_slice(&body)? {
                Order::Open(opening) => ToSession::Open(opening),
                Order::InputEnded => ToSession::InputEnded,
                Order::Resize(size) => ToSession::Resize(size),
                Order::Signal(number) => ToSession::Signal(number),
            },
            other => return Err(ProtocolError::Unexpected(other as char)),
        }))
    }
}

impl FromSession {
    pub fn encode(self) -> Vec<u8> {
        let news = match self {
            FromSession::Output(bytes) => return frame(kind::SESSION_OUTPUT, &bytes),
            FromSession::Errors(bytes) => return frame(kind::SESSION_ERRORS, &bytes),
            FromSession::Opened => News::Opened,
            FromSession::Refused { problem } => News::Refused { problem },
            FromSession::OutputEnded => News::OutputEnded,
            FromSession::Ended { status } => News::Ended { status },
        };
        frame_json(kind::SESSION, &news)
    }

    /// The next complete message.
    pub fn next(splitter: &mut Splitter) -> Result<Option<FromSession>, ProtocolError> {
        let Some((kind, body)) = splitter.next_frame()? else {
            return Ok(None);
        };
        Ok(Some(match kind {
            kind::SESSION_OUTPUT => FromSession::Output(body),
            kind::SESSION_ERRORS => FromSession::Errors(body),
            kind::SESSION => match serde_json::from_slice(&body)? {
                News::Opened => FromSession::Opened,
                News::Refused { problem } => FromSession::Refused { problem },
                News::OutputEnded => FromSession::OutputEnded,
                News::Ended { status } => FromSession::Ended { status },
            },
            other => return Err(ProtocolError::Unexpected(other as char)),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_survive_the_way() {
        let size = Size {
            columns: 80,
            rows: 24,
        };
        let to = [
            ToSession::Open(Opening::Run {
                argv: vec!["id".into()],
                env: vec!["TERM=dumb".into()],
                terminal: Some(size),
            }),
            ToSession::Open(Opening::Connect {
                to: ([127, 0, 0, 1], 8080).into(),
            }),
            ToSession::Input(vec![0, 255]),
            ToSession::InputEnded,
            ToSession::Resize(size),
            ToSession::Signal(15),
        ];
        let mut splitter = Splitter::default();
        for message in &to {
            splitter.push(&message.clone().encode());
        }
        for message in to {
            assert_eq!(ToSession::next(&mut splitter).unwrap(), Some(message));
        }
        let from = [
            FromSession::Opened,
            FromSession::Refused {
                problem: "no".into(),
            },
            FromSession::Output(vec![1]),
            FromSession::Errors(vec![2]),
            FromSession::OutputEnded,
            FromSession::Ended {
                status: ExitStatus::Signal(9),
            },
        ];
        for message in &from {
            splitter.push(&message.clone().encode());
        }
        for message in from {
            assert_eq!(FromSession::next(&mut splitter).unwrap(), Some(message));
        }
        splitter.push(&frame(b'?', b""));
        assert!(FromSession::next(&mut splitter).is_err());
    }
}
