"""A host in a process of its own, and a client of it, for tests."""

import json
import os
import select
import shutil
import socket
import subprocess
import sys
import tempfile
import textwrap
import time

from yard_host import frames, processes

PYTHON_FOLDER = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
WAIT_SECONDS = 30


class Client:
    """One connection. Events that are waited past are kept in `events`."""

    def __init__(self, path):
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(path)
        self._socket.setblocking(False)
        self._decoder = frames.Decoder()
        self.events = []

    def send(self, **request):
        self.send_bytes(frames.encode(request))

    def send_bytes(self, data):
        self._socket.setblocking(True)
        self._socket.sendall(data)
        self._socket.setblocking(False)

    def wait_for(self, wanted, seconds=WAIT_SECONDS):
        """The first event from now on for which `wanted` holds."""
        deadline = time.monotonic() + seconds
        while True:
            event = self.next(deadline - time.monotonic())
            if event is None:
                raise AssertionError("no such event within %s s; the last ones: %s" % (seconds, self.events[-5:]))
            if wanted(event):
                return event

    def next(self, seconds):
        """The next event, or None when none comes in time. ConnectionError when the host hung up."""
        deadline = time.monotonic() + seconds
        while True:
            frame = self._decoder.next()
            if frame is not None:
                self.events.append(frame[0])
                return frame[0]
            if not select.select([self._socket], [], [], max(0, deadline - time.monotonic()))[0]:
                return None
            data = self._socket.recv(1 << 20)
            if not data:
                raise ConnectionError("the host closed the connection")
            self._decoder.feed(data)

    def run(self, **request):
        """Runs an execution to its end: (exited or refused event, stdout, stderr)."""
        self.send(request="run", **request)
        return self.finish(request["id"])

    def finish(self, execution_id):
        end = self.wait_for(
            lambda event: event.get("id") == execution_id and event["event"] in ("exited", "refused")
        )
        return end, self.output(execution_id, "stdout"), self.output(execution_id, "stderr")

    def output(self, execution_id, stream):
        return "".join(
            event["data"]
            for event in self.events
            if event["event"] == "output" and event["id"] == execution_id and event["stream"] == stream
        )

    def close(self):
        self._socket.close()


class RunningHost:
    """Starts a host, and at `close` proves that nothing of it is left."""

    def __init__(self, *arguments, env=None):
        self.folder = tempfile.mkdtemp(prefix="yard-host-")
        # Workers of another user must reach the modules in it.
        os.chmod(self.folder, 0o755)
        self.path = os.path.join(self.folder, "socket")
        environment = dict(os.environ, PYTHONPATH=PYTHON_FOLDER, PYTHONDONTWRITEBYTECODE="1", **(env or {}))
        self.process = subprocess.Popen(
            [sys.executable, "-m", "yard_host", self.path, *arguments], env=environment, stdin=subprocess.DEVNULL
        )
        deadline = time.monotonic() + WAIT_SECONDS
        while not os.path.exists(self.path):
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError("the host did not start: %s" % self.process.poll())
            time.sleep(0.01)

    def connect(self):
        client = Client(self.path)
        hello = client.wait_for(lambda event: event["event"] == "hello")
        return client, hello

    def action(self, name, source):
        """Writes an action module and returns its path."""
        path = os.path.join(self.folder, name + ".py")
        with open(path, "w", encoding="utf-8") as file:
            file.write("from st2common.runners.base_action import Action\n" + textwrap.dedent(source))
        return path

    def close(self):
        known = processes.descendants_of(self.process.pid)
        self.process.terminate()
        try:
            status = self.process.wait(WAIT_SECONDS)
        finally:
            self.process.kill()
            shutil.rmtree(self.folder)
        if status != 0:
            raise AssertionError("the host ended with status %s" % status)
        eventually(lambda: not [pid for pid in known if is_alive(pid)], "processes of the host outlived it")


def is_alive(pid):
    try:
        with open("/proc/%d/stat" % pid, "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] != b"Z"
    except OSError:
        return False


def eventually(holds, otherwise, seconds=WAIT_SECONDS):
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            raise AssertionError("%s (waited %s s)" % (otherwise, seconds))
        time.sleep(0.01)


def result_of(event):
    return json.loads(event["result"])
