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

use std::collections::VecDeque;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::OnceLock;

use dea_shim::children;
use dea_shim::program::{self, Streams};
use dea_shim::protocol::{FromInit, Orders, Splitter, ToInit, frame_json, kind};
use dea_shim::session;
use dea_shim::shell_host::{self, Asked};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;
use sys::process::{fork_keeping, inherited, receive_with_descriptors};

/// The first argument of the host of shell actions, which is the same program: it is in every sandbox.
const PACK_HOST: &str = "pack-host";
/// The descriptor the runtime preserves.
const CONNECTION: i32 = 3;
/// Descriptors that may come with one read.
const MOST_DESCRIPTORS: usize = 8;

/// What the application was started with: a session beside it starts with the same. Set once; a session, which
/// is a fork of this process, finds it here.
static ORDERS: OnceLock<Orders> = OnceLock::new();

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
    /// Connections of sessions whose message has not been read yet.
    entering: VecDeque<OwnedFd>,
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
        entering: VecDeque::new(),
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
            let connection = init.connection.as_fd();
            let (length, came) =
                match receive_with_descriptors(connection, &mut buffer, MOST_DESCRIPTORS) {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    received => received?,
                };
            init.entering.extend(came);
            if length == 0 {
                return Ok(());
            }
            splitter.push(&buffer[..length]);
            while let Some(message) = splitter.next_json(kind::INIT).map_err(io::Error::other)? {
                match message {
                    ToInit::Order(orders) => init.carry_out(&orders)?,
                    ToInit::Signal { number, everyone } => init.pass_on(number, everyone),
                    ToInit::Enter => init.open_session(),
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
        match program::start(orders, &Streams::OfInit, true) {
            Ok(pid) => {
                let _ = ORDERS.set(orders.clone());
                self.program = Some(pid);
                self.report(&FromInit::Started { pid: pid.as_raw() })
            }
            Err(problem) => self.report(&FromInit::Refused { problem }),
        }
    }

    /// A session that cannot be opened says so on its own connection.
    fn open_session(&mut self) {
        let Some(connection) = self.entering.pop_front() else {
            return;
        };
        let opened = match ORDERS.get() {
            Some(_) => fork_keeping(&connection, session_life).map_err(|error| error.to_string()),
            None => Err("nothing was started in this sandbox yet".to_owned()),
        };
        if let Err(problem) = opened {
            session::refuse(connection, problem);
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
        while let Some((pid, status)) = children::ended()? {
            if Some(pid) == self.program && !self.ended {
                self.ended = true;
                self.pass_on(Signal::SIGKILL as i32, true);
                while !matches!(waitpid(None, None), Err(Errno::ECHILD)) {}
                self.report(&FromInit::Exited { status })?;
            }
        }
        Ok(())
    }
}

/// The whole life of a session's process.
fn session_life(connection: OwnedFd) -> i32 {
    match ORDERS.get() {
        Some(orders) => session::serve(connection, orders),
        None => 1,
    }
}
