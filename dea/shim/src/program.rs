//! Becoming another program: what the init does for the ordered one, and a session for a user's.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::wait::waitpid;
use nix::unistd::{Gid, Pid, Uid};
use sys::process::{Forked, exit_now, fork, reset_signals};

use crate::protocol::Orders;

/// The standard streams of a new program.
pub enum Streams {
    /// No input; output where this process's goes.
    OfInit,
    Pipes {
        stdin: OwnedFd,
        stdout: OwnedFd,
        stderr: OwnedFd,
    },
    /// All three, and the session is controlled by it.
    Terminal(OwnedFd),
}

/// Starts a program in a session and process group of its own; the error says which step failed.
///
/// `shed`: it becomes the user of the orders, with their limit of open files. Otherwise this process is that
/// user already.
pub fn start(orders: &Orders, streams: &Streams, shed: bool) -> Result<Pid, String> {
    let c_text = |text: &String| {
        CString::new(text.as_str()).map_err(|_| format!("{text:?} contains a NUL byte"))
    };
    let argv = orders
        .argv
        .iter()
        .map(c_text)
        .collect::<Result<Vec<_>, _>>()?;
    let env = orders
        .env
        .iter()
        .map(c_text)
        .collect::<Result<Vec<_>, _>>()?;
    let program = argv.first().ok_or("no program was ordered")?.clone();
    let candidates = candidates(&orders.argv[0], &orders.env);
    let (failures, report) =
        nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).map_err(|e| format!("pipe: {e}"))?;
    match fork().map_err(|error| format!("fork: {error}"))? {
        Forked::Child => {
            let problem = prepare(orders, streams, shed)
                .and_then(|()| become_program(&candidates, &argv, &env))
                .err()
                .unwrap_or_default();
            let _ = nix::unistd::write(&report, problem.as_bytes());
            exit_now(127)
        }
        Forked::Parent { child } => {
            drop(report);
            let problem = io::read_to_string(File::from(failures))
                .map_err(|error| format!("start: {error}"))?;
            let child = Pid::from_raw(child);
            if problem.is_empty() {
                return Ok(child);
            }
            let _ = waitpid(child, None);
            Err(format!("{}: {problem}", program.to_string_lossy()))
        }
    }
}

/// At most what the sandbox itself was given.
fn limit_open_files(wanted: u64) -> Result<(), Errno> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let fds = wanted.min(hard);
    setrlimit(Resource::RLIMIT_NOFILE, fds, fds)
}

/// Where a program of this name may be, in order.
fn candidates(program: &str, env: &[String]) -> Vec<String> {
    if program.contains('/') {
        return vec![program.to_owned()];
    }
    let path = env
        .iter()
        .find_map(|entry| entry.strip_prefix("PATH="))
        .unwrap_or("/usr/local/bin:/usr/bin:/bin");
    path.split(':')
        .filter(|folder| !folder.is_empty())
        .map(|folder| format!("{folder}/{program}"))
        .collect()
}

fn step(name: &'static str) -> impl Fn(Errno) -> String {
    move |error| format!("{name}: {error}")
}

/// Becomes the user of the orders, for good.
pub fn shed_privileges(orders: &Orders) -> Result<(), String> {
    // When memory is short, rather the program than the init (or than the host's own processes).
    let _ = std::fs::write("/proc/self/oom_score_adj", "500");
    limit_open_files(orders.fds).map_err(step("limit of open files"))?;
    let (uid, gid) = (Uid::from_raw(orders.uid), Gid::from_raw(orders.gid));
    nix::unistd::setgroups(&[gid]).map_err(step("groups"))?;
    nix::unistd::setresgid(gid, gid, gid).map_err(step("gid"))?;
    nix::unistd::setresuid(uid, uid, uid).map_err(step("uid"))
}

/// In the child: sheds what is the parent's.
fn prepare(orders: &Orders, streams: &Streams, shed: bool) -> Result<(), String> {
    reset_signals();
    nix::unistd::setsid().map_err(step("new session"))?;
    if shed {
        shed_privileges(orders)?;
    }
    nix::unistd::chdir(orders.cwd.as_str())
        .map_err(|error| format!("working directory {}: {error}", orders.cwd))?;
    match streams {
        Streams::OfInit => {
            let null = File::open("/dev/null").map_err(|error| format!("/dev/null: {error}"))?;
            nix::unistd::dup2_stdin(&null).map_err(step("standard input"))
        }
        Streams::Pipes {
            stdin,
            stdout,
            stderr,
        } => stand_on(stdin, stdout, stderr),
        Streams::Terminal(terminal) => {
            sys::terminal::control(terminal).map_err(|error| format!("terminal: {error}"))?;
            stand_on(terminal, terminal, terminal)
        }
    }
}

fn stand_on(stdin: impl AsFd, stdout: impl AsFd, stderr: impl AsFd) -> Result<(), String> {
    nix::unistd::dup2_stdin(stdin).map_err(step("standard input"))?;
    nix::unistd::dup2_stdout(stdout).map_err(step("standard output"))?;
    nix::unistd::dup2_stderr(stderr).map_err(step("standard error"))
}

/// Returns only on failure.
fn become_program(candidates: &[String], argv: &[CString], env: &[CString]) -> Result<(), String> {
    let mut last = Errno::ENOENT;
    for candidate in candidates {
        let path = CString::new(candidate.as_str()).map_err(|error| error.to_string())?;
        let Err(error) = nix::unistd::execve(&path, argv, env);
        match error {
            Errno::ENOENT | Errno::ENOTDIR => {}
            Errno::EACCES => last = error,
            error => return Err(error.desc().to_owned()),
        }
    }
    Err(last.desc().to_owned())
}
