"""A shell command or a program: the worker becomes it."""

import errno
import os
import signal

from yard_host import frames
from yard_host.worker import Refusal

SHELL = "/bin/sh"
# One digit: some shells can close no higher one.
COMMAND_FD = 9


def run(orders, send_result):
    """Does not return. A shell action has no result besides its output and exit status."""
    if orders.get("command") is not None:
        _hide(orders["command"])
        # The last word is what the shell calls itself in messages.
        arguments = [SHELL, "-c", ". /proc/self/fd/%d" % COMMAND_FD, SHELL]
    else:
        arguments = orders["argv"]
    # Python ignores both; what the user starts expects the defaults (a writer ends when its reader went).
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    try:
        os.execvp(arguments[0], arguments)
    except OSError as error:
        status = 127 if error.errno == errno.ENOENT else 126
        raise Refusal("%s: %s" % (arguments[0], error.strerror), status) from error


def _hide(command):
    """Puts the command into a memory file on `COMMAND_FD`, which the shell reads as it reads a script.

    `sh -c COMMAND` would show it, and the secrets rendered into it, to everyone who lists processes. The first thing the
    script does is to close the descriptor (the shell has its own by then), so that its children do not get the text.
    """
    memory = os.memfd_create("command", os.MFD_CLOEXEC)
    text = "exec %d<&-;%s\n" % (COMMAND_FD, command)
    frames.write_all(memory, text.encode("utf-8", "surrogateescape"))
    os.dup2(memory, COMMAND_FD, inheritable=True)
