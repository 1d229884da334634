//! Process 1 of a sandbox.
//!
//! It waits for orders on a descriptor that the supervisor kept open through the runtime, starts
//! the ordered program in a session and process group of its own, passes signals on, reaps
//! whatever dies and reports the true end of the program. Most programs make a bad process 1:
//! they ignore SIGTERM and reap nobody.
//!
//! After the program's death everything else in the sandbox is killed, but the init stays, so
//! that a crashed sandbox can still be looked at. It ends when told to, or when the supervisor is
//! gone (its end of the connection closes): a sandbox never outlives its supervisor.

use std::ffi::CString;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

use dea_shim::protocol::{ExitStatus, FromInit, Orders, Splitter, ToInit, frame_json, kind};
use dea_shim::shell_host::{self, Asked};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Gid, Pid, Uid};
use sys::process::{Forked, exit_now, fork, inherited, reset_signals};

/// The first argument of the host of shell actions, which is the same program: it is in every sandbox.
const PACK_HOST: &str = "pack-host";
/// The descriptor the runtime preserves.
const CONNECTION: i32 = 3;

fn main() {
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() == Some(PACK_HOST) {
        host(&arguments.collect::<Vec<String>>());
    }
    if let Err(error) = run() {
        eprintln!("stackyard-init: {error}");
        std::process::exit(1);
    }
}

/// Not process 1 but a program that it was ordered to start.
fn host(arguments: &[String]) -> ! {
    let Some(asked) = Asked::of(arguments) else {
        eprintln!("{PACK_HOST} SOCKET IDLE MOST_RUNNING [PROGRAM ARGUMENTS...]");
        std::process::exit(2);
    };
    let status = shell_host::run(asked).unwrap_or_else(|error| {
        eprintln!("shell host: {error}");
        2
    });
    std::process::exit(status)
}

struct Init {
    connection: UnixStream,
    program: Option<Pid>,
    ended: bool,
}

