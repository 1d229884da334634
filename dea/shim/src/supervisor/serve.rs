//! The supervisor's loop: the init's reports, the output, the requests of the agent.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::Pid;
use sys::process::{receive_with_descriptors, send_with_descriptor};

use super::start::Started;
use super::{Failure, Step, assign, enter};
use crate::backlog::Backlog;
use crate::cgroup::Group;
use crate::children;
use crate::lines::LineCutter;
use crate::protocol::{
    Assignment, ExitStatus, FromInit, Notice, Orders, Reply, Request, Spec, Splitter, ToInit,
    frame_json, kind,
};

/// Bytes waiting for a listener beyond which its share stays in the backlog.
const WAITING_LIMIT: usize = 256 * 1024;
/// Output taken in one slice of time. An application that writes faster than this allows (32 MiB a
/// second) waits in its pipe instead of keeping a processor busy that is not on its account.
const SLICE: Duration = Duration::from_millis(50);
const SLICE_BYTES: usize = 32 * 1024 * 1024 / 20;
const CLIENT_LIMIT: usize = 32;
/// Descriptors that may come with one read.
const MOST_DESCRIPTORS: usize = 4;
const DEATH_WITHIN: Duration = Duration::from_secs(10);

pub(super) struct Server<'a> {
    spec: &'a Spec,
    listener: UnixListener,
    signals: SignalFd,
    /// None once it has ended.
    init: Option<Pid>,
    connection: Option<UnixStream>,
    splitter: Splitter,
    outputs: [Output; 2],
    slice_began: Instant,
    slice_bytes: usize,
    group: Group,
    backlog: Backlog,
    ordered: bool,
    /// Somebody else's code may run inside: what is mounted from now on could be misled.
    sealed: bool,
    /// The client whose order the init has not answered yet.
    waiting: Option<u64>,
    clients: BTreeMap<u64, Client>,
    next_client: u64,
    /// The client that gets the events.
    hearer: Option<u64>,
    quitting: Option<(u64, Instant)>,
}

struct Output {
    pipe: Option<File>,
    cutter: LineCutter,
    stderr: bool,
}

struct Client {
    stream: UnixStream,
    splitter: Splitter,
    /// Connections of sessions whose request has not been read yet.
    entering: VecDeque<OwnedFd>,
    waiting: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Signals,
    Listener,
    Init,
    Output(usize),
    Client(u64),
}

fn now_unix_ns() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_nanos() as i64)
}

