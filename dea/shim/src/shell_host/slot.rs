//! A slot: the process that stays in a control group and starts one program after the other there.
//!
//! ```text
//!   host ──word, descriptors───▶ slot ──launch──▶ program ──forks──▶ …
//!        ◀──────ended───────────      ◀─────── orphans ────────────┘
//! ```
//! Why it exists: moving a process into a control group makes the kernel wait for all processors (7 to 15 ms
//! after a quiet moment), and making and removing a group costs as much as a small program. A child is born
//! in the group of its parent, so the group stays, with this process in it, and the moving is done once.
//!
//! When its program has ended the slot ends what is left of it. It adopts every orphan, so whatever was
//! started in the group is below it: once it has no children, the group holds nobody but the slot. Only then
//! does it report, and only then may it be given the next order.
//!
//! It is a child of the host and of its making, but shares nothing with it besides its connection.

use super::ahead;
use super::orders::LIMITS;
use super::tree;
use super::users::User;
use crate::protocol::{Splitter, frame_json, kind};
use nix::sys::signal::Signal;
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use serde::{Deserialize, Serialize};
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use sys::launch::{Failure, Identity, Launch, Step, launch};
use sys::process::{receive_with_descriptors, reset_signals, wait_for_any};

pub const SHELL: &str = "/bin/sh";
/// One digit: some shells can close no higher one.
pub const COMMAND_DESCRIPTOR: i32 = 9;
/// Of a shell that waits.
pub const GATE_DESCRIPTOR: i32 = 8;
/// Above that of the host, which is started with 500: the kernel takes programs before the host. They have it
/// from their slot, because setting it costs as much as ten other system calls; of both the kernel takes the
/// larger.
const OUT_OF_MEMORY: &str = "800";
const DEFAULT_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// What a slot is told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Word<O = Order> {
    /// Start this. Standard output, standard error and the command come as descriptors.
    Run(O),
    /// Start a shell that waits for its command; as above, and the gate.
    Wait(Surroundings),
    /// The shell that waits has its command: tell its end.
    Begun,
}

/// Of a shell that waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Surroundings {
    pub user: Option<User>,
    pub folder: String,
}

/// What a slot is to start.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Order {
    /// The program first. `None`: a text for the shell, which comes in a file of its own: it may hold secrets,
    /// and a command line is shown to everyone.
    pub arguments: Option<Vec<String>>,
    /// `NAME=value`; `None`: that of the host.
    pub environment: Option<Vec<String>>,
    pub folder: String,
    /// Whom it runs as; of an unknown one the name. `None`: as the host.
    pub user: Option<Result<User, String>>,
    /// By the names of the protocol.
    pub limits: Vec<(String, u64)>,
}

/// How it ended. By now nothing of it is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    pub status: Option<i32>,
    pub signal: Option<i32>,
    pub cpu_ms: u64,
    pub most_memory_bytes: u64,
}

/// Why a program could not be started: for the user, on its standard error.
struct Refusal {
    status: i32,
    text: String,
}

/// What came with a word.
struct Given {
    stdout: OwnedFd,
    stderr: OwnedFd,
    command: Option<OwnedFd>,
    gate: Option<OwnedFd>,
}

/// A program that was started, or why not and where to say so.
type Started = Result<i32, (Refusal, OwnedFd)>;

/// The whole life of a slot; its exit status.
pub fn live(connection: OwnedFd) -> i32 {
    match serve(UnixStream::from(connection)) {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("a slot for shell actions ends: {error}");
            1
        }
    }
}

