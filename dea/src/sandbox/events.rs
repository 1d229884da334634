//! The stream of what happens in a sandbox.

use super::ExitStatus;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SandboxEvent {
    /// One line of output, without its newline.
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

/// Receiver of a sandbox's events. One at a time: a new one takes over from the former.
pub struct Events {}

impl Events {
    /// The next event, or `None` when the sandbox is gone or another listener took over. Taking an event acknowledges
    /// the one before. Safe to drop half-way (in `select!`).
    pub async fn recv(&mut self) -> Option<SandboxEvent> {
        None
    }
}
