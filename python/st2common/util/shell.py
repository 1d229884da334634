"""Running commands and quoting their words."""

import os
import shlex
import signal
import subprocess

__all__ = ["run_command", "kill_process", "quote_unix", "quote_windows"]


def run_command(
    cmd,
    stdin=None,
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    shell=False,
    cwd=None,
    env=None,
    close_fds=None,
    **kwargs,
):
    """Runs a command to its end: (exit status, stdout, stderr), the latter as bytes."""
    if not isinstance(cmd, (list, tuple, str)):
        raise TypeError("The command must be a list, a tuple or a string, not %s" % type(cmd))
    kwargs["close_fds"] = True if close_fds is None else close_fds
    process = subprocess.Popen(
        cmd,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        env=dict(os.environ) if env is None else env,
        cwd=cwd,
        shell=shell,
        **kwargs,
    )
    out, err = process.communicate()
    return process.returncode, out, err


def kill_process(process):
    """Ends the process group of a process that leads one: 0, or 1 when there is none."""
    try:
        os.killpg(process.pid, signal.SIGTERM)
    except (ProcessLookupError, PermissionError):
        return 1
    return 0


def quote_unix(value):
    return shlex.quote(value)


def quote_windows(value):
    return subprocess.list2cmdline([value])
