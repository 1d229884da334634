"""The event loop of a pack sandbox: one thread, one selector.

    client ──requests──▶ Host ──orders──▶ worker (one per execution)
           ◀──events────      ◀──output, result──

Why forks happen here and not in a helper process: the interpreter that holds the imported modules must be the one that
forks, and everything it does besides forking is to copy bytes. Nothing in this loop may block.

Beginners get wrong:
- A worker inherits every descriptor of the host; it closes them first thing (worker.py), before anything can fail.
- The end of a worker is three ends: the process, its two pipes, its control socket. Only after all of them has
  everything been read. A pipe may be held open by a process of another execution, so waiting for it has a limit.
- A child of the host that is no worker is an orphan of an execution that ended: workers adopt their own orphans while
  they live. That is why it may be killed without asking whose it was.
"""

import json
import os
import selectors
import signal
import socket
import struct
import sys
import time

from yard_host import environment, frames, orders, processes, worker as worker_process
from yard_host.execution import READ_SIZE, Execution, Worker
from yard_host.mailbox import HIGH, LOW, Mailbox
from yard_host.timers import Timers

VERSION = 1
MOST_IDLE = 64
# After the end of a worker: how long its pipes may stay open in foreign hands.
DRAIN_SECONDS = 2.0
# After an idle worker died by itself: pause before its replacement, so that a machine without memory is not also busy.
REFILL_PAUSE_SECONDS = 0.2
STOP_GRACE_MS = 2000
FORK_PAUSE_SECONDS = 0.003

_FIELDS = {
    "stop": {"request", "id", "grace_ms"},
    "prefork": {"request", "count"},
    "forget": {"request", "id"},
    "ping": {"request", "nonce"},
    "retire": {"request", "worker"},
    "enter": {"request", "prefix", "path"},
}


