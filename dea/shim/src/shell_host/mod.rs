//! The host of shell actions in the sandbox of a pack, and the parent of the host of its Python actions.
//!
//! ```text
//!   init ──▶ shell host ──▶ yard_host (Python): its own socket, its own workers
//!                 │ ▲ socket: the protocol of python/yard_host/PROTOCOL.md, kind `shell`
//!                 ▼ │
//!               slots ──▶ programs
//! ```
//! Problem: a shell action forked from a warm interpreter costs the copying of that interpreter, a few turns
//! of a loop in Python and a control group of its own made and removed: ten times what starting `sh` costs.
//!
//! Approach: a small program that speaks the same protocol. Its workers, the *slots* ([`slot`]), stay: each
//! has its control group once and starts one program after the other in it. Here is only copying of bytes
//! between them and the agent. One thread, one epoll; nothing in the loop may block.
//!
//! What a newcomer gets wrong:
//! - Most actions are over before anybody could watch them. Their pipes are read once, at their end; only
//!   those of an execution that lasts ([`WATCH_AFTER`]) are waited for. The news of a start waits as long, so
//!   that a short action is told in one write.
//! - A slot reports when nothing is left of its program, so both pipes have ended by then, unless a process of
//!   another execution was handed one. Waiting for that has a limit.
//! - Neither side of a pipe is used twice: who still holds one cannot write into somebody else's output.
//!
//! | file | subject |
//! |---|---|
//! | [`slot`] | the process that stays in a control group |
//! | [`ahead`] | a shell that waits in a slot for its command |
//! | [`execution`] | what an execution printed, how it ends |
//! | `requests`, [`orders`] | what a client may ask, what a run may contain |
//! | [`mailbox`], [`crate::frames`] | events on their way to the client |
//! | [`tree`], [`users`] | processes, users of the sandbox |

pub mod ahead;
pub mod execution;
pub mod mailbox;
pub mod orders;
mod requests;
pub mod slot;
pub mod tree;
pub mod users;
mod worker;

use crate::frames::Decoder;
use crate::protocol::kind;
use ahead::{AHEAD_AFTER, MOST_AHEAD};
use execution::{Execution, Stream};
use mailbox::{HIGH, LOW, Mailbox};
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use serde_json::{Map, Value, json};
use slot::Report;
use std::collections::{BTreeMap, VecDeque};
use std::io::{self, ErrorKind, Read};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};
use sys::process::{fork_keeping, wait_for_any};
use worker::Worker;

const VERSION: u64 = 1;
/// Most idle slots that are kept or asked for.
const MOST_IDLE: usize = 64;
/// From then on what an execution prints is waited for, and its start is told. A burst of short ones is over by then,
/// and the agent passes output on in pieces of a longer time anyway.
const WATCH_AFTER: Duration = Duration::from_millis(25);
/// After the end of an execution: how long its pipes may stay open in foreign hands.
const DRAIN: Duration = Duration::from_secs(2);
/// After an idle slot ended by itself or was of no use: pause before its replacement, so that a machine without memory is not
/// also busy.
const REFILL_PAUSE: Duration = Duration::from_millis(200);
const READ_SIZE: usize = 64 << 10;

const LISTENER: u64 = 0;
const CLIENT: u64 = 1;
const SIGNALS: u64 = 2;
/// Where the tokens of slots begin: the number of the process in the upper bytes, which of its descriptors in
/// the lowest.
const PARTS: u64 = 8;
const CONTROL: u64 = 2;

/// What this host is started with.
pub struct Asked {
    pub socket: PathBuf,
    /// Idle slots to keep.
    pub idle: usize,
    pub most_running: usize,
    /// The program beside it, and its arguments. Its end is the end of the host.
    pub companion: Vec<String>,
}

impl Asked {
    /// `SOCKET IDLE MOST_RUNNING [PROGRAM ARGUMENTS…]`
    pub fn of(arguments: &[String]) -> Option<Asked> {
        let [socket, idle, most_running, companion @ ..] = arguments else {
            return None;
        };
        Some(Asked {
            socket: socket.into(),
            idle: idle.parse().ok().filter(|idle| *idle <= MOST_IDLE)?,
            most_running: most_running.parse().ok()?,
            companion: companion.to_vec(),
        })
    }
}