fn serve(mut connection: UnixStream) -> io::Result<()> {
    reset_signals();
    // Signals to the group of the host are the host's.
    nix::unistd::setsid()?;
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
    // A host that was killed before this does not end the slot any more.
    let host = getsockopt(&connection, PeerCredentials)?.pid();
    if nix::unistd::getppid().as_raw() != host {
        return Ok(());
    }
    nix::sys::prctl::set_child_subreaper(true)?;
    // Lower than it is already is not permitted everywhere; then all are taken alike.
    let _ = std::fs::write("/proc/self/oom_score_adj", OUT_OF_MEMORY);
    let null = File::open("/dev/null")?;
    let mut splitter = Splitter::default();
    let mut buffer = vec![0; 64 << 10];
    let mut descriptors = Vec::new();
    let mut waiting: Option<Started> = None;
    loop {
        // The host closes its end: the slot is not wanted any more.
        let (length, received) = receive_with_descriptors(connection.as_fd(), &mut buffer, 4)?;
        if length == 0 {
            return Ok(());
        }
        descriptors.extend(received);
        splitter.push(&buffer[..length]);
        while let Some(word) = splitter.next_json(kind::SLOT).map_err(io::Error::other)? {
            let started = match word {
                Word::Run(order) => {
                    end_waiting(waiting.take())?;
                    start(&order, given(&mut descriptors)?, &null)
                }
                Word::Wait(surroundings) => {
                    end_waiting(waiting.take())?;
                    let order = waiting_shell(surroundings);
                    waiting = Some(start(&order, given(&mut descriptors)?, &null));
                    continue;
                }
                Word::Begun => waiting
                    .take()
                    .ok_or_else(|| io::Error::other("no shell was started ahead"))?,
            };
            let report = follow(started)?;
            connection.write_all(&frame_json(kind::SLOT, &report))?;
        }
    }
}

fn given(descriptors: &mut Vec<OwnedFd>) -> io::Result<Given> {
    let mut given = std::mem::take(descriptors).into_iter();
    let (Some(stdout), Some(stderr)) = (given.next(), given.next()) else {
        return Err(io::Error::other("an order came without its descriptors"));
    };
    Ok(Given {
        stdout,
        stderr,
        command: given.next(),
        gate: given.next(),
    })
}

fn waiting_shell(surroundings: Surroundings) -> Order {
    Order {
        arguments: Some(ahead::waits().to_vec()),
        environment: Some(Vec::new()),
        folder: surroundings.folder,
        user: surroundings.user.map(Ok),
        limits: Vec::new(),
    }
}

/// The shell that waits is of no use.
fn end_waiting(waiting: Option<Started>) -> io::Result<()> {
    match waiting {
        None | Some(Err(_)) => Ok(()),
        Some(Ok(shell)) => {
            tree::send(shell, Signal::SIGKILL);
            clear()
        }
    }
}

fn start(order: &Order, given: Given, null: &File) -> Started {
    // Whoever reads them waits for the end of all writers: here they are closed with this function.
    let outcome = begin(order, null.as_fd(), &given);
    outcome.map_err(|refusal| (refusal, given.stderr))
}

/// Waits for its end, and ends what it left.
fn follow(started: Started) -> io::Result<Report> {
    let program = match started {
        Ok(program) => program,
        Err((Refusal { status, text }, stderr)) => {
            let _ = writeln!(File::from(stderr), "{text}");
            return Ok(Report {
                status: Some(status),
                signal: None,
                cpu_ms: 0,
                most_memory_bytes: 0,
            });
        }
    };
    let ended = loop {
        match wait_for_any(true)? {
            Some(ended) if ended.pid == program => break ended,
            // An orphan of it.
            Some(_) | None => {}
        }
    };
    clear()?;
    Ok(Report {
        status: ended.status,
        signal: ended.signal,
        cpu_ms: u64::try_from(ended.cpu.as_millis()).unwrap_or(u64::MAX),
        most_memory_bytes: ended.most_memory_bytes,
    })
}

