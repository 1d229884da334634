//! A session inside a sandbox: a program that somebody runs beside the application, or a connection into its
//! network.
//!
//! ```text
//! agent ◀── one socket, framed ([`words`]) ──▶ session ── terminal or pipes ──▶ program
//!                                              (a fork of the init)
//! ```
//! The agent makes a pair of sockets and sends one end, through the supervisor, to the init, which forks. So a
//! session is born inside: its namespaces, control group, seccomp list and want of privileges are those of the
//! application because it inherits them, not because somebody copied them. Nothing of it is the supervisor's:
//! a session that floods its terminal costs its own sandbox.
//!
//! It is the application's user from its first moment. It adopts what its program leaves behind and ends all of
//! it when the program ends, or when the other end of its socket is closed. When the application ends, the
//! init kills sessions with everything else.
//!
//! What a newcomer gets wrong: a program that reads no more must not stop its own output, and the other way
//! round. Both ways have a bound of their own, and neither is waited for.

pub mod words;

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::Pid;

use crate::children;
use crate::program::{self, Streams, shed_privileges};
use crate::protocol::{ExitStatus, Orders, Splitter};
use crate::shell_host::tree;
use words::{FromSession, Opening, Size, ToSession};

/// Bytes that may wait in each direction before the source is left alone.
const WAITING: usize = 256 * 1024;
const PIECE: usize = 32 * 1024;
const OPENED_WITHIN: Duration = Duration::from_secs(10);
const CONNECTED_WITHIN: Duration = Duration::from_secs(10);

/// Says why there is no session.
pub fn refuse(connection: OwnedFd, problem: String) {
    let mut connection = UnixStream::from(connection);
    let _ = connection.set_write_timeout(Some(Duration::from_secs(1)));
    let _ = connection.write_all(&FromSession::Refused { problem }.encode());
}

/// The whole life of a session; its exit status is of no interest.
pub fn serve(connection: OwnedFd, orders: &Orders) -> i32 {
    match open(&connection, orders) {
        Ok((opened, splitter)) => {
            let ended = Session::new(connection, splitter, opened).and_then(Session::run);
            tree::kill_below(std::process::id() as i32);
            i32::from(ended.is_err())
        }
        Err(problem) => {
            refuse(connection, problem);
            1
        }
    }
}

/// What was opened: where input goes, where output comes from.
struct Opened {
    input: Input,
    outputs: Vec<Output>,
    program: Option<Pid>,
}

enum Input {
    Pipe(File),
    Terminal(File),
    Connection(TcpStream),
    Closed,
}

enum Output {
    Plain(File),
    Errors(File),
    Terminal(File),
    Connection(TcpStream),
}

fn open(connection: &OwnedFd, orders: &Orders) -> Result<(Opened, Splitter), String> {
    let told = |what: &str, error: io::Error| format!("{what}: {error}");
    // The init's output is the application's log.
    let null = File::options()
        .read(true)
        .write(true)
        .open("/dev/null")
        .map_err(|error| told("open /dev/null", error))?;
    let stand = nix::unistd::dup2_stdin(&null)
        .and_then(|()| nix::unistd::dup2_stdout(&null))
        .and_then(|()| nix::unistd::dup2_stderr(&null));
    stand.map_err(|error| told("leave the init's streams", error.into()))?;
    shed_privileges(orders)?;
    nix::sys::prctl::set_child_subreaper(true)
        .map_err(|error| told("become subreaper", error.into()))?;
    let copy = connection
        .try_clone()
        .map_err(|error| told("copy the connection", error))?;
    let mut stream = UnixStream::from(copy);
    let (opening, splitter) =
        read_opening(&mut stream).map_err(|error| told("read what is to be opened", error))?;
    let opened = match opening {
        Opening::Run {
            argv,
            env,
            terminal,
        } => run(orders, argv, &env, terminal)?,
        Opening::Connect { to } => {
            connect(to).map_err(|error| told(&format!("connect to {to}"), error))?
        }
    };
    Ok((opened, splitter))
}

