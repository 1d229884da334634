"""Process trees: finding and ending everything that descends from an execution.

A process group is not enough: a process may leave it. What cannot be left is the chain of parents, as long as the worker
(and above it the host) is the subreaper of its orphans.
"""

import ctypes
import os
import signal

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
# Rounds of "freeze what is new" before killing. A tree that still grows after so many is killed as far as it is known;
# the next sweep takes the rest.
_FREEZE_ROUNDS = 16

_libc = ctypes.CDLL(None, use_errno=True)


def _prctl(option, argument):
    if _libc.prctl(option, ctypes.c_ulong(argument), 0, 0, 0) != 0:
        error = ctypes.get_errno()
        raise OSError(error, "prctl %d: %s" % (option, os.strerror(error)))


def adopt_orphans():
    """Makes the caller the parent of descendants whose own parent ended. Survives exec, is not inherited by fork."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def die_with_parent():
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def parent_of(pid):
    """The parent's pid, or None when there is no such process."""
    try:
        with open("/proc/%d/stat" % pid, "rb") as file:
            # The name in parentheses may itself hold spaces and parentheses.
            return int(file.read().rpartition(b")")[2].split()[1])
    except (OSError, IndexError, ValueError):
        return None


def children_of(pid):
    """Pids of the direct children, zombies included."""
    found = set()
    try:
        for thread in os.listdir("/proc/%d/task" % pid):
            with open("/proc/%d/task/%s/children" % (pid, thread), "rb") as file:
                found.update(int(word) for word in file.read().split())
    except FileNotFoundError:
        if os.path.exists("/proc/%d/stat" % pid):
            return _children_by_scan(pid)
    except OSError:
        pass
    return found


def _children_by_scan(pid):
    """For kernels without the `children` files."""
    return {
        int(name) for name in os.listdir("/proc") if name.isdigit() and parent_of(int(name)) == pid
    }


def descendants_of(pid):
    """Pids of every process below `pid`, without itself."""
    found = set()
    waiting = [pid]
    while waiting:
        for child in children_of(waiting.pop()):
            if child not in found:
                found.add(child)
                waiting.append(child)
    return found


def descends_from(pid, ancestor):
    """Whether the chain of parents of `pid` leads to `ancestor`."""
    seen = set()
    while pid and pid > 1 and pid not in seen:
        if pid == ancestor:
            return True
        seen.add(pid)
        pid = parent_of(pid)
    return False


def send(pid, number):
    try:
        os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        pass


def terminate_tree(leader):
    """Asks the leader and everything below it to end."""
    for pid in {leader} | descendants_of(leader):
        send(pid, signal.SIGTERM)


def kill_tree(leader):
    """Ends the leader and everything below it.

    All are frozen first: killed one by one, a process that forks could stay ahead.
    """
    frozen = set()
    for _ in range(_FREEZE_ROUNDS):
        fresh = ({leader} | descendants_of(leader)) - frozen
        if not fresh:
            break
        for pid in fresh:
            send(pid, signal.SIGSTOP)
        frozen |= fresh
    for pid in frozen:
        send(pid, signal.SIGKILL)