struct Client {
    stream: UnixStream,
    decoder: Decoder,
    /// It did not take everything.
    full: bool,
}

pub struct Host {
    epoll: Epoll,
    listener: UnixListener,
    signals: SignalFd,
    client: Option<Client>,
    mailbox: Mailbox,
    /// There is an event that should not wait, or one that waited long enough.
    flush_at: Option<Instant>,
    workers: BTreeMap<i32, Worker>,
    idle: VecDeque<i32>,
    /// Executions and the slots they run in.
    running: BTreeMap<String, i32>,
    wanted_idle: usize,
    refill_after: Instant,
    /// When slots have rested long enough to start shells ahead.
    ahead_at: Option<Instant>,
    most_running: usize,
    /// Output is read; not, while too much of it waits for the client.
    reading: bool,
    stopping: bool,
    companion: Option<Child>,
    /// How the companion ended.
    ended: Option<i32>,
    buffer: Vec<u8>,
}

/// Serves until SIGTERM or SIGINT, or the end of the companion; the exit status.
pub fn run(asked: Asked) -> io::Result<i32> {
    nix::sys::prctl::set_child_subreaper(true)?;
    let unpublished = asked.socket.with_extension("new");
    let listener = listen(&unpublished)?;
    let companion = match asked.companion.split_first() {
        Some((program, arguments)) => Some(Command::new(program).args(arguments).spawn()?),
        None => None,
    };
    // After the start of the companion, which would inherit what is blocked here.
    let mut handled = SigSet::empty();
    for signal in [Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGINT] {
        handled.add(signal);
    }
    handled.thread_block()?;
    let signals = SignalFd::with_flags(&handled, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    epoll.add(&listener, EpollEvent::new(EpollFlags::EPOLLIN, LISTENER))?;
    epoll.add(&signals, EpollEvent::new(EpollFlags::EPOLLIN, SIGNALS))?;
    let mut host = Host {
        epoll,
        listener,
        signals,
        client: None,
        mailbox: Mailbox::default(),
        flush_at: None,
        workers: BTreeMap::new(),
        idle: VecDeque::new(),
        running: BTreeMap::new(),
        wanted_idle: asked.idle,
        refill_after: Instant::now(),
        ahead_at: None,
        most_running: asked.most_running,
        reading: true,
        stopping: false,
        companion,
        ended: None,
        buffer: vec![0; READ_SIZE],
    };
    // Only now: who sees the socket may connect.
    std::fs::rename(&unpublished, &asked.socket)?;
    let outcome = host.serve();
    let _ = std::fs::remove_file(&asked.socket);
    outcome
}

fn listen(path: &Path) -> io::Result<UnixListener> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let old = nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o177));
    let listener = UnixListener::bind(path);
    nix::sys::stat::umask(old);
    let listener = listener?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

impl Host {
    fn serve(&mut self) -> io::Result<i32> {
        let mut events = [EpollEvent::empty(); 64];
        // The companion may have ended before its end became a signal.
        self.reap();
        loop {
            let is_idle = self.running.is_empty();
            match self.ended {
                Some(status) if !self.stopping => return Ok(status),
                Some(_) if is_idle => break,
                None if self.stopping && is_idle && self.companion.is_none() => break,
                Some(_) | None => {}
            }
            let pause = self
                .next_wake()
                .map(|wake| wake.saturating_duration_since(Instant::now()));
            let ready = match self.epoll.wait(&mut events, timeout(pause)) {
                Ok(ready) => ready,
                Err(Errno::EINTR) => 0,
                Err(error) => return Err(error.into()),
            };
            for event in &events[..ready] {
                match event.data() {
                    LISTENER => self.accept(),
                    CLIENT => self.serve_client(),
                    SIGNALS => self.take_signals()?,
                    token => self.serve_worker(token),
                }
            }
            let now = Instant::now();
            self.time_passed(now);
            if ready == 0 || self.idle.is_empty() {
                self.refill(now);
            }
            if self.flush_at.is_some_and(|at| at <= now) {
                self.flush();
            }
            self.regulate();
        }
        self.flush();
        Ok(0)
    }