/// Ends what a program left behind, to the last process.
fn clear() -> io::Result<()> {
    let own = i32::try_from(std::process::id()).map_err(io::Error::other)?;
    let mut patient = false;
    loop {
        match wait_for_any(patient) {
            Ok(Some(_)) => patient = false,
            Ok(None) => {
                tree::kill_below(own);
                // Its children were killed: at least one ends now.
                patient = true;
            }
            Err(error) if error.raw_os_error() == Some(nix::libc::ECHILD) => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}

fn begin(order: &Order, null: BorrowedFd<'_>, given: &Given) -> Result<i32, Refusal> {
    let refusal = |text| Refusal { status: 1, text };
    let user = match &order.user {
        Some(Err(name)) => return Err(refusal(format!("there is no user {name}"))),
        Some(Ok(user)) => Some(user),
        None => None,
    };
    let own_environment: Vec<String>;
    let environment = match &order.environment {
        Some(environment) => environment,
        None => {
            own_environment = std::env::vars()
                .map(|(name, value)| format!("{name}={value}"))
                .collect();
            &own_environment
        }
    };
    let script = format!(". /proc/self/fd/{COMMAND_DESCRIPTOR}");
    // The last word is what the shell calls itself in messages.
    let hidden = [SHELL, "-c", &script, SHELL].map(str::to_string);
    let words: &[String] = order.arguments.as_deref().unwrap_or(&hidden);
    let program = words.first().map(String::as_str).unwrap_or_default();
    let files = c_texts(&candidates(program, environment)).map_err(refusal)?;
    let arguments = c_texts(words).map_err(refusal)?;
    let environment = c_texts(environment).map_err(refusal)?;
    let folder = c_texts(std::slice::from_ref(&order.folder)).map_err(refusal)?;
    let limits: Vec<(u32, u64)> = order
        .limits
        .iter()
        .filter_map(|(name, limit)| Some((resource(name)?, *limit)))
        .collect();
    let mut descriptors = vec![
        (null, 0),
        (given.stdout.as_fd(), 1),
        (given.stderr.as_fd(), 2),
    ];
    // The highest number first: it is none of ours.
    let further = [
        (&given.command, COMMAND_DESCRIPTOR),
        (&given.gate, GATE_DESCRIPTOR),
    ];
    let further = further.into_iter();
    descriptors.extend(further.filter_map(|(one, number)| Some((one.as_ref()?.as_fd(), number))));
    let launched = launch(Launch {
        files: &borrowed(&files),
        arguments: &borrowed(&arguments),
        environment: &borrowed(&environment),
        folder: &folder[0],
        identity: user.map(|user| Identity {
            uid: user.uid,
            gid: user.gid,
            groups: &user.groups,
        }),
        descriptors: &descriptors,
        limits: &limits,
    });
    launched.map_err(|failure| explain(&failure, order, program))
}

fn resource(name: &str) -> Option<u32> {
    LIMITS
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, resource)| *resource)
}

fn c_texts(texts: &[String]) -> Result<Vec<CString>, String> {
    let c_text = |text: &String| {
        CString::new(text.as_str()).map_err(|_| format!("{text:?} holds a NUL byte"))
    };
    texts.iter().map(c_text).collect()
}

fn borrowed(texts: &[CString]) -> Vec<&CStr> {
    texts.iter().map(CString::as_c_str).collect()
}

/// Where a program of this name may be, in order.
fn candidates(program: &str, environment: &[String]) -> Vec<String> {
    if program.contains('/') {
        return vec![program.to_string()];
    }
    let path = environment
        .iter()
        .find_map(|entry| entry.strip_prefix("PATH="));
    let folders = path
        .unwrap_or(DEFAULT_PATH)
        .split(':')
        .filter(|folder| !folder.is_empty());
    folders
        .map(|folder| format!("{folder}/{program}"))
        .collect()
}

fn explain(failure: &Failure, order: &Order, program: &str) -> Refusal {
    let errno = nix::errno::Errno::from_raw(failure.error.raw_os_error().unwrap_or(0));
    let why = errno.desc();
    let refusal = |text| Refusal { status: 1, text };
    match failure.step {
        Step::Process => refusal(format!("no process can be made: {why}")),
        Step::Session => refusal(format!("no session can be made: {why}")),
        Step::Descriptor => refusal(format!("the output cannot be connected: {why}")),
        Step::Identity => refusal(format!("cannot become the user of the action: {why}")),
        Step::Folder => refusal(format!(
            "cannot change to the working directory {}: {why}",
            order.folder
        )),
        Step::Limit(place) => {
            let (name, limit) = order.limits.get(place).cloned().unwrap_or_default();
            refusal(format!("cannot set the limit {name} to {limit}: {why}"))
        }
        Step::Program => {
            let status = if errno == nix::errno::Errno::ENOENT {
                127
            } else {
                126
            };
            Refusal {
                status,
                text: format!("{program}: {why}"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_looked_for_along_the_path() {
        let environment = ["X=1".to_string(), "PATH=/a::/b".to_string()];
        assert_eq!(candidates("x", &environment), ["/a/x", "/b/x"]);
        assert_eq!(candidates("./x", &environment), ["./x"]);
        assert_eq!(candidates("x", &[]).len(), 3);
    }
}
