//! What the agent, the supervisor and the init say to each other.
//!
//! ```text
//! agent ──unix socket──▶ supervisor ──inherited descriptor──▶ init (process 1 of the sandbox)
//!       ◀── events ────             ◀── started, exited ────
//! ```
//! Every message is a frame: a length (u32, big endian), a kind (one byte) and a body. Bodies are
//! JSON, except a line of the application's output, which may be any bytes and must not be
//! inflated by an encoding: it has a fixed header and the bytes as they came.
//!
//! The agent and the supervisor of a running sandbox may be of different versions (the agent is
//! replaced while applications run): fields are only ever added, with a default.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Largest body either side accepts: a start command with a large environment fits amply.
pub const FRAME_LIMIT: usize = 8 << 20;

/// What to run in a prepared sandbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Orders {
    /// Program and arguments; a program without a slash is looked up in the `PATH` of `env`.
    pub argv: Vec<String>,
    /// `NAME=value` entries: the complete environment.
    pub env: Vec<String>,
    /// Working directory, a path in the sandbox.
    pub cwd: String,
    pub uid: u32,
    pub gid: u32,
    /// Open files (soft and hard limit); at most what the sandbox was prepared with.
    pub fds: u64,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExitStatus {
    Code(i32),
    Signal(i32),
}

impl ExitStatus {
    /// The single number of shells and of the reports: a signal n is 128 + n.
    pub fn code(self) -> i32 {
        match self {
            ExitStatus::Code(code) => code,
            ExitStatus::Signal(signal) => 128 + signal,
        }
    }
}

impl std::fmt::Display for ExitStatus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ExitStatus::Code(code) => write!(f, "exit status {code}"),
            ExitStatus::Signal(signal) => write!(f, "signal {signal}"),
        }
    }
}

/// The supervisor's instructions to the init.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToInit {
    Order(Orders),
    /// `everyone`: each process of the sandbox but the init, else the ordered process's group.
    Signal {
        number: i32,
        everyone: bool,
    },
    /// Open a session beside the ordered program, as its user ([`crate::session`]). Its connection comes
    /// with this message.
    Enter,
    /// End, and thereby the sandbox.
    Exit,
}

/// The init's reports.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FromInit {
    /// Waiting for orders.
    Ready,
    /// The ordered program runs; its pid as the sandbox sees it.
    Started { pid: i32 },
    /// The ordered program could not be started.
    Refused { problem: String },
    /// The ordered program ended; by now no other process of the sandbox is left either.
    Exited { status: ExitStatus },
}

/// Everything the supervisor needs to make a sandbox; read from `spec.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    pub id: String,
    /// The OCI runtime and its state folder.
    pub runtime: PathBuf,
    pub runtime_root: PathBuf,
    /// The bundle: `config.json` is there already.
    pub bundle: PathBuf,
    /// Sparse file to copy, and where to copy it to: the disk layer.
    pub disk_template: PathBuf,
    pub disk_image: PathBuf,
    /// Where the disk layer is mounted on the host; `root/` in it is the root file system.
    pub disk_mount: PathBuf,
    /// Folder for short-lived mounts of the supervisor.
    pub scratch: PathBuf,
    pub socket: PathBuf,
    pub lock: PathBuf,
    /// The first host uid and gid of the sandbox's range.
    pub uid_base: u32,
    /// Files to write in the root file system: path without leading slash, content.
    pub files: Vec<(String, String)>,
    pub cgroup: String,
    pub memory_bytes: u64,
    pub network: Option<NetworkSpec>,
    /// Most inotify instances and watches the sandbox may hold.
    pub inotify_instances: u64,
    pub inotify_watches: u64,
    /// Bytes of output kept while nobody listens.
    pub backlog_bytes: usize,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkSpec {
    /// The host's end.
    pub interface: String,
    pub address: Ipv4Addr,
    pub gateway: Ipv4Addr,
    pub mtu: u32,
    /// Let packets that are redirected to the host's loopback pass (for the router).
    pub route_localnet: bool,
}

/// What a prepared sandbox gets when somebody takes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assignment {
    pub hostname: String,
    /// As in [`Spec::files`]; what is there is replaced.
    pub files: Vec<(String, String)>,
    pub memory_bytes: u64,
    pub cpu_shares: u64,
    pub pids: u64,
}

/// What the agent asks of a supervisor; every request has one [`Reply`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// Who is there?
    Hello,
    Order(Orders),
    /// The same for a program of ours that runs nothing of anybody else yet: mounts stay possible
    /// until [`Request::Seal`].
    OrderUnsealed(Orders),
    /// From now on somebody else's code may run: there are no more mounts.
    Seal,
    /// A sandbox that was prepared for anybody gets what is its user's own.
    Assign(Assignment),
    /// Show `lower` at `target` with a writable layer on the disk.
    MountDroplet {
        lower: PathBuf,
        target: String,
    },
    /// Show a file or folder of the host read-only.
    Bind {
        source: PathBuf,
        target: String,
    },
    Signal {
        number: i32,
        everyone: bool,
    },
    /// Open a session beside the ordered program, also after its end. The session's connection comes with
    /// this message; it says itself what became of it.
    Enter,
    /// From now on send events on this connection, from the first unacknowledged.
    Listen,
    /// Events up to this one need not be kept. The only request without a reply.
    Acknowledge {
        sequence: u64,
    },
    /// Kill everything and end. Answered when the last process is gone.
    Quit,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// `init`: pid on the host of the sandbox's process 1, which the supervisor has not reaped
    /// (so the number is not reused while the supervisor says so).
    Hello {
        id: String,
        init: i32,
        ordered: bool,
    },
    Done,
    /// The droplet was copied because this kernel cannot share it.
    Copied,
    Failed {
        problem: String,
    },
}