    fn next_wake(&self) -> Option<Instant> {
        let of_worker = |pid: &i32| {
            let worker = self.workers.get(pid)?;
            let execution = worker.execution.as_ref()?;
            let time_out = execution
                .time_out_at
                .filter(|_| !execution.timed_out && worker.report.is_none());
            let kill = execution
                .kill_at
                .filter(|_| !execution.killed && worker.report.is_none());
            let watch = worker.watch_at.filter(|_| self.reading);
            [time_out, kill, watch, worker.drain_until]
                .into_iter()
                .flatten()
                .min()
        };
        let refill = self.may_refill().then_some(self.refill_after);
        self.running
            .values()
            .filter_map(of_worker)
            .chain(self.flush_at)
            .chain(refill)
            .chain(self.ahead_at)
            .min()
    }

    fn time_passed(&mut self, now: Instant) {
        if self.ahead_at.is_some_and(|at| at <= now) {
            self.start_ahead();
        }
        let pids: Vec<i32> = self.running.values().copied().collect();
        for pid in pids {
            let Some(worker) = self.workers.get_mut(&pid) else {
                continue;
            };
            let Some(execution) = &mut worker.execution else {
                continue;
            };
            let due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
            if worker.report.is_none() && !worker.gone {
                if due(execution.time_out_at) && !execution.timed_out && !execution.stopped {
                    execution.timed_out = true;
                    let grace = execution.grace;
                    begin_stop(execution, grace, now);
                }
                if due(execution.kill_at) && !execution.killed {
                    execution.killed = true;
                    tree::kill_below(pid);
                }
            }
            if due(worker.watch_at) && self.reading {
                self.watch(pid);
            }
            let gives_up = self
                .workers
                .get(&pid)
                .is_some_and(|worker| due(worker.drain_until));
            if gives_up && self.reading {
                self.close_pipes(pid);
                self.finish(pid);
            }
        }
    }

    // The client