fn read_opening(stream: &mut UnixStream) -> io::Result<(Opening, Splitter)> {
    stream.set_read_timeout(Some(OPENED_WITHIN))?;
    let mut splitter = Splitter::default();
    let mut buffer = [0; 16 * 1024];
    loop {
        match ToSession::next(&mut splitter).map_err(io::Error::other)? {
            Some(ToSession::Open(opening)) => return Ok((opening, splitter)),
            Some(_) => return Err(io::Error::other("something else came first")),
            None => {}
        }
        match stream.read(&mut buffer) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(length) => splitter.push(&buffer[..length]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// The application's environment with what the user brings.
fn environment(own: &[String], brought: &[String]) -> Vec<String> {
    let name = |entry: &str| entry.split('=').next().unwrap_or_default().to_owned();
    let overridden: Vec<String> = brought.iter().map(|entry| name(entry)).collect();
    let kept = own
        .iter()
        .filter(|entry| !overridden.contains(&name(entry)))
        .cloned();
    kept.chain(brought.iter().cloned()).collect()
}

fn run(
    orders: &Orders,
    argv: Vec<String>,
    env: &[String],
    terminal: Option<Size>,
) -> Result<Opened, String> {
    let orders = Orders {
        argv,
        env: environment(&orders.env, env),
        ..orders.clone()
    };
    let start = |streams: &Streams| program::start(&orders, streams, false);
    if let Some(size) = terminal {
        let (user, inside) = sys::terminal::open(size.columns, size.rows)
            .map_err(|error| format!("make a terminal: {error}"))?;
        let second = user
            .try_clone()
            .map_err(|error| format!("copy a terminal: {error}"))?;
        let program = start(&Streams::Terminal(inside))?;
        return Ok(Opened {
            input: Input::Terminal(user.into()),
            outputs: vec![Output::Terminal(second.into())],
            program: Some(program),
        });
    }
    let pipe =
        || nix::unistd::pipe2(OFlag::O_CLOEXEC).map_err(|error| format!("make a pipe: {error}"));
    let ((stdin, to), (from, stdout), (errors, stderr)) = (pipe()?, pipe()?, pipe()?);
    let program = start(&Streams::Pipes {
        stdin,
        stdout,
        stderr,
    })?;
    Ok(Opened {
        input: Input::Pipe(to.into()),
        outputs: vec![Output::Plain(from.into()), Output::Errors(errors.into())],
        program: Some(program),
    })
}

fn connect(to: SocketAddr) -> io::Result<Opened> {
    let stream = TcpStream::connect_timeout(&to, CONNECTED_WITHIN)?;
    let second = stream.try_clone()?;
    Ok(Opened {
        input: Input::Connection(stream),
        outputs: vec![Output::Connection(second)],
        program: None,
    })
}

impl Input {
    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Input::Pipe(file) | Input::Terminal(file) => Some(file.as_fd()),
            Input::Connection(stream) => Some(stream.as_fd()),
            Input::Closed => None,
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Input::Pipe(file) | Input::Terminal(file) => file.write(bytes),
            Input::Connection(stream) => stream.write(bytes),
            Input::Closed => Ok(bytes.len()),
        }
    }

    /// The program reads to the end of its input. A terminal has no end but the character that says so.
    fn end(&mut self) {
        const END_OF_TRANSMISSION: u8 = 4;
        match self {
            Input::Pipe(_) => *self = Input::Closed,
            Input::Terminal(file) => {
                let _ = file.write(&[END_OF_TRANSMISSION]);
            }
            Input::Connection(stream) => {
                let _ = stream.shutdown(Shutdown::Write);
                *self = Input::Closed;
            }
            Input::Closed => {}
        }
    }
}

impl Output {
    fn descriptor(&self) -> BorrowedFd<'_> {
        match self {
            Output::Plain(file) | Output::Errors(file) | Output::Terminal(file) => file.as_fd(),
            Output::Connection(stream) => stream.as_fd(),
        }
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Output::Plain(file) | Output::Errors(file) => file.read(buffer),
            Output::Terminal(file) => match file.read(buffer) {
                // How a terminal says that no program has it any more.
                Err(error) if error.raw_os_error() == Some(libc::EIO) => Ok(0),
                read => read,
            },
            Output::Connection(stream) => stream.read(buffer),
        }
    }

    fn message(&self, bytes: Vec<u8>) -> FromSession {
        match self {
            Output::Errors(_) => FromSession::Errors(bytes),
            Output::Plain(_) | Output::Terminal(_) | Output::Connection(_) => {
                FromSession::Output(bytes)
            }
        }
    }
}