impl<'a> Server<'a> {
    pub(super) fn new(spec: &'a Spec, started: Started) -> Result<Server<'a>, Failure> {
        let mut handled = SigSet::empty();
        handled.add(Signal::SIGCHLD);
        handled.add(Signal::SIGTERM);
        handled.thread_block().step("block signals")?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        let signals = SignalFd::with_flags(&handled, flags).step("open a signal descriptor")?;
        let listener = listen(&spec.socket).step(format!("listen on {}", spec.socket.display()))?;
        started
            .connection
            .set_nonblocking(true)
            .step("make the init's connection non-blocking")?;
        let output = |pipe, stderr| Output {
            pipe: Some(pipe),
            cutter: LineCutter::default(),
            stderr,
        };
        Ok(Server {
            spec,
            listener,
            signals,
            init: Some(started.init),
            connection: Some(started.connection),
            splitter: started.splitter,
            outputs: [output(started.stdout, false), output(started.stderr, true)],
            slice_began: Instant::now(),
            slice_bytes: 0,
            group: started.group,
            backlog: Backlog::new(spec.backlog_bytes),
            ordered: false,
            sealed: false,
            waiting: None,
            clients: BTreeMap::new(),
            next_client: 1,
            hearer: None,
            quitting: None,
        })
    }

    pub(super) fn serve(mut self) -> Result<(), Failure> {
        // The init may have died before its signal was waited for.
        self.reap();
        loop {
            if self.slice_began.elapsed() >= SLICE {
                self.slice_began = Instant::now();
                self.slice_bytes = 0;
            }
            for source in self.wait().step("wait")? {
                match source {
                    Source::Signals => self.take_signals(),
                    Source::Listener => self.accept(),
                    Source::Init => self.read_init(),
                    Source::Output(at) => self.read_output(at, 64 * 1024),
                    Source::Client(id) => self.talk(id),
                }
            }
            self.feed();
            if let Some((client, since)) = self.quitting {
                if self.init.is_none() {
                    self.farewell(client, &Reply::Done);
                    let _ = std::fs::remove_file(&self.spec.socket);
                    return Ok(());
                }
                if since.elapsed() > DEATH_WITHIN {
                    self.quitting = None;
                    let problem = format!("processes did not die within {DEATH_WITHIN:?}");
                    self.reply(client, &Reply::Failed { problem });
                }
            }
        }
    }

    /// Blocks until something can be done, and says what.
    fn wait(&self) -> io::Result<Vec<Source>> {
        let mut sources = vec![Source::Signals, Source::Listener];
        let mut polled = vec![
            PollFd::new(self.signals.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.listener.as_fd(), PollFlags::POLLIN),
        ];
        if let Some(connection) = &self.connection {
            sources.push(Source::Init);
            polled.push(PollFd::new(connection.as_fd(), PollFlags::POLLIN));
        }
        let full = self.slice_bytes >= SLICE_BYTES;
        for (at, output) in self.outputs.iter().enumerate() {
            if let Some(pipe) = &output.pipe
                && !full
            {
                sources.push(Source::Output(at));
                polled.push(PollFd::new(pipe.as_fd(), PollFlags::POLLIN));
            }
        }
        for (id, client) in &self.clients {
            let mut flags = PollFlags::POLLIN;
            if !client.waiting.is_empty() {
                flags |= PollFlags::POLLOUT;
            }
            sources.push(Source::Client(*id));
            polled.push(PollFd::new(client.stream.as_fd(), flags));
        }
        let timeout = match self.quitting {
            Some(_) => PollTimeout::from(100u8),
            None if full => PollTimeout::from(10u8),
            None => PollTimeout::NONE,
        };
        match poll(&mut polled, timeout) {
            Ok(_) => {}
            Err(Errno::EINTR) => return Ok(Vec::new()),
            Err(error) => return Err(error.into()),
        }
        let ready = polled
            .iter()
            .zip(sources)
            .filter(|(fd, _)| fd.revents().is_some_and(|events| !events.is_empty()));
        Ok(ready.map(|(_, source)| source).collect())
    }

    fn take_signals(&mut self) {
        while let Ok(Some(information)) = self.signals.read_signal() {
            if information.ssi_signo == Signal::SIGTERM as u32 {
                self.quit(0);
            }
        }
        self.reap();
    }

    fn reap(&mut self) {
        while let Ok(Some((pid, status))) = children::ended() {
            if Some(pid) == self.init {
                // Its last words are still in the connection.
                self.read_init();
                self.init = None;
                self.connection = None;
                if self.ordered {
                    self.ended(status);
                }
                self.backlog.gone();
            }
        }
    }

    /// The ordered program has ended; only the first report counts.
    fn ended(&mut self, status: ExitStatus) {
        if self.backlog.has_exited() {
            return;
        }
        // All writers are dead: what they wrote is in the pipes, and then nothing comes.
        for at in 0..self.outputs.len() {
            self.read_output(at, usize::MAX);
            if let Some(line) = self.outputs[at].cutter.finish() {
                let stderr = self.outputs[at].stderr;
                self.backlog.push(now_unix_ns(), stderr, line);
            }
        }
        let killed = matches!(status, ExitStatus::Signal(9) | ExitStatus::Code(137));
        let kills = self.group.memory_kills().unwrap_or(0);
        self.backlog.exit(Notice::Exited {
            status,
            out_of_memory: killed && kills > 0,
            peak_memory: self.group.peak_memory().unwrap_or(0),
        });
    }

    fn read_output(&mut self, at: usize, mut budget: usize) {
        let output = &mut self.outputs[at];
        let mut buffer = [0u8; 64 * 1024];
        while budget > 0 {
            let Some(pipe) = &mut output.pipe else { return };
            match pipe.read(&mut buffer) {
                Ok(0) => output.pipe = None,
                Ok(length) => {
                    budget = budget.saturating_sub(length);
                    self.slice_bytes += length;
                    let (stderr, backlog) = (output.stderr, &mut self.backlog);
                    let at = now_unix_ns();
                    output
                        .cutter
                        .push(&buffer[..length], |line| backlog.push(at, stderr, line));
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => output.pipe = None,
            }
        }
    }

    fn read_init(&mut self) {
        let mut buffer = [0u8; 4096];
        while let Some(connection) = &mut self.connection {
            match connection.read(&mut buffer) {
                Ok(0) => self.connection = None,
                Ok(length) => self.splitter.push(&buffer[..length]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => self.connection = None,
            }
        }
        loop {
            match self.splitter.next_json::<FromInit>(kind::INIT) {
                Ok(Some(report)) => self.take_report(report),
                Ok(None) => return,
                Err(error) => {
                    eprintln!("supervisor of {}: from the init: {error}", self.spec.id);
                    self.connection = None;
                    return;
                }
            }
        }
    }

    fn take_report(&mut self, report: FromInit) {
        let reply = match report {
            FromInit::Ready => return,
            FromInit::Exited { status } => return self.ended(status),
            FromInit::Started { .. } => Reply::Done,
            FromInit::Refused { problem } => {
                self.ordered = false;
                self.sealed = false;
                Reply::Failed { problem }
            }
        };
        if let Some(client) = self.waiting.take() {
            self.reply(client, &reply);
        }
    }

    fn accept(&mut self) {
        let Ok((stream, _)) = self.listener.accept() else {
            return;
        };
        if self.clients.len() >= CLIENT_LIMIT || stream.set_nonblocking(true).is_err() {
            return;
        }
        let client = Client {
            stream,
            splitter: Splitter::default(),
            entering: VecDeque::new(),
            waiting: Vec::new(),
        };
        self.clients.insert(self.next_client, client);
        self.next_client += 1;
    }

    fn forget(&mut self, id: u64) {
        self.clients.remove(&id);
        if self.hearer == Some(id) {
            self.hearer = None;
        }
        if self.waiting == Some(id) {
            self.waiting = None;
        }
    }

    /// Reads a client's requests and sends what waits for it.
    fn talk(&mut self, id: u64) {
        let mut buffer = [0u8; 16 * 1024];
        let mut ended = false;
        let Some(client) = self.clients.get_mut(&id) else {
            return;
        };
        match receive_with_descriptors(client.stream.as_fd(), &mut buffer, MOST_DESCRIPTORS) {
            Ok((0, _)) => ended = true,
            Ok((length, came)) => {
                client.splitter.push(&buffer[..length]);
                client.entering.extend(came);
            }
            Err(error) => {
                use io::ErrorKind::{Interrupted, WouldBlock};
                ended = !matches!(error.kind(), Interrupted | WouldBlock);
            }
        }
        while let Some(client) = self.clients.get_mut(&id) {
            match client.splitter.next_json::<Request>(kind::REQUEST) {
                Ok(Some(request)) => self.answer(id, request),
                Ok(None) => break,
                Err(error) => {
                    let problem = error.to_string();
                    self.reply(id, &Reply::Failed { problem });
                    ended = true;
                    break;
                }
            }
        }
        self.send(id);
        if ended {
            self.forget(id);
        }
    }

    fn reply(&mut self, id: u64, reply: &Reply) {
        if let Some(client) = self.clients.get_mut(&id) {
            client.waiting.extend(frame_json(kind::REPLY, reply));
        }
        self.send(id);
    }

    fn send(&mut self, id: u64) {
        let Some(client) = self.clients.get_mut(&id) else {
            return;
        };
        while !client.waiting.is_empty() {
            match client.stream.write(&client.waiting) {
                Ok(length) => {
                    client.waiting.drain(..length);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return self.forget(id),
            }
        }
    }

    /// The last reply before the end: sent completely, within a second.
    fn farewell(&mut self, id: u64, reply: &Reply) {
        if let Some(client) = self.clients.get_mut(&id) {
            client.waiting.extend(frame_json(kind::REPLY, reply));
            let _ = client.stream.set_nonblocking(false);
            let _ = client
                .stream
                .set_write_timeout(Some(Duration::from_secs(1)));
            let _ = client.stream.write_all(&client.waiting);
        }
    }

    /// Moves events from the backlog to the one who listens.
    fn feed(&mut self) {
        let Some(id) = self.hearer else { return };
        while let Some(client) = self.clients.get_mut(&id) {
            if client.waiting.len() >= WAITING_LIMIT {
                break;
            }
            let Some(frame) = self.backlog.next_frame() else {
                break;
            };
            client.waiting.extend(frame);
        }
        self.send(id);
    }

    fn answer(&mut self, id: u64, request: Request) {
        let reply = match request {
            Request::Acknowledge { sequence } => {
                if self.hearer == Some(id) {
                    self.backlog.acknowledge(sequence);
                }
                return;
            }
            Request::Hello => Reply::Hello {
                id: self.spec.id.clone(),
                init: self.init.map_or(0, Pid::as_raw),
                ordered: self.ordered,
            },
            Request::Order(orders) => match self.order(id, orders, true) {
                Ok(()) => return,
                Err(problem) => Reply::Failed { problem },
            },
            Request::OrderUnsealed(orders) => match self.order(id, orders, false) {
                Ok(()) => return,
                Err(problem) => Reply::Failed { problem },
            },
            Request::Seal => {
                self.sealed = true;
                Reply::Done
            }
            Request::Assign(assignment) => self.assign(&assignment),
            Request::Signal { number, everyone } => {
                match self.tell_init(&ToInit::Signal { number, everyone }) {
                    Ok(()) => Reply::Done,
                    Err(problem) => Reply::Failed { problem },
                }
            }
            Request::Enter => self.enter(id),
            Request::MountDroplet { lower, target } => self.mount_droplet(&lower, &target),
            Request::Bind { source, target } => self.bind(&source, &target),
            Request::Listen => {
                if let Some(former) = self.hearer.replace(id)
                    && former != id
                {
                    self.clients.remove(&former);
                }
                self.backlog.rewind();
                Reply::Done
            }
            Request::Quit => return self.quit(id),
        };
        self.reply(id, &reply);
    }

    /// The answer to the client follows from the init's report.
    fn order(&mut self, client: u64, orders: Orders, sealed: bool) -> Result<(), String> {
        if self.ordered {
            return Err("this sandbox has its orders already".to_owned());
        }
        self.tell_init(&ToInit::Order(orders))?;
        self.ordered = true;
        self.sealed = sealed;
        self.waiting = Some(client);
        Ok(())
    }

    fn quit(&mut self, client: u64) {
        if let Some(init) = self.init {
            // With process 1 the kernel ends every process of the sandbox.
            let _ = kill(init, Signal::SIGKILL);
        }
        self.quitting = Some((client, Instant::now()));
    }

    fn enter(&mut self, id: u64) -> Reply {
        let connection = self
            .clients
            .get_mut(&id)
            .and_then(|client| client.entering.pop_front());
        let told = match connection {
            Some(connection) => self.tell_init_with(&ToInit::Enter, Some(connection)),
            None => Err("a session comes with its connection".to_owned()),
        };
        match told {
            Ok(()) => Reply::Done,
            Err(problem) => Reply::Failed { problem },
        }
    }

    fn tell_init(&mut self, message: &ToInit) -> Result<(), String> {
        self.tell_init_with(message, None)
    }

    fn tell_init_with(&mut self, message: &ToInit, passed: Option<OwnedFd>) -> Result<(), String> {
        let gone = || "the sandbox's init has ended".to_owned();
        let connection = self.connection.as_mut().ok_or_else(gone)?;
        let frame = frame_json(kind::INIT, message);
        let told = connection
            .set_nonblocking(false)
            .and_then(|()| connection.set_write_timeout(Some(Duration::from_secs(2))))
            .and_then(|()| match &passed {
                None => connection.write_all(&frame),
                Some(passed) => {
                    let sent = send_with_descriptor(connection.as_fd(), &frame, passed.as_fd())?;
                    connection.write_all(&frame[sent..])
                }
            });
        // In any case: a reader that blocks here would stop the whole loop.
        let restored = connection.set_nonblocking(true);
        if told.is_err() {
            // Half a message may be on its way; nothing that follows would be understood.
            self.connection = None;
        }
        told.and(restored)
            .map_err(|error| format!("tell the init: {error}"))
    }

    /// The init, as long as nothing but our own programs has run inside: afterwards an application
    /// could have prepared the place of a mount, or of a file that is written from here.
    fn unsealed_init(&self, step: &str) -> Result<Pid, Failure> {
        match self.init {
            Some(init) if !self.sealed => Ok(init),
            Some(_) => Err("the sandbox has its orders already").step(step),
            None => Err("the sandbox's init has ended").step(step),
        }
    }

    fn assign(&self, assignment: &Assignment) -> Reply {
        let outcome = self
            .unsealed_init("assign")
            .and_then(|init| assign::assign(self.spec, init, &self.group, assignment));
        match outcome {
            Ok(()) => Reply::Done,
            Err(failure) => Reply::Failed {
                problem: failure.to_string(),
            },
        }
    }

    fn mount_droplet(&self, lower: &Path, target: &str) -> Reply {
        let outcome = self.unsealed_init("mount").and_then(|init| {
            let shared = enter::mount_droplet(self.spec, init, lower, target)?;
            if !shared {
                enter::copy_droplet(self.spec, lower, target)?;
            }
            Ok(shared)
        });
        match outcome {
            Ok(true) => Reply::Done,
            Ok(false) => Reply::Copied,
            Err(failure) => Reply::Failed {
                problem: failure.to_string(),
            },
        }
    }

    fn bind(&self, source: &Path, target: &str) -> Reply {
        let outcome = self
            .unsealed_init("mount")
            .and_then(|init| enter::bind(init, source, target));
        match outcome {
            Ok(()) => Reply::Done,
            Err(failure) => Reply::Failed {
                problem: failure.to_string(),
            },
        }
    }
}

fn listen(path: &Path) -> io::Result<UnixListener> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}