class Host:
    def __init__(self, path, prefork=2, max_running=512):
        self._selector = selectors.DefaultSelector()
        self._mailbox = Mailbox()
        self._timers = Timers()
        self._workers = {}
        self._idle = []
        self._executions = {}
        self._wanted_idle = prefork
        self._refill_after = 0.0
        self._max_running = max_running
        self._reading = True
        self._client = None
        self._decoder = None
        self._environment = None
        self._entered = False
        self._stopping = False
        self._stop_begun = False
        self._path = path
        self._listener = _listen(path)
        self._selector.register(self._listener, selectors.EVENT_READ, self._accept)
        self._wake_read, self._wake_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._selector.register(self._wake_read, selectors.EVENT_READ, self._woken)

    def run(self):
        """Serves until SIGTERM or SIGINT."""
        processes.adopt_orphans()
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_stop_signal)
        # Only now: who sees the socket may connect, and may send a signal.
        os.rename(_unpublished(self._path), self._path)
        while not (self._stopping and not self._executions):
            fork_due = self._fork_due()
            ready = self._selector.select(self._pause_before_fork() if fork_due else self._timers.pause())
            for key, _ in ready:
                # An earlier handler of this round may have closed the descriptor of a later one.
                if self._selector.get_map().get(key.fd) is key:
                    key.data()
            if fork_due and not ready:
                # Only when nothing else is to do: a fork costs what an action's start may cost.
                self._add_idle_worker()
            self._timers.run_due()
            if self._stopping and not self._stop_begun:
                self._stop_begun = True
                self._stop_all()
            self._flush()
            self._regulate()
        self._flush()
        self._close()

    def _close(self):
        for worker in list(self._workers.values()):
            processes.kill_tree(worker.pid)
        self._disconnect()
        self._listener.close()
        try:
            os.unlink(self._path)
        except FileNotFoundError:
            pass

    def _on_stop_signal(self, *_):
        # Runs between two bytecodes of the loop; the wake-up pipe makes the loop turn and see it.
        self._stopping = True

    def _stop_all(self):
        for execution_id in list(self._executions):
            self._begin_stop(execution_id, STOP_GRACE_MS)

    def _pause_before_fork(self):
        """A fork takes the processor from the action that was just started; while others are idle it can wait."""
        pause = self._timers.pause()
        wanted = FORK_PAUSE_SECONDS if self._idle else 0.0
        return wanted if pause is None else min(pause, wanted)

    # The client

    def _accept(self):
        try:
            connection, _ = self._listener.accept()
        except OSError as error:
            print("yard_host: accept: %s" % error, file=sys.stderr)
            return
        (peer, _, _) = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        # 0: a process outside of our pid namespace, which is where the agent is.
        if peer and peer != os.getpid() and processes.descends_from(peer, os.getpid()):
            print("yard_host: connection of our own descendant %d refused" % peer, file=sys.stderr)
            connection.close()
            return
        self._disconnect()
        connection.setblocking(False)
        self._client = connection
        self._decoder = frames.Decoder()
        running = [
            {"id": worker.execution.id, "pid": worker.pid}
            for worker in self._workers.values()
            if worker.execution is not None
        ]
        self._mailbox.greet(
            {
                "event": "hello",
                "version": VERSION,
                "pid": os.getpid(),
                "python": sys.version.split()[0],
                "running": running,
                "idle": list(self._idle),
            }
        )
        self._selector.register(connection, selectors.EVENT_READ, self._serve_client)

    def _disconnect(self):
        if self._client is not None:
            self._selector.unregister(self._client)
            self._client.close()
            self._client = None

    def _serve_client(self):
        try:
            data = self._client.recv(1 << 20)
        except (BlockingIOError, InterruptedError):
            # Woken because the socket can be written again: the loop flushes after every round.
            return
        except OSError:
            data = b""
        if not data:
            self._disconnect()
            return
        self._decoder.feed(data)
        try:
            while True:
                frame = self._decoder.next()
                if frame is None:
                    break
                self._handle(*frame)
        except frames.FrameError as error:
            print("yard_host: connection ended: %s" % error, file=sys.stderr)
            self._disconnect()

    def _flush(self):
        if self._client is None:
            return
        try:
            done = self._mailbox.send(self._client)
        except OSError:
            self._disconnect()
            return
        events = selectors.EVENT_READ if done else selectors.EVENT_READ | selectors.EVENT_WRITE
        if self._selector.get_key(self._client).events != events:
            self._selector.modify(self._client, events, self._serve_client)

    def _regulate(self):
        """Stops reading output when too much of it waits, resumes when it went."""
        waiting = self._mailbox.waiting_bytes
        if self._reading and waiting > HIGH:
            self._reading = False
            for worker in self._workers.values():
                for fd in worker.streams.values():
                    self._selector.unregister(fd)
        elif not self._reading and waiting < LOW:
            self._reading = True
            for worker in self._workers.values():
                for stream in worker.streams:
                    self._watch(worker, stream)

    def _refuse(self, body, code, *problems):
        event = {"event": "refused", "request": body.get("request"), "code": code, "problems": list(problems)}
        if isinstance(body.get("id"), str):
            event["id"] = body["id"]
        self._mailbox.put(event)

    # Requests

    def _handle(self, body, data):
        name = body.get("request")
        if name == "run":
            self._handle_run(body, data)
            return
        fields = _FIELDS.get(name) if isinstance(name, str) else None
        if fields is None:
            self._refuse(body, "invalid", "there is no request %r" % (name,))
            return
        unknown = sorted(set(body) - fields)
        if unknown:
            self._refuse(body, "invalid", *("%s is not a field of %s" % (field, name) for field in unknown))
            return
        if name == "enter":
            self._handle_enter(body, data)
        else:
            getattr(self, "_handle_" + name)(body)

    def _handle_run(self, body, data):
        problems = orders.problems_of(body)
        if problems:
            self._refuse(body, "invalid", *problems)
        elif body["id"] in self._executions or self._mailbox.knows_end_of(body["id"]):
            self._refuse(body, "duplicate", "execution %s was already run here" % body["id"])
        elif self._stopping or len(self._executions) >= self._max_running:
            reason = "is stopping" if self._stopping else "runs %d executions" % self._max_running
            self._refuse(body, "full", "the host " + reason)
        else:
            worker = self._take_worker(body.get("worker"))
            if worker is None:
                if body.get("worker") is None:
                    self._refuse(body, "full", "no further process can be made")
                else:
                    self._refuse(body, "no_such_worker", "no idle worker has pid %d" % body["worker"])
                return
            execution = Execution(body)
            worker.execution = execution
            self._executions[execution.id] = worker
            # The bytes the client sent go to the worker as they are.
            worker.unsent += frames.wrap(data)
            self._send_orders(worker)

    def _handle_enter(self, body, data):
        problems = orders.problems_of_enter(body)
        if self._environment is not None or self._executions:
            problems.append("this host has its pack already")
        if problems:
            self._refuse(body, "invalid", *problems)
            return
        # It takes longer than the start of an action. So a worker that is there already does it when it gets its
        # orders, and the host before it forks the next.
        self._environment = data
        for pid in self._idle:
            self._workers[pid].unsent = frames.wrap(data)

    def _handle_stop(self, body):
        worker = self._executions.get(body.get("id")) if isinstance(body.get("id"), str) else None
        grace_ms = body.get("grace_ms", STOP_GRACE_MS)
        if not orders.INTEGER[0](grace_ms):
            self._refuse(body, "invalid", "grace_ms must be " + orders.INTEGER[1])
        elif worker is None:
            self._refuse(body, "unknown_execution", "no execution %s runs here" % body.get("id"))
        else:
            worker.execution.stopped = True
            self._begin_stop(worker.execution.id, grace_ms)

    def _handle_prefork(self, body):
        count = body.get("count")
        if not orders.INTEGER[0](count) or count > MOST_IDLE:
            self._refuse(body, "invalid", "count must be an integer from 0 to %d" % MOST_IDLE)
            return
        self._wanted_idle = count
        while len(self._idle) > count:
            self._retire(self._idle.pop())

    def _handle_retire(self, body):
        pid = body.get("worker")
        if pid not in self._idle:
            self._refuse(body, "no_such_worker", "no idle worker has pid %s" % pid)
            return
        self._idle.remove(pid)
        self._retire(pid)
        # Whoever cannot use one may not be able to use the next either.
        self._pause_refill()

    def _retire(self, pid):
        # An idle worker ends when its control socket does.
        self._workers[pid].control.shutdown(socket.SHUT_WR)
        self._announce({"event": "worker_lost", "pid": pid})

    def _handle_forget(self, body):
        if not isinstance(body.get("id"), str) or not self._mailbox.forget(body["id"]):
            self._refuse(body, "unknown_execution", "no execution %s ended here" % body.get("id"))

    def _handle_ping(self, body):
        self._mailbox.put(
            {
                "event": "pong",
                "nonce": body.get("nonce"),
                "idle": len(self._idle),
                "running": len(self._executions),
            }
        )

    # Workers

    def _fork_due(self):
        return (
            not self._stopping
            and len(self._idle) < self._wanted_idle
            and time.monotonic() >= self._refill_after
        )

    def _add_idle_worker(self):
        worker = self._fork()
        if worker is not None:
            self._idle.append(worker.pid)
            self._announce({"event": "worker", "pid": worker.pid})

    def _announce(self, event):
        """Idle workers are told in the greeting too: without a client there is nobody to tell."""
        if self._client is not None:
            self._mailbox.put(event)

    def _take_worker(self, pid):
        if pid is not None:
            if pid not in self._idle:
                return None
            self._idle.remove(pid)
            return self._workers[pid]
        if self._idle:
            return self._workers[self._idle.pop(0)]
        return self._fork()

    def _fork(self):
        if self._environment is not None and not self._entered:
            self._entered = True
            body = json.loads(self._environment)
            environment.enter(body.get("prefix"), body.get("path") or [])
        control, theirs = socket.socketpair()
        outputs = {name: os.pipe2(os.O_CLOEXEC) for name in ("stdout", "stderr")}
        sys.stdout.flush()
        sys.stderr.flush()
        try:
            pid = os.fork()
        except OSError as error:
            print("yard_host: fork: %s" % error, file=sys.stderr)
            control.close()
            theirs.close()
            for ends in outputs.values():
                os.close(ends[0])
                os.close(ends[1])
            self._pause_refill()
            return None
        if pid == 0:
            worker_process.main(theirs.fileno(), outputs["stdout"][1], outputs["stderr"][1])
        theirs.close()
        control.setblocking(False)
        streams = {}
        for name, (reader, writer) in outputs.items():
            os.close(writer)
            os.set_blocking(reader, False)
            streams[name] = reader
        worker = Worker(pid, control, streams)
        self._workers[pid] = worker
        self._selector.register(control, selectors.EVENT_READ, lambda: self._serve_control(worker))
        if self._reading:
            for stream in streams:
                self._watch(worker, stream)
        return worker

    def _pause_refill(self):
        self._refill_after = time.monotonic() + REFILL_PAUSE_SECONDS
        # Makes the loop turn again by then.
        self._timers.after(REFILL_PAUSE_SECONDS, lambda: None)

    def _watch(self, worker, stream):
        self._selector.register(
            worker.streams[stream], selectors.EVENT_READ, lambda: self._serve_output(worker, stream)
        )

    def _send_orders(self, worker):
        try:
            while worker.unsent:
                count = worker.control.send(worker.unsent)
                worker.unsent = worker.unsent[count:]
        except (BlockingIOError, InterruptedError):
            self._selector.modify(
                worker.control,
                selectors.EVENT_READ | selectors.EVENT_WRITE,
                lambda: self._serve_control(worker),
            )
            return
        except OSError:
            # It died; its end is told when it is reaped.
            worker.unsent = b""
        if self._selector.get_key(worker.control).events != selectors.EVENT_READ:
            self._selector.modify(
                worker.control, selectors.EVENT_READ, lambda: self._serve_control(worker)
            )

    def _serve_control(self, worker):
        if worker.unsent:
            self._send_orders(worker)
        try:
            data = worker.control.recv(READ_SIZE)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        if not data:
            self._selector.unregister(worker.control)
            worker.control.close()
            worker.control_open = False
            self._conclude(worker)
        elif worker.execution is not None:
            started = worker.execution.started
            worker.execution.take_control(data)
            if not started:
                self._tell_start(worker)

    def _tell_start(self, worker):
        execution = worker.execution
        self._mailbox.put(
            {"event": "started", "id": execution.id, "pid": worker.pid, "at": int(time.time() * 1000)}
        )
        if execution.timeout_ms is not None:
            execution.timers.append(
                self._timers.after(execution.timeout_ms / 1000, lambda: self._time_out(execution.id, worker))
            )

    def _serve_output(self, worker, stream):
        try:
            data = os.read(worker.streams[stream], READ_SIZE)
        except (BlockingIOError, InterruptedError):
            return
        if worker.execution is not None:
            event = worker.execution.take_output(stream, data)
            if event is not None:
                self._mailbox.put(event)
                if self._mailbox.waiting_bytes > HIGH:
                    self._flush()
                    self._regulate()
        if not data:
            fd = worker.streams.pop(stream)
            if self._reading:
                self._selector.unregister(fd)
            os.close(fd)
            self._conclude(worker)

    # Ends

    def _time_out(self, execution_id, worker):
        if self._executions.get(execution_id) is worker and worker.ended is None:
            if not worker.execution.stopped:
                worker.execution.timed_out = True
            self._begin_stop(execution_id, worker.execution.grace_ms)

    def _begin_stop(self, execution_id, grace_ms):
        worker = self._executions[execution_id]
        execution = worker.execution
        if worker.ended is not None:
            return
        if execution.kill_at is None:
            processes.terminate_tree(worker.pid)
        kill_at = time.monotonic() + grace_ms / 1000
        if execution.kill_at is None or kill_at < execution.kill_at:
            execution.kill_at = kill_at
            execution.timers.append(self._timers.after(grace_ms / 1000, lambda: self._kill(worker)))

    def _kill(self, worker):
        if worker.ended is None and not worker.execution.killed:
            worker.execution.killed = True
            processes.kill_tree(worker.pid)

    def _woken(self):
        try:
            os.read(self._wake_read, 4096)
        except BlockingIOError:
            pass
        self._reap()

    def _reap(self):
        reaped = False
        while True:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if pid == 0:
                break
            reaped = True
            worker = self._workers.get(pid)
            if worker is not None:
                worker.ended = (status, usage)
                worker.drain_timer = self._timers.after(
                    DRAIN_SECONDS, lambda worker=worker: self._give_up_draining(worker)
                )
                self._conclude(worker)
        if reaped:
            for child in processes.children_of(os.getpid()):
                if child not in self._workers:
                    processes.kill_tree(child)

    def _give_up_draining(self, worker):
        if self._workers.get(worker.pid) is not worker:
            return
        if not self._reading:
            # Its output still waits for the client, not for a foreign process.
            worker.drain_timer = self._timers.after(DRAIN_SECONDS, lambda: self._give_up_draining(worker))
            return
        for fd in worker.streams.values():
            self._selector.unregister(fd)
        if worker.control_open:
            self._selector.unregister(worker.control)
        worker.close()
        self._conclude(worker)

    def _conclude(self, worker):
        """Tells the end of a worker once its process, its pipes and its control socket have ended."""
        if worker.ended is None or worker.streams or worker.control_open:
            return
        del self._workers[worker.pid]
        self._timers.cancel(worker.drain_timer)
        execution = worker.execution
        if execution is None:
            if worker.pid in self._idle:
                self._idle.remove(worker.pid)
                self._announce({"event": "worker_lost", "pid": worker.pid})
                self._pause_refill()
            return
        del self._executions[execution.id]
        for timer in execution.timers:
            self._timers.cancel(timer)
        if not execution.started and not execution.stopped:
            self._mailbox.put(
                {
                    "event": "refused",
                    "request": "run",
                    "id": execution.id,
                    "code": "worker_lost",
                    "problems": ["worker %d died before it started" % worker.pid],
                }
            )
            return
        self._mailbox.put_end(execution.id, execution.exited(worker))


def _listen(path):
    """Listens on a path beside the final one."""
    path = _unpublished(path)
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    old = os.umask(0o177)
    try:
        listener.bind(path)
    finally:
        os.umask(old)
    listener.listen(8)
    listener.setblocking(False)
    return listener


def _unpublished(path):
    return path + ".new"