fn run() -> io::Result<()> {
    // "Every process but me" is the whole machine for anybody but process 1 of a namespace.
    if std::process::id() != 1 {
        return Err(io::Error::other(
            "this program is process 1 of a sandbox, nothing else",
        ));
    }
    let mut handled = SigSet::empty();
    for signal in [
        Signal::SIGCHLD,
        Signal::SIGTERM,
        Signal::SIGINT,
        Signal::SIGHUP,
        Signal::SIGQUIT,
        Signal::SIGUSR1,
        Signal::SIGUSR2,
    ] {
        handled.add(signal);
    }
    handled.thread_block()?;
    let signals = SignalFd::with_flags(&handled, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
    let mut init = Init {
        connection: UnixStream::from(inherited(CONNECTION)?),
        program: None,
        ended: false,
    };
    init.report(&FromInit::Ready)?;
    let mut splitter = Splitter::default();
    let mut buffer = vec![0u8; 64 * 1024];
    loop {
        let (readable, signalled) = {
            let mut waiting = [
                PollFd::new(init.connection.as_fd(), PollFlags::POLLIN),
                PollFd::new(signals.as_fd(), PollFlags::POLLIN),
            ];
            match poll(&mut waiting, PollTimeout::NONE) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
            let ready = |at: usize| waiting[at].revents().is_some_and(|e| !e.is_empty());
            (ready(0), ready(1))
        };
        if signalled {
            while let Some(information) = signals.read_signal()? {
                match Signal::try_from(information.ssi_signo as i32) {
                    Ok(Signal::SIGCHLD) | Err(_) => {}
                    Ok(signal) => init.pass_on(signal as i32, false),
                }
            }
            init.reap()?;
        }
        if readable {
            let length = match init.connection.read(&mut buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                read => read?,
            };
            if length == 0 {
                return Ok(());
            }
            splitter.push(&buffer[..length]);
            while let Some(message) = splitter.next_json(kind::INIT).map_err(io::Error::other)? {
                match message {
                    ToInit::Order(orders) => init.carry_out(&orders)?,
                    ToInit::Signal { number, everyone } => init.pass_on(number, everyone),
                    ToInit::Exit => return Ok(()),
                }
            }
        }
    }
}

impl Init {
    fn report(&mut self, report: &FromInit) -> io::Result<()> {
        self.connection.write_all(&frame_json(kind::INIT, report))
    }

    fn carry_out(&mut self, orders: &Orders) -> io::Result<()> {
        if self.program.is_some() {
            let problem = "this sandbox has its orders already".to_owned();
            return self.report(&FromInit::Refused { problem });
        }
        match start(orders) {
            Ok(pid) => {
                self.program = Some(pid);
                self.report(&FromInit::Started { pid: pid.as_raw() })
            }
            Err(problem) => self.report(&FromInit::Refused { problem }),
        }
    }

    fn pass_on(&self, number: i32, everyone: bool) {
        let Ok(signal) = Signal::try_from(number) else {
            return;
        };
        if everyone {
            // From process 1 this means: each process of the sandbox but the sender. The kernel
            // does it in one step that no fork escapes.
            let _ = kill(Pid::from_raw(-1), signal);
        } else if let Some(program) = self.program
            && !self.ended
        {
            let _ = kill(Pid::from_raw(-program.as_raw()), signal);
        }
    }

    /// Takes in every dead child; when the program is among them, ends the rest and reports.
    fn reap(&mut self) -> io::Result<()> {
        loop {
            let (pid, status) = match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, code)) => (pid, ExitStatus::Code(code)),
                Ok(WaitStatus::Signaled(pid, signal, _)) => {
                    (pid, ExitStatus::Signal(signal as i32))
                }
                Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return Ok(()),
                Ok(_) | Err(Errno::EINTR) => continue,
                Err(error) => return Err(error.into()),
            };
            if Some(pid) == self.program && !self.ended {
                self.ended = true;
                self.pass_on(Signal::SIGKILL as i32, true);
                while !matches!(waitpid(None, None), Err(Errno::ECHILD)) {}
                self.report(&FromInit::Exited { status })?;
            }
        }
    }
}

/// Starts the ordered program; the error says which step failed.
fn start(orders: &Orders) -> Result<Pid, String> {
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
            let problem = become_program(orders, &candidates, &argv, &env)
                .err()
                .unwrap_or_default();
            let _ = nix::unistd::write(&report, problem.as_bytes());
            exit_now(127)
        }
        Forked::Parent { child } => {
            drop(report);
            let problem = read_all(failures).map_err(|error| format!("start: {error}"))?;
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

fn read_all(descriptor: OwnedFd) -> io::Result<String> {
    io::read_to_string(std::fs::File::from(descriptor))
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

/// In the child: sheds what is the init's and becomes the program. Returns only on failure.
fn become_program(
    orders: &Orders,
    candidates: &[String],
    argv: &[CString],
    env: &[CString],
) -> Result<(), String> {
    let step = |name: &'static str| move |error: Errno| format!("{name}: {error}");
    reset_signals();
    nix::unistd::setsid().map_err(step("new session"))?;
    // When memory is short, rather the program than the init (or than the host's own processes).
    let _ = std::fs::write("/proc/self/oom_score_adj", "500");
    limit_open_files(orders.fds).map_err(step("limit of open files"))?;
    let (uid, gid) = (Uid::from_raw(orders.uid), Gid::from_raw(orders.gid));
    nix::unistd::setgroups(&[gid]).map_err(step("groups"))?;
    nix::unistd::setresgid(gid, gid, gid).map_err(step("gid"))?;
    nix::unistd::setresuid(uid, uid, uid).map_err(step("uid"))?;
    nix::unistd::chdir(orders.cwd.as_str())
        .map_err(|error| format!("working directory {}: {error}", orders.cwd))?;
    let null = std::fs::File::open("/dev/null").map_err(|error| format!("/dev/null: {error}"))?;
    nix::unistd::dup2_stdin(&null).map_err(step("standard input"))?;
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
