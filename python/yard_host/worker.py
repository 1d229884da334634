"""The forked child: waits for its orders, becomes the execution, ends.

Runs below the host's stack and never returns to it: the host's objects (sockets, the selector) stay alive and untouched,
so that no destructor closes a descriptor number that means something else here.
"""

import atexit
import gc
import importlib
import json
import os
import resource
import signal
import sys
import threading
import time
import traceback

from yard_host import environment, frames, processes, rehearsal
from yard_host.execution import RESULT_HEADER, STARTED
from yard_host.orders import DEFAULT_RESULT_LIMIT

# Above that of the host, which is started with 500.
OOM_SCORE = 800
_HERE = os.path.dirname(os.path.abspath(__file__))
_RESOURCES = {
    "memory_bytes": resource.RLIMIT_AS,
    "processes": resource.RLIMIT_NPROC,
    "open_files": resource.RLIMIT_NOFILE,
    "file_bytes": resource.RLIMIT_FSIZE,
    "cpu_seconds": resource.RLIMIT_CPU,
}


class Refusal(Exception):
    """The orders cannot be carried out; the text is for the user. No traceback is shown."""

    def __init__(self, text, status=1):
        super().__init__(text)
        self.status = status


def main(control, stdout, stderr):
    """The whole life of the child. Does not return."""
    status = 1
    try:
        _settle(control, stdout, stderr)
        rehearsal.rehearse()
        orders = _await_orders(control)
        if orders is None:
            os._exit(0)
        frames.write_all(control, STARTED)
        status = _carry_out(orders, control)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def _await_orders(control):
    """The orders, or None when there will be none. Before them it may be told its pack's environment."""
    while True:
        data = frames.read_blocking(control)
        if data is None:
            return None
        body = json.loads(data)
        if body.get("request") != "enter":
            return body
        environment.enter(body.get("prefix"), body.get("path") or [])


def _settle(control, stdout, stderr):
    """Cuts the child off from its parent: signals, session, descriptors."""
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    os.setsid()
    processes.die_with_parent()
    processes.adopt_orphans()
    null = os.open("/dev/null", os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(stdout, 1)
    os.dup2(stderr, 2)
    keep = {0, 1, 2, control}
    for name in os.listdir("/proc/self/fd"):
        fd = int(name)
        if fd not in keep:
            try:
                os.close(fd)
            except OSError:
                # The listing's own descriptor, closed already.
                pass
    try:
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write(str(OOM_SCORE))
    except OSError:
        # Lower than the parent's is not permitted everywhere; then both are taken alike.
        pass
    sys.stdin = open(0, "r", closefd=False)
    sys.stdout = _unbuffered(1, "strict")
    sys.stderr = _unbuffered(2, "backslashreplace")
    sys.__stdin__, sys.__stdout__, sys.__stderr__ = sys.stdin, sys.stdout, sys.stderr


def _unbuffered(fd, errors):
    """As `python -u`: everything written can be read by the other side at once."""
    import io

    raw = open(fd, "wb", 0, closefd=False)
    return io.TextIOWrapper(raw, encoding="utf-8", errors=errors, write_through=True)


def _carry_out(orders, control):
    try:
        kind = importlib.import_module("yard_host.kinds." + orders["kind"])
        _prepare(orders)
        kind.run(orders, lambda document: _send_result(document, control, orders))
        status = 0
    except Refusal as refusal:
        print(refusal, file=sys.stderr)
        return refusal.status
    except SystemExit as end:
        status = _status_of(end.code)
    except BaseException as error:
        _print_traceback(error)
        status = 1
    return _finish(status)


def _finish(status):
    """What an interpreter does at its end: threads, exit handlers, buffers."""
    try:
        threading._shutdown()
        atexit._run_exitfuncs()
    except BaseException:
        traceback.print_exc()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            pass
    return status


def _status_of(code):
    if code is None:
        return 0
    if isinstance(code, int):
        return code & 0xFF
    print(code, file=sys.stderr)
    return 1


def _print_traceback(error):
    """The user's frames only: ours say nothing about their action."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename.startswith(_HERE):
        trace = trace.tb_next
    traceback.print_exception(type(error), error, trace or error.__traceback__)


def _prepare(orders):
    """Limits, user, directory and environment, in the order in which the rights for them are lost."""
    for name, value in (orders.get("limits") or {}).items():
        if value is not None:
            _limit(name, value)
    if orders.get("user") is not None:
        _become(orders["user"])
    cwd = orders.get("cwd") or "/"
    try:
        os.chdir(cwd)
    except OSError as error:
        raise Refusal("cannot change to the working directory %s: %s" % (cwd, error.strerror)) from error
    if orders.get("env") is not None:
        os.environ.clear()
        os.environ.update(orders["env"])
        time.tzset()
    gc.enable()


def _limit(name, value):
    kind = _RESOURCES[name]
    _, hard = resource.getrlimit(kind)
    try:
        resource.setrlimit(kind, (value, value))
    except (ValueError, OSError) as error:
        raise Refusal("cannot set the limit %s to %d (at most %d): %s" % (name, value, hard, error)) from error


def _become(name):
    try:
        user = rehearsal.user(name)
    except KeyError as error:
        raise Refusal("there is no user %s" % name) from error
    if user.uid == os.geteuid():
        return
    try:
        os.setgroups(user.groups)
        os.setgid(user.gid)
        os.setuid(user.uid)
    except OSError as error:
        raise Refusal("cannot become user %s: %s" % (name, error.strerror)) from error
    # The change of user cleared it.
    processes.die_with_parent()


def _send_result(document, control, orders):
    text = json.dumps(document, separators=(",", ":"), allow_nan=False).encode("ascii")
    limit = orders.get("result_limit")
    limit = DEFAULT_RESULT_LIMIT if limit is None else limit
    frames.write_all(control, RESULT_HEADER.pack(len(text)))
    if len(text) > limit:
        raise Refusal("the result has %d bytes, more than the limit of %d" % (len(text), limit))
    frames.write_all(control, text)