    fn accept(&mut self) {
        let stream = match self.listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return,
            Err(error) => return eprintln!("shell host: accept: {error}"),
        };
        let own = std::process::id() as i32;
        let peer = getsockopt(&stream, PeerCredentials).map_or(own, |peer| peer.pid());
        // 0: a process outside of our namespace of processes, which is where the agent is.
        if peer != 0 && peer != own && tree::descends(peer, own) {
            return eprintln!("shell host: a connection of our own descendant {peer} was refused");
        }
        self.disconnect();
        let event = EpollEvent::new(EpollFlags::EPOLLIN, CLIENT);
        if let Err(error) = stream
            .set_nonblocking(true)
            .and_then(|()| Ok(self.epoll.add(&stream, event)?))
        {
            return eprintln!("shell host: accept: {error}");
        }
        self.client = Some(Client {
            stream,
            decoder: Decoder::default(),
            full: false,
        });
        let running: Vec<Value> = self
            .running
            .iter()
            .map(|(id, pid)| json!({"id": id, "pid": pid}))
            .collect();
        self.mailbox.greet(&json!({
            "event": "hello", "version": VERSION, "pid": own, "running": running, "idle": self.idle,
        }));
        self.flush_at = Some(Instant::now());
    }

    fn disconnect(&mut self) {
        if let Some(client) = self.client.take() {
            let _ = self.epoll.delete(&client.stream);
        }
    }

    fn serve_client(&mut self) {
        let Some(client) = &mut self.client else {
            return;
        };
        if client.full {
            self.flush_at = Some(Instant::now());
        }
        match client.stream.read(&mut self.buffer) {
            Ok(0) => return self.disconnect(),
            Ok(length) => client.decoder.push(&self.buffer[..length]),
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) =>
            {
                return;
            }
            Err(_) => return self.disconnect(),
        }
        while let Some(client) = &mut self.client {
            match client.decoder.next_body() {
                Ok(Some(body)) => self.handle(&body),
                Ok(None) => return,
                Err(error) => {
                    eprintln!("shell host: the connection is ended: {error}");
                    return self.disconnect();
                }
            }
        }
    }

    fn flush(&mut self) {
        self.flush_at = None;
        let Some(client) = &mut self.client else {
            return;
        };
        let Ok(done) = self.mailbox.send(&mut client.stream) else {
            return self.disconnect();
        };
        if client.full == done {
            client.full = !done;
            let flags = if done {
                EpollFlags::EPOLLIN
            } else {
                EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT
            };
            let _ = self
                .epoll
                .modify(&client.stream, &mut EpollEvent::new(flags, CLIENT));
        }
    }

    /// An event that the client is told at once.
    fn tell(&mut self, event: &Value) {
        self.mailbox.put(event);
        self.flush_at = Some(Instant::now());
    }

    /// Idle slots are told in the greeting too: without a client there is nobody to tell.
    fn announce(&mut self, event: &str, pid: i32) {
        if self.client.is_some() {
            self.tell(&json!({"event": event, "pid": pid}));
        }
    }

    fn refuse(&mut self, body: &Map<String, Value>, code: &str, problems: &[String]) {
        let mut event = json!({"event": "refused", "request": body.get("request"), "code": code, "problems": problems});
        if let Some(id @ Value::String(_)) = body.get("id") {
            event["id"] = id.clone();
        }
        self.tell(&event);
    }

    /// Stops reading output when too much of it waits, resumes when it went.
    fn regulate(&mut self) {
        let waiting = self.mailbox.waiting_bytes();
        if self.reading && waiting > HIGH {
            self.reading = false;
            let pids: Vec<i32> = self.running.values().copied().collect();
            pids.into_iter().for_each(|pid| self.unwatch(pid));
        } else if !self.reading && waiting < LOW {
            self.reading = true;
            let pids: Vec<i32> = self.running.values().copied().collect();
            for pid in pids {
                match self.workers.get(&pid) {
                    Some(worker) if worker.report.is_some() || worker.gone => self.finish(pid),
                    Some(worker) if worker.watch_at.is_none() => self.watch(pid),
                    Some(_) | None => {}
                }
            }
        }
    }

    // Slots

    fn may_refill(&self) -> bool {
        !self.stopping && self.idle.len() < self.wanted_idle
    }

    /// One more idle slot, if one is missing.
    fn refill(&mut self, now: Instant) {
        if self.may_refill() && self.refill_after <= now {
            match self.fork() {
                Some(pid) => {
                    self.idle.push_back(pid);
                    self.announce("worker", pid);
                }
                None => self.refill_after = now + REFILL_PAUSE,
            }
        }
    }

    /// Has the slots that rest the shortest start shells that wait: their agent takes the last one first.
    fn start_ahead(&mut self) {
        self.ahead_at = None;
        let mut there = self
            .workers
            .values()
            .filter(|worker| worker.ahead.is_some())
            .count();
        for pid in self.idle.iter().rev().take(MOST_AHEAD) {
            let Some(worker) = self.workers.get_mut(pid) else {
                continue;
            };
            if there < MOST_AHEAD && !self.stopping {
                there += usize::from(worker.start_ahead());
            }
        }
    }

    fn take_idle(&mut self, wanted: Option<i32>) -> Option<i32> {
        match wanted {
            Some(pid) => {
                let at = self.idle.iter().position(|idle| *idle == pid)?;
                self.idle.remove(at)
            }
            None => self.idle.pop_front().or_else(|| self.fork()),
        }
    }

    fn fork(&mut self) -> Option<i32> {
        let made = || -> io::Result<(i32, UnixStream)> {
            let (control, theirs) = UnixStream::pair()?;
            control.set_nonblocking(true)?;
            let pid = fork_keeping(&OwnedFd::from(theirs), slot::live)?;
            let token = token(pid, CONTROL);
            self.epoll
                .add(&control, EpollEvent::new(EpollFlags::EPOLLIN, token))?;
            Ok((pid, control))
        };
        match made() {
            Ok((pid, control)) => {
                self.workers.insert(pid, Worker::new(pid, control));
                Some(pid)
            }
            Err(error) => {
                eprintln!("shell host: a slot cannot be made: {error}");
                None
            }
        }
    }

    fn serve_worker(&mut self, token: u64) {
        let Ok(pid) = i32::try_from(token / PARTS) else {
            return;
        };
        match token % PARTS {
            CONTROL => self.serve_control(pid),
            part => {
                let stream = Stream::BOTH[usize::from(part != 0)];
                self.read(pid, stream);
                let has_ended = self
                    .workers
                    .get(&pid)
                    .is_some_and(|worker| worker.report.is_some() || worker.gone);
                if has_ended {
                    self.finish(pid);
                }
            }
        }
    }

    fn serve_control(&mut self, pid: i32) {
        let Some(worker) = self.workers.get_mut(&pid) else {
            return;
        };
        if !worker.outgoing.is_empty() && worker.send().is_err() {
            worker.outgoing.clear();
        }
        match worker.control.read(&mut self.buffer) {
            Ok(0) => return self.lose(pid),
            Ok(length) => worker.splitter.push(&self.buffer[..length]),
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) =>
            {
                return self.await_writable(pid);
            }
            Err(_) => return self.lose(pid),
        }
        match worker.splitter.next_json::<Report>(kind::SLOT) {
            Ok(Some(report)) if worker.execution.is_some() => {
                worker.report = Some(report);
                self.finish(pid);
            }
            Ok(_) => {}
            // Nothing else than a slot is at the other end: it is broken.
            Err(_) => self.lose(pid),
        }
    }

    /// Keeps being told when the slot takes more, as long as there is more.
    fn await_writable(&mut self, pid: i32) {
        let Some(worker) = self.workers.get_mut(&pid) else {
            return;
        };
        let wants = !worker.outgoing.is_empty();
        if wants != worker.awaits_writable {
            worker.awaits_writable = wants;
            let flags = if wants {
                EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT
            } else {
                EpollFlags::EPOLLIN
            };
            let mut event = EpollEvent::new(flags, token(pid, CONTROL));
            let _ = self.epoll.modify(&worker.control, &mut event);
        }
    }

    /// The slot is gone. What it left comes to us and is killed; whatever ran in it was.
    fn lose(&mut self, pid: i32) {
        let Some(worker) = self.workers.get_mut(&pid) else {
            return;
        };
        worker.gone = true;
        let _ = self.epoll.delete(&worker.control);
        tree::send(pid, Signal::SIGKILL);
        if worker.execution.is_some() {
            return self.finish(pid);
        }
        self.workers.remove(&pid);
        if self.idle.contains(&pid) {
            self.idle.retain(|idle| *idle != pid);
            self.announce("worker_lost", pid);
            self.refill_after = Instant::now() + REFILL_PAUSE;
        }
    }

    // Output

    fn watch(&mut self, pid: i32) {
        let Some(worker) = self.workers.get_mut(&pid) else {
            return;
        };
        worker.watch_at = None;
        if worker.watched {
            return;
        }
        worker.watched = true;
        for (part, pipe) in worker.pipes.iter().enumerate() {
            if let Some(pipe) = pipe {
                let event = EpollEvent::new(EpollFlags::EPOLLIN, token(pid, part as u64));
                let _ = self.epoll.add(pipe, event);
            }
        }
    }

    fn unwatch(&mut self, pid: i32) {
        let Some(worker) = self.workers.get_mut(&pid) else {
            return;
        };
        if std::mem::take(&mut worker.watched) {
            for pipe in worker.pipes.iter().flatten() {
                let _ = self.epoll.delete(pipe);
            }
        }
    }

    /// Reads once; true: there may be more.
    fn read(&mut self, pid: i32, stream: Stream) -> bool {
        let Some(worker) = self.workers.get_mut(&pid) else {
            return false;
        };
        let place = &mut worker.pipes[stream as usize];
        let (Some(pipe), Some(execution)) = (place.as_mut(), worker.execution.as_mut()) else {
            return false;
        };
        let length = match pipe.read(&mut self.buffer) {
            Ok(length) => length,
            Err(error) if error.kind() == ErrorKind::Interrupted => return true,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
            Err(_) => 0,
        };
        if length == 0 {
            // The epoll forgets it with its last descriptor.
            *place = None;
        }
        if let Some(event) = execution.output(stream, &self.buffer[..length]) {
            self.tell(&event);
        }
        length > 0
    }

    fn close_pipes(&mut self, pid: i32) {
        if let Some(worker) = self.workers.get_mut(&pid) {
            worker.pipes = [None, None];
        }
    }

    /// Tells the end of an execution once its slot has reported (or is gone) and its pipes have ended.
    fn finish(&mut self, pid: i32) {
        if !self.reading {
            return;
        }
        for stream in Stream::BOTH {
            while self.read(pid, stream) {
                if self.mailbox.waiting_bytes() > HIGH {
                    self.flush();
                    self.regulate();
                    if !self.reading {
                        return;
                    }
                }
            }
        }
        let now = Instant::now();
        let Some(worker) = self.workers.get_mut(&pid) else {
            return;
        };
        if worker.pipes.iter().any(Option::is_some) {
            worker.drain_until.get_or_insert(now + DRAIN);
            return self.watch(pid);
        }
        let Some(execution) = worker.execution.take() else {
            return;
        };
        let reusable = !worker.gone && !self.stopping && self.idle.len() < MOST_IDLE;
        let exited = execution.exited(worker.report.take(), reusable, now);
        worker.rest();
        if reusable {
            self.idle.push_back(pid);
            self.ahead_at = Some(now + AHEAD_AFTER);
        } else {
            self.workers.remove(&pid);
        }
        self.running.remove(&execution.id);
        self.mailbox.put_end(&execution.id, &exited);
        self.flush_at = Some(now);
    }

    // Ends

    fn take_signals(&mut self) -> io::Result<()> {
        let mut stop = false;
        while let Some(information) = self.signals.read_signal()? {
            stop |= information.ssi_signo != Signal::SIGCHLD as u32;
        }
        if stop && !self.stopping {
            self.stopping = true;
            self.stop_all();
        }
        self.reap();
        Ok(())
    }

    fn stop_all(&mut self) {
        let now = Instant::now();
        for worker in self
            .workers
            .values_mut()
            .filter(|worker| worker.report.is_none())
        {
            if let Some(execution) = &mut worker.execution {
                begin_stop(execution, orders::GRACE, now);
            }
        }
        if let Some(companion) = &self.companion {
            tree::send(companion.id() as i32, Signal::SIGTERM);
        }
    }

    fn reap(&mut self) {
        let companion = self
            .companion
            .as_ref()
            .map(|companion| companion.id() as i32);
        let mut reaped = false;
        while let Ok(Some(ended)) = wait_for_any(false) {
            if Some(ended.pid) == companion {
                self.companion = None;
                self.ended = Some(ended.status.unwrap_or(128 + ended.signal.unwrap_or(0)));
            }
            reaped = true;
        }
        if reaped {
            // What a slot left that was killed.
            let own = std::process::id() as i32;
            for child in tree::children(own) {
                if !self.workers.contains_key(&child) && Some(child) != companion {
                    tree::kill_below(child);
                    tree::send(child, Signal::SIGKILL);
                }
            }
        }
    }
}

/// TERM to everything of an execution, KILL after the grace; a later call can only shorten it.
fn begin_stop(execution: &mut Execution, grace: Duration, now: Instant) {
    if execution.kill_at.is_none() {
        tree::terminate_below(execution.worker);
    }
    let kill_at = now + grace;
    if execution.kill_at.is_none_or(|known| kill_at < known) {
        execution.kill_at = Some(kill_at);
    }
}

fn token(pid: i32, part: u64) -> u64 {
    u64::from(pid.unsigned_abs()) * PARTS + part
}

/// Rounded up, so that what is due is due when the wait ends.
fn timeout(pause: Option<Duration>) -> EpollTimeout {
    let Some(pause) = pause else {
        return EpollTimeout::NONE;
    };
    let milliseconds = pause.as_nanos().div_ceil(1_000_000);
    EpollTimeout::from(u16::try_from(milliseconds).unwrap_or(u16::MAX))
}
