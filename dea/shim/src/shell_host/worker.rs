//! A slot as the host has it: its process, its connection, what runs in it.

use super::ahead::Ahead;
use super::execution::Execution;
use super::slot::{self, Report, Surroundings, Word};
use super::{WATCH_AFTER, orders};
use crate::protocol::{Splitter, frame_json, kind};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use serde_json::Value;
use std::fs::File;
use std::io::{self, ErrorKind, IoSlice, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Instant;

pub(super) struct Worker {
    pub(super) pid: i32,
    pub(super) control: UnixStream,
    /// Of its order, what its connection did not take at once.
    pub(super) outgoing: Vec<u8>,
    pub(super) awaits_writable: bool,
    pub(super) splitter: Splitter,
    pub(super) execution: Option<Execution>,
    /// Read ends of stdout and stderr, until they have ended.
    pub(super) pipes: [Option<File>; 2],
    pub(super) watched: bool,
    pub(super) watch_at: Option<Instant>,
    pub(super) report: Option<Report>,
    pub(super) drain_until: Option<Instant>,
    /// The process has ended.
    pub(super) gone: bool,
    /// A shell waits in it.
    pub(super) ahead: Option<Ahead>,
    /// With which a shell would be started ahead for another run like its last one.
    pub(super) like_the_last: Option<Surroundings>,
}

impl Worker {
    pub(super) fn new(pid: i32, control: UnixStream) -> Worker {
        Worker {
            pid,
            control,
            outgoing: Vec::new(),
            awaits_writable: false,
            splitter: Splitter::default(),
            execution: None,
            pipes: [None, None],
            watched: false,
            watch_at: None,
            report: None,
            drain_until: None,
            gone: false,
            ahead: None,
            like_the_last: None,
        }
    }

    /// Whether a shell waits in it from now on.
    pub(super) fn start_ahead(&mut self) -> bool {
        let Some(surroundings) = &self.like_the_last else {
            return false;
        };
        if self.ahead.is_some() || !self.outgoing.is_empty() {
            return false;
        }
        match Ahead::order(&self.control, surroundings) {
            Ok(ahead) => self.ahead = Some(ahead),
            Err(error) => eprintln!("shell host: a shell was not started ahead: {error}"),
        }
        self.ahead.is_some()
    }

    /// Begins with it; the event of its start.
    pub(super) fn begin(&mut self, run: &orders::Run, order: &[u8]) -> io::Result<Value> {
        self.like_the_last = Surroundings::of(run);
        let given = self.ahead.take().and_then(|ahead| ahead.give(run));
        match given {
            Some(outputs) => {
                self.pipes = outputs;
                self.outgoing
                    .extend(frame_json(kind::SLOT, &Word::<()>::Begun));
                self.send()?;
            }
            None => self.hand_over(run, order)?,
        }
        let now = Instant::now();
        self.watch_at = Some(now + WATCH_AFTER);
        let execution = self.execution.insert(Execution::new(run, self.pid, now));
        Ok(execution.started())
    }

    /// Has it started from its beginning.
    fn hand_over(&mut self, run: &orders::Run, order: &[u8]) -> io::Result<()> {
        let (stdout, stdout_writer) = pipe()?;
        let (stderr, stderr_writer) = pipe()?;
        let mut given = vec![stdout_writer.as_raw_fd(), stderr_writer.as_raw_fd()];
        let command = run.command.as_deref().map(hidden).transpose()?;
        given.extend(command.as_ref().map(AsRawFd::as_raw_fd));
        let rights = [ControlMessage::ScmRights(&given)];
        let flags = MsgFlags::MSG_NOSIGNAL;
        let parts = [IoSlice::new(order)];
        let sent = sendmsg::<()>(self.control.as_raw_fd(), &parts, &rights, flags, None)?;
        self.outgoing.extend_from_slice(&order[sent..]);
        self.pipes = [Some(stdout), Some(stderr)];
        Ok(())
    }

    pub(super) fn send(&mut self) -> io::Result<()> {
        let sent = match self.control.write(&self.outgoing) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            outcome => outcome?,
        };
        self.outgoing.drain(..sent);
        Ok(())
    }

    /// As it was before its execution.
    pub(super) fn rest(&mut self) {
        self.pipes = [None, None];
        (self.watched, self.watch_at, self.drain_until) = (false, None, None);
    }
}

pub(super) fn pipe() -> io::Result<(File, OwnedFd)> {
    let (reader, writer) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC)?;
    let flags = nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK);
    nix::fcntl::fcntl(reader.as_fd(), flags)?;
    Ok((File::from(reader), writer))
}

/// The command in a memory file, which the shell reads as it reads a script. The first thing the script does
/// is to close the descriptor (the shell has its own by then), so that its children do not get the text.
fn hidden(command: &str) -> io::Result<OwnedFd> {
    let mut file = File::from(memfd_create(c"command", MFdFlags::MFD_CLOEXEC)?);
    let text = format!("exec {}<&-;{command}\n", slot::COMMAND_DESCRIPTOR);
    file.write_all(text.as_bytes())?;
    Ok(OwnedFd::from(file))
}
