//! The supervisor of one sandbox.
//!
//! It is a separate small program, not a part of the agent, for three reasons: it must survive the
//! agent; entering a mount or user namespace needs a process with one thread; and what it holds
//! (output pipes, the child whose exit status counts) must be held by somebody who never restarts.
//!
//! ```text
//! agent ─spawn─▶ foreground ─fork, setsid, fork─▶ supervisor ─▶ runtime run ─▶ init
//!                    ◀──────── one line: ready or why not ──────────┘
//! ```
//! The supervisor is a child subreaper: the runtime goes away after the start and the init becomes
//! the supervisor's child, so its pid cannot be reused before the supervisor has looked at it.
//!
//! What a newcomer gets wrong: the container inherits the runtime's standard output and error, so
//! nobody may wait for their end; the runtime's own errors are in its log file.

mod assign;
mod disk;
mod enter;
mod network;
mod serve;
mod start;

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::Path;

use nix::sys::wait::waitpid;
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
use sys::process::{Forked, exit_now, fork};

use crate::protocol::Spec;

/// The one line the foreground process prints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The sandbox waits for orders; pid of its init on the host.
    Ready {
        init: i32,
        supervisor: u32,
    },
    Failed {
        problem: String,
    },
}

/// A failed step: what was tried, and the cause.
#[derive(Debug, thiserror::Error)]
#[error("{step}: {cause}")]
pub struct Failure {
    step: String,
    cause: String,
}

trait Step<T> {
    fn step(self, step: impl Into<String>) -> Result<T, Failure>;
}

impl<T, E: std::fmt::Display> Step<T> for Result<T, E> {
    fn step(self, step: impl Into<String>) -> Result<T, Failure> {
        self.map_err(|cause| Failure {
            step: step.into(),
            cause: cause.to_string(),
        })
    }
}

/// The whole program: returns in the foreground process only.
pub fn run(spec: &Path) -> io::Result<Outcome> {
    let text = std::fs::read(spec)?;
    let spec: Spec = serde_json::from_slice(&text)?;
    // Held through both forks: whoever wants to clear up finds it held from now until the end.
    let mut lock = take_lock(&spec.lock)?;
    let (reader, writer) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC)?;
    match fork()? {
        Forked::Parent { child } => {
            drop(writer);
            waitpid(Pid::from_raw(child), None)?;
            let text = io::read_to_string(File::from(reader))?;
            if text.is_empty() {
                let problem = "the supervisor ended without a word".to_owned();
                return Ok(Outcome::Failed { problem });
            }
            Ok(serde_json::from_str(&text)?)
        }
        Forked::Child => {
            drop(reader);
            let _ = nix::unistd::setsid();
            match fork() {
                Ok(Forked::Parent { .. }) => exit_now(0),
                Ok(Forked::Child) => {
                    let report = File::from(writer);
                    exit_now(supervise(&spec, &mut lock, report))
                }
                Err(_) => exit_now(1),
            }
        }
    }
}

/// The supervisor proper.
fn supervise(spec: &Spec, lock: &mut File, report: File) -> i32 {
    let tell = |mut report: File, outcome: &Outcome| {
        let text = serde_json::to_string(outcome).unwrap_or_default();
        let _ = report.write_all(text.as_bytes());
    };
    if let Err(failure) = detach(spec, lock) {
        let problem = failure.to_string();
        tell(report, &Outcome::Failed { problem });
        return 1;
    }
    let started = match start::start(spec) {
        Ok(started) => started,
        Err(failure) => {
            start::abandon(spec);
            let problem = failure.to_string();
            tell(report, &Outcome::Failed { problem });
            return 1;
        }
    };
    let init = started.init.as_raw();
    let server = match serve::Server::new(spec, started) {
        Ok(server) => server,
        Err(failure) => {
            start::abandon(spec);
            let problem = failure.to_string();
            tell(report, &Outcome::Failed { problem });
            return 1;
        }
    };
    let supervisor = std::process::id();
    tell(report, &Outcome::Ready { init, supervisor });
    match server.serve() {
        Ok(()) => 0,
        Err(failure) => {
            eprintln!("supervisor of {}: {failure}", spec.id);
            1
        }
    }
}

/// Takes the lock that says "this sandbox has a supervisor"; the pid is written into it later.
fn take_lock(path: &Path) -> io::Result<File> {
    let file = File::options()
        .create(true)
        .truncate(true)
        .write(true)
        .open(path)?;
    // The standard library's lock is the kind that forked children share.
    file.try_lock()?;
    Ok(file)
}

/// Leaves the agent's session and standard streams, and says who holds the lock.
fn detach(spec: &Spec, lock: &mut File) -> Result<(), Failure> {
    nix::sys::prctl::set_child_subreaper(true).step("become subreaper")?;
    let null = File::options()
        .read(true)
        .write(true)
        .open("/dev/null")
        .step("open /dev/null")?;
    let log = File::options()
        .create(true)
        .append(true)
        .open(spec.bundle.join("supervisor.log"))
        .step("open supervisor.log")?;
    nix::unistd::dup2_stdin(null.as_fd()).step("standard input")?;
    nix::unistd::dup2_stdout(null.as_fd()).step("standard output")?;
    nix::unistd::dup2_stderr(log.as_fd()).step("standard error")?;
    std::env::set_current_dir("/").step("change to /")?;
    // Rather the application than the one who must tell about it.
    let _ = std::fs::write("/proc/self/oom_score_adj", "-900");
    write!(lock, "{}", std::process::id()).step("write the lock")
}