/// What happened, for whoever listens. Lines travel in their own kind of frame.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Notice {
    LinesLost {
        count: u64,
    },
    Exited {
        status: ExitStatus,
        out_of_memory: bool,
        peak_memory: u64,
    },
    /// The sandbox's own init ended, nothing will follow.
    Gone,
}

/// The kinds of frames.
pub mod kind {
    pub const INIT: u8 = b'i';
    pub const REQUEST: u8 = b'q';
    pub const REPLY: u8 = b'r';
    pub const LINE: u8 = b'l';
    pub const NOTICE: u8 = b'n';
    /// To a session and from it ([`crate::session::words`]).
    pub const SESSION: u8 = b'j';
    pub const SESSION_INPUT: u8 = b'0';
    pub const SESSION_OUTPUT: u8 = b'1';
    pub const SESSION_ERRORS: u8 = b'2';
    /// Between the host of shell actions and its slots.
    pub const SLOT: u8 = b's';
}

/// One line of output as it travels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    pub sequence: u64,
    pub at_unix_ns: i64,
    pub stderr: bool,
    pub payload: Vec<u8>,
}

const LINE_HEADER: usize = 17;

impl Line {
    pub fn encode(&self) -> Vec<u8> {
        let mut body = Vec::with_capacity(LINE_HEADER + self.payload.len());
        body.extend_from_slice(&self.sequence.to_be_bytes());
        body.extend_from_slice(&self.at_unix_ns.to_be_bytes());
        body.push(self.stderr.into());
        body.extend_from_slice(&self.payload);
        frame(kind::LINE, &body)
    }

    pub fn decode(body: &[u8]) -> Option<Line> {
        let (header, payload) = body.split_first_chunk::<LINE_HEADER>()?;
        Some(Line {
            sequence: u64::from_be_bytes(*header.first_chunk::<8>()?),
            at_unix_ns: i64::from_be_bytes(*header[8..].first_chunk::<8>()?),
            stderr: header[16] != 0,
            payload: payload.to_vec(),
        })
    }
}

/// A notice with its place in the stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Numbered {
    pub sequence: u64,
    pub notice: Notice,
}

/// A complete frame.
pub fn frame(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(body.len() + 5);
    bytes.extend_from_slice(&(body.len() as u32 + 1).to_be_bytes());
    bytes.push(kind);
    bytes.extend_from_slice(body);
    bytes
}

/// A complete frame with a JSON body.
pub fn frame_json<T: Serialize>(kind: u8, value: &T) -> Vec<u8> {
    let body = serde_json::to_vec(value).expect("protocol types have only string keys");
    frame(kind, &body)
}

#[derive(Debug, thiserror::Error)]
pub enum ProtocolError {
    #[error("a frame of {0} bytes is too long")]
    TooLong(usize),
    #[error("a frame of kind {0:?} was not expected")]
    Unexpected(char),
    #[error("malformed message")]
    Malformed(#[from] serde_json::Error),
}

/// Cuts a stream of bytes into frames.
#[derive(Debug, Default)]
pub struct Splitter {
    bytes: Vec<u8>,
}

impl Splitter {
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The next complete frame: kind and body.
    pub fn next_frame(&mut self) -> Result<Option<(u8, Vec<u8>)>, ProtocolError> {
        let Some(header) = self.bytes.first_chunk::<4>() else {
            return Ok(None);
        };
        let length = u32::from_be_bytes(*header) as usize;
        if length == 0 || length > FRAME_LIMIT {
            return Err(ProtocolError::TooLong(length));
        }
        if self.bytes.len() < 4 + length {
            return Ok(None);
        }
        let kind = self.bytes[4];
        let body = self.bytes[5..4 + length].to_vec();
        self.bytes.drain(..4 + length);
        Ok(Some((kind, body)))
    }

    /// The next complete frame if it is of the one kind that may come, parsed.
    pub fn next_json<T: serde::de::DeserializeOwned>(
        &mut self,
        expected: u8,
    ) -> Result<Option<T>, ProtocolError> {
        match self.next_frame()? {
            None => Ok(None),
            Some((kind, body)) if kind == expected => Ok(Some(serde_json::from_slice(&body)?)),
            Some((kind, _)) => Err(ProtocolError::Unexpected(kind as char)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_survive_any_cutting() {
        let orders = ToInit::Signal {
            number: 15,
            everyone: false,
        };
        let line = Line {
            sequence: 3,
            at_unix_ns: -5,
            stderr: true,
            payload: vec![0, 255, b'x'],
        };
        let mut stream = frame_json(kind::INIT, &orders);
        stream.extend(line.encode());
        for step in 1..stream.len() {
            let mut splitter = Splitter::default();
            let mut frames = Vec::new();
            for piece in stream.chunks(step) {
                splitter.push(piece);
                while let Some(frame) = splitter.next_frame().unwrap() {
                    frames.push(frame);
                }
            }
            assert_eq!(frames.len(), 2, "step {step}");
            assert_eq!(frames[0].0, kind::INIT);
            assert_eq!(
                serde_json::from_slice::<ToInit>(&frames[0].1).unwrap(),
                orders
            );
            assert_eq!(Line::decode(&frames[1].1).unwrap(), line);
        }
    }

    #[test]
    fn a_monstrous_or_empty_frame_is_refused() {
        for header in [[0xff; 4], [0; 4]] {
            let mut splitter = Splitter::default();
            splitter.push(&header);
            assert!(splitter.next_frame().is_err());
        }
        assert_eq!(Line::decode(b"short"), None);
    }

    #[test]
    fn exit_statuses_become_the_numbers_of_shells() {
        assert_eq!(ExitStatus::Code(3).code(), 3);
        assert_eq!(ExitStatus::Signal(9).code(), 137);
    }
}
