"""One worker, and one execution, as the host sees them."""

import codecs
import os
import struct
import time

from yard_host import orders

RESULT_HEADER = struct.Struct(">Q")
STARTED = b"S"
READ_SIZE = 64 * 1024


class Worker:
    """A forked child: idle until it has an execution, gone after it."""

    def __init__(self, pid, control, streams):
        self.pid = pid
        self.control = control
        # Read ends of its pipes by name; an entry is removed at its end of file.
        self.streams = streams
        self.unsent = b""
        self.execution = None
        # What os.wait4 told, once it ended: (status, resource usage).
        self.ended = None
        self.control_open = True
        self.drain_timer = None

    def close(self):
        for fd in self.streams.values():
            os.close(fd)
        self.streams = {}
        if self.control_open:
            self.control_open = False
            self.control.close()


class Execution:
    """What is known of a run: its limits, what it printed, how it ends."""

    def __init__(self, body):
        self.id = body["id"]
        self.grace_ms = _or(body.get("grace_ms"), orders.DEFAULT_GRACE_MS)
        self.timeout_ms = body.get("timeout_ms")
        self.output_limit = _or(body.get("output_limit"), orders.DEFAULT_OUTPUT_LIMIT)
        self.result_limit = _or(body.get("result_limit"), orders.DEFAULT_RESULT_LIMIT)
        self.started_at = None
        self.timed_out = False
        self.stopped = False
        # What must be canceled at its end: its time limit, its kill.
        self.timers = []
        self.kill_at = None
        self.killed = False
        self.result_over_limit = False
        self._sequence = 0
        self._printed = {}
        self._decoders = {}
        self._truncated = []
        self._from_worker = bytearray()

    @property
    def started(self):
        return self.started_at is not None

    def take_control(self, data):
        """What the worker sends: one byte when it starts, then the result behind its length."""
        if not self.started:
            self.started_at = time.monotonic()
            data = data[len(STARTED):]
        missing = RESULT_HEADER.size + self.result_limit - len(self._from_worker)
        self._from_worker += data[:max(missing, 0)]

    def result(self):
        """The whole result text, or None if there is none, or only a part of one."""
        if len(self._from_worker) < RESULT_HEADER.size:
            return None
        (length,) = RESULT_HEADER.unpack_from(self._from_worker)
        if length > self.result_limit:
            self.result_over_limit = True
            return None
        if len(self._from_worker) < RESULT_HEADER.size + length:
            return None
        text = bytes(self._from_worker[RESULT_HEADER.size:RESULT_HEADER.size + length])
        return text.decode("utf-8", "replace")

    def take_output(self, stream, data):
        """The event for a piece of output (empty `data`: its end), or None when there is nothing to tell."""
        decoder = self._decoders.get(stream)
        if decoder is None:
            decoder = codecs.getincrementaldecoder("utf-8")("replace")
            self._decoders[stream] = decoder
        room = self.output_limit - self._printed.get(stream, 0)
        if len(data) > room:
            if stream not in self._truncated:
                self._truncated.append(stream)
            data, final = data[:room], True
        else:
            final = not data
        self._printed[stream] = self._printed.get(stream, 0) + len(data)
        text = decoder.decode(data, final)
        if not text:
            return None
        event = {"event": "output", "id": self.id, "stream": stream, "seq": self._sequence, "data": text}
        self._sequence += 1
        return event

    def exited(self, worker):
        """The last event."""
        status, usage = worker.ended
        ran_for = time.monotonic() - self.started_at if self.started else 0.0
        return {
            "event": "exited",
            "id": self.id,
            "pid": worker.pid,
            "at": int(time.time() * 1000),
            "status": os.WEXITSTATUS(status) if os.WIFEXITED(status) else None,
            "signal": os.WTERMSIG(status) if os.WIFSIGNALED(status) else None,
            "result": self.result(),
            "result_over_limit": self.result_over_limit,
            "timed_out": self.timed_out,
            "stopped": self.stopped,
            "truncated": self._truncated,
            "wall_ms": int(ran_for * 1000),
            "cpu_ms": int((usage.ru_utime + usage.ru_stime) * 1000),
            "max_rss_bytes": usage.ru_maxrss * 1024,
        }


def _or(value, default):
    return default if value is None else value
