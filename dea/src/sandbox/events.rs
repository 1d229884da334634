//! The stream of what happens in a sandbox.

use dea_shim::protocol::{Line, Notice, Numbered, Request, Splitter, frame_json, kind};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use super::ExitStatus;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SandboxEvent {
    /// One line of output, without its line end.
    Line {
        stderr: bool,
        /// When the supervisor read it.
        at_unix_ns: i64,
        payload: Vec<u8>,
    },
    /// Lines that were thrown away because nobody took them in time.
    LinesLost { count: u64 },
    /// The ordered process has ended (and every other process of the sandbox with it). Told again
    /// to every new listener until the sandbox is destroyed.
    Exited {
        status: ExitStatus,
        out_of_memory: bool,
        /// Bytes.
        peak_memory: u64,
    },
}

/// Acknowledge after this many events even if more wait, so that the supervisor's memory empties.
const ACKNOWLEDGE_EVERY: u64 = 64;

/// Receiver of a sandbox's events. One at a time: a new one takes over from the former.
///
/// An event counts as taken when the next is asked for: what was handed out last before a crash
/// of the agent comes once more after it.
pub struct Events {
    stream: UnixStream,
    splitter: Splitter,
    /// The last event handed out, and the last acknowledged.
    handed: u64,
    acknowledged: u64,
    /// An acknowledgement on its way, kept here so that dropping `recv` half-way loses no byte.
    outgoing: Vec<u8>,
}

impl Events {
    pub(super) fn new((stream, splitter): (UnixStream, Splitter)) -> Events {
        Events {
            stream,
            splitter,
            handed: 0,
            acknowledged: 0,
            outgoing: Vec::new(),
        }
    }

    /// The next event, or `None` when the sandbox is gone or another listener took over. Safe to
    /// drop half-way (in `select!`).
    pub async fn recv(&mut self) -> Option<SandboxEvent> {
        let mut buffer = vec![0u8; 64 * 1024];
        loop {
            let frame = self.splitter.next_frame().ok()?;
            if let Some((kind, body)) = frame {
                if self.handed - self.acknowledged >= ACKNOWLEDGE_EVERY {
                    self.acknowledge();
                }
                let (sequence, event) = decode(kind, &body)?;
                self.handed = self.handed.max(sequence);
                if let Some(event) = event {
                    return Some(event);
                }
                continue;
            }
            self.acknowledge();
            while !self.outgoing.is_empty() {
                let written = self.stream.write(&self.outgoing).await.ok()?;
                self.outgoing.drain(..written);
            }
            match self.stream.read(&mut buffer).await {
                Ok(length) if length > 0 => self.splitter.push(&buffer[..length]),
                _ => return None,
            }
        }
    }

    fn acknowledge(&mut self) {
        if self.handed > self.acknowledged {
            self.acknowledged = self.handed;
            let request = Request::Acknowledge {
                sequence: self.handed,
            };
            self.outgoing.extend(frame_json(kind::REQUEST, &request));
        }
    }
}

/// Outer `None`: nothing follows. Inner `None`: nothing to tell.
fn decode(kind: u8, body: &[u8]) -> Option<(u64, Option<SandboxEvent>)> {
    if kind == kind::LINE {
        let line = Line::decode(body)?;
        let event = SandboxEvent::Line {
            stderr: line.stderr,
            at_unix_ns: line.at_unix_ns,
            payload: line.payload,
        };
        return Some((line.sequence, Some(event)));
    }
    if kind != kind::NOTICE {
        return Some((0, None));
    }
    let Numbered { sequence, notice } = serde_json::from_slice(body).ok()?;
    let event = match notice {
        Notice::LinesLost { count } => SandboxEvent::LinesLost { count },
        Notice::Exited {
            status,
            out_of_memory,
            peak_memory,
        } => SandboxEvent::Exited {
            status,
            out_of_memory,
            peak_memory,
        },
        Notice::Gone => return None,
    };
    Some((sequence, Some(event)))
}
