//! What the agent and the host processes of a pack's sandbox say to each other
//! (`python/yard_host/PROTOCOL.md`): frames of a length (u32, big endian) and one JSON object.
//!
//! There are two: one in Python, whose workers are forked from a warm interpreter and live for one
//! execution, and one for shell actions, whose workers stay. A host runs in the sandbox beside the code of packs, so its words are not trusted beyond their
//! form: what makes no sense ends the connection, and an event about an execution that nobody gave
//! it is ignored by whoever reads it.

pub use dea_shim::frames::frame;
use dea_shim::frames::{Decoder, FrameError};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// What this agent speaks.
pub const VERSION: u64 = 1;

#[derive(Debug, thiserror::Error)]
pub enum HostError {
    #[error("a frame of {0} bytes is too long")]
    TooLong(usize),
    #[error("a frame is no event that the protocol knows")]
    Malformed(#[source] serde_json::Error),
}

impl From<FrameError> for HostError {
    fn from(error: FrameError) -> HostError {
        match error {
            FrameError::TooLong(length) => HostError::TooLong(length),
            FrameError::Malformed(error) => HostError::Malformed(error),
        }
    }
}

/// Which of the two hosts of a sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostKind {
    Python,
    Shell,
}

impl HostKind {
    pub const BOTH: [HostKind; 2] = [HostKind::Python, HostKind::Shell];

    /// Its workers do not become what they start: they are one process more.
    pub fn worker_stays(self) -> bool {
        self == HostKind::Shell
    }
}

/// One event of a host.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum HostEvent {
    Hello {
        version: u64,
        running: Vec<RunningWorker>,
        idle: Vec<i32>,
    },
    /// A new idle worker, by its number inside.
    Worker {
        pid: i32,
    },
    WorkerLost {
        pid: i32,
    },
    Started {
        id: String,
        /// Unix milliseconds.
        at: i64,
    },
    Output {
        id: String,
        stream: Stream,
        seq: u64,
        data: String,
    },
    Exited {
        id: String,
        /// Its worker is idle again, and nothing of the execution is left in it.
        #[serde(default)]
        reusable: bool,
        /// Everything else of the event, for the result document.
        #[serde(flatten)]
        rest: Map<String, Value>,
    },
    Refused {
        request: Option<String>,
        id: Option<String>,
        code: String,
        problems: Vec<String>,
    },
    Pong,
    #[serde(other)]
    Unknown,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct RunningWorker {
    pub id: String,
    pub pid: i32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stream {
    Stdout,
    Stderr,
}

impl Stream {
    pub fn name(self) -> &'static str {
        match self {
            Stream::Stdout => "stdout",
            Stream::Stderr => "stderr",
        }
    }
}

pub fn stop(id: &str, grace_ms: u64) -> Vec<u8> {
    frame(&json!({ "request": "stop", "id": id, "grace_ms": grace_ms }))
}

pub fn forget(id: &str) -> Vec<u8> {
    frame(&json!({ "request": "forget", "id": id }))
}

pub fn prefork(count: usize) -> Vec<u8> {
    frame(&json!({ "request": "prefork", "count": count }))
}

/// An idle worker is not wanted any more.
pub fn retire(worker: i32) -> Vec<u8> {
    frame(&json!({ "request": "retire", "worker": worker }))
}

/// Where a pack has the libraries that it requires itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnEnvironment {
    /// Its environment, if it has an interpreter.
    pub prefix: Option<String>,
    pub folders: BTreeSet<String>,
}

/// The interpreter was started before its pack was known, whose environment this is.
pub fn enter(own: &OwnEnvironment) -> Vec<u8> {
    frame(&json!({ "request": "enter", "prefix": own.prefix, "path": own.folders }))
}

/// Its answer follows everything that the host had to tell before.
pub fn ping() -> Vec<u8> {
    frame(&json!({ "request": "ping", "nonce": 0 }))
}

/// Cuts a stream of bytes into events.
#[derive(Debug, Default)]
pub struct Splitter(Decoder);

impl Splitter {
    pub fn push(&mut self, bytes: &[u8]) {
        self.0.push(bytes);
    }

    pub fn next_event(&mut self) -> Result<Option<HostEvent>, HostError> {
        Ok(self.0.next_body()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(values: &[Value]) -> Vec<u8> {
        values.iter().flat_map(frame).collect()
    }

    #[test]
    fn events_survive_any_cutting() {
        let bytes = sent(&[
            json!({"event": "hello", "version": 1, "pid": 7, "python": "3.11.2",
                   "running": [{"id": "a", "pid": 9}], "idle": [8]}),
            json!({"event": "output", "id": "a", "stream": "stderr", "seq": 0, "data": "häm"}),
            json!({"event": "exited", "id": "a", "status": 0, "signal": null, "result": "{}"}),
            json!({"event": "pong", "nonce": 0, "idle": 1, "running": 0}),
            json!({"event": "from the future", "x": 1}),
        ]);
        for step in [1, 2, 3, 7, bytes.len()] {
            let mut splitter = Splitter::default();
            let mut events = Vec::new();
            for piece in bytes.chunks(step) {
                splitter.push(piece);
                while let Some(event) = splitter.next_event().expect("events") {
                    events.push(event);
                }
            }
            assert_eq!(events.len(), 5, "step {step}");
            assert!(
                matches!(&events[0], HostEvent::Hello { running, idle, .. } if running[0].pid == 9 && idle == &[8])
            );
            assert!(
                matches!(&events[1], HostEvent::Output { stream: Stream::Stderr, data, .. } if data == "häm")
            );
            let HostEvent::Exited { id, reusable, rest } = &events[2] else {
                panic!("{:?}", events[2])
            };
            assert_eq!((id.as_str(), &rest["status"]), ("a", &json!(0)));
            assert!(
                !reusable,
                "a worker is for one execution unless its host says otherwise"
            );
            assert_eq!(events[3..], [HostEvent::Pong, HostEvent::Unknown]);
        }
    }

    #[test]
    fn what_is_no_event_ends_it() {
        for bytes in [
            vec![0xff; 8],
            sent(&[json!([1])]),
            sent(&[json!({"event": "started", "id": 5, "at": 0})]),
        ] {
            let mut splitter = Splitter::default();
            splitter.push(&bytes);
            assert!(splitter.next_event().is_err());
        }
    }
}