struct Session {
    connection: UnixStream,
    splitter: Splitter,
    /// For the agent.
    outgoing: Vec<u8>,
    input: Input,
    /// For the program.
    waiting: Vec<u8>,
    input_ended: bool,
    outputs: Vec<Output>,
    signals: SignalFd,
    program: Option<Pid>,
    status: Option<ExitStatus>,
    /// The other end is gone.
    left: bool,
}

/// What a round waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Signals,
    Connection,
    Input,
    Output(usize),
}

impl Session {
    fn new(connection: OwnedFd, splitter: Splitter, opened: Opened) -> io::Result<Session> {
        let mut handled = SigSet::empty();
        handled.add(Signal::SIGCHLD);
        handled.thread_block()?;
        let signals =
            SignalFd::with_flags(&handled, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
        let descriptors = opened.outputs.iter().map(Output::descriptor);
        for descriptor in descriptors
            .chain(opened.input.descriptor())
            .chain([connection.as_fd()])
        {
            let flags = OFlag::from_bits_retain(fcntl(descriptor, FcntlArg::F_GETFL)?);
            fcntl(descriptor, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
        }
        Ok(Session {
            connection: UnixStream::from(connection),
            splitter,
            outgoing: FromSession::Opened.encode(),
            input: opened.input,
            waiting: Vec::new(),
            input_ended: false,
            outputs: opened.outputs,
            signals,
            program: opened.program,
            status: None,
            left: false,
        })
    }

    fn run(mut self) -> io::Result<()> {
        // It may have ended before its signal was waited for.
        self.reap();
        self.take_messages()?;
        while !self.left {
            if self.outputs.is_empty() && (self.program.is_none() || self.status.is_some()) {
                return self.say_goodbye();
            }
            for source in self.wait()? {
                match source {
                    Source::Signals => {
                        while let Ok(Some(_)) = self.signals.read_signal() {}
                        self.reap();
                    }
                    Source::Connection => self.talk()?,
                    Source::Input => self.feed(),
                    Source::Output(at) => self.read_output(at),
                }
            }
        }
        Ok(())
    }

    /// Blocks until something can be done, and says what.
    fn wait(&mut self) -> io::Result<Vec<Source>> {
        let mut talking = PollFlags::empty();
        if self.waiting.len() < WAITING {
            talking |= PollFlags::POLLIN;
        }
        if !self.outgoing.is_empty() {
            talking |= PollFlags::POLLOUT;
        }
        let mut sources = vec![Source::Signals, Source::Connection];
        let mut polled = vec![
            PollFd::new(self.signals.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.connection.as_fd(), talking),
        ];
        if let Some(input) = self.input.descriptor()
            && !self.waiting.is_empty()
        {
            sources.push(Source::Input);
            polled.push(PollFd::new(input, PollFlags::POLLOUT));
        }
        if self.outgoing.len() < WAITING {
            for (at, output) in self.outputs.iter().enumerate() {
                sources.push(Source::Output(at));
                polled.push(PollFd::new(output.descriptor(), PollFlags::POLLIN));
            }
        }
        match poll(&mut polled, PollTimeout::NONE) {
            Ok(_) => {}
            Err(Errno::EINTR) => return Ok(Vec::new()),
            Err(error) => return Err(error.into()),
        }
        let gone = PollFlags::POLLHUP | PollFlags::POLLERR;
        let left = polled[1]
            .revents()
            .is_some_and(|events| events.intersects(gone));
        let ready = polled
            .iter()
            .zip(sources)
            .filter(|(fd, _)| fd.revents().is_some_and(|events| !events.is_empty()));
        // From the last: an output that is removed leaves the numbers before it as they are.
        let ready = ready.map(|(_, source)| source).rev().collect();
        self.left |= left;
        Ok(ready)
    }

    fn reap(&mut self) {
        while let Ok(Some((pid, status))) = children::ended() {
            if Some(pid) == self.program {
                self.status = Some(status);
                // Whoever is left holds the outputs open, which are read to their end.
                tree::kill_below(std::process::id() as i32);
            }
        }
    }

    /// Reads the agent's messages and sends what waits for it.
    fn talk(&mut self) -> io::Result<()> {
        let mut buffer = [0; PIECE];
        if self.waiting.len() < WAITING {
            match self.connection.read(&mut buffer) {
                Ok(0) => self.left = true,
                Ok(length) => self.splitter.push(&buffer[..length]),
                Err(error) => self.left |= is_broken(&error),
            }
            self.take_messages()?;
        }
        while !self.outgoing.is_empty() {
            match self.connection.write(&self.outgoing) {
                Ok(length) => {
                    self.outgoing.drain(..length);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.left |= is_broken(&error);
                    break;
                }
            }
        }
        Ok(())
    }

    fn take_messages(&mut self) -> io::Result<()> {
        while let Some(message) = ToSession::next(&mut self.splitter).map_err(io::Error::other)? {
            match message {
                ToSession::Open(_) => return Err(io::Error::other("it is open already")),
                ToSession::Input(bytes) => self.waiting.extend(bytes),
                ToSession::InputEnded => self.input_ended = true,
                ToSession::Resize(size) => {
                    if let Input::Terminal(terminal) = &self.input {
                        let _ = sys::terminal::resize(terminal, size.columns, size.rows);
                    }
                }
                ToSession::Signal(number) => {
                    if let (Some(program), None, Ok(signal)) =
                        (self.program, self.status, Signal::try_from(number))
                    {
                        let _ = kill(Pid::from_raw(-program.as_raw()), signal);
                    }
                }
            }
        }
        self.feed();
        Ok(())
    }

    /// Gives the program what it takes.
    fn feed(&mut self) {
        while !self.waiting.is_empty() {
            match self.input.write(&self.waiting) {
                Ok(length) => {
                    self.waiting.drain(..length);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // It reads no more; what it writes still counts.
                Err(_) => {
                    self.waiting.clear();
                    self.input = Input::Closed;
                }
            }
        }
        if std::mem::take(&mut self.input_ended) {
            self.input.end();
        }
    }

    fn read_output(&mut self, at: usize) {
        let mut buffer = [0; PIECE];
        let Some(output) = self.outputs.get_mut(at) else {
            return;
        };
        match output.read(&mut buffer) {
            Ok(length) if length > 0 => {
                let message = output.message(buffer[..length].to_vec());
                self.outgoing.extend(message.encode());
            }
            Err(error) if !is_broken(&error) => {}
            Ok(_) | Err(_) => {
                self.outputs.remove(at);
                if self.outputs.is_empty() {
                    self.outgoing.extend(FromSession::OutputEnded.encode());
                }
            }
        }
    }

    /// Everything was said but the end.
    fn say_goodbye(mut self) -> io::Result<()> {
        let status = self.status.unwrap_or(ExitStatus::Code(0));
        self.outgoing.extend(FromSession::Ended { status }.encode());
        let flags = OFlag::from_bits_retain(fcntl(&self.connection, FcntlArg::F_GETFL)?);
        fcntl(
            &self.connection,
            FcntlArg::F_SETFL(flags & !OFlag::O_NONBLOCK),
        )?;
        self.connection.write_all(&self.outgoing)
    }
}

fn is_broken(error: &io::Error) -> bool {
    !matches!(
        error.kind(),
        io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_user_brings_goes_over_what_the_application_has() {
        let own = ["A=1".to_owned(), "TERM=dumb".to_owned()];
        let brought = ["TERM=xterm".to_owned(), "B=2".to_owned()];
        assert_eq!(environment(&own, &brought), ["A=1", "TERM=xterm", "B=2"]);
    }
}
