"""What a worker does before it has orders, so that it is done when they come.

A forked child copies each page at the first write to it, and in Python reading is writing: the beginning of an action
was mostly that. A worker waits idle anyway. So it goes through the motions of an action once: loads a class, reads and
writes JSON, looks up the user that actions run as. What it made is thrown away; the pages are its own from then on.
"""

import collections
import importlib
import json
import os
import pwd
import sys

# Whom nearly all actions run as.
USUAL_USER = "vcap"
_FILES = ("/etc/passwd", "/etc/group")
_EXAMPLE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "example_action.py")
_ORDERS = '{"request": "run", "parameters": {"text": "x", "number": 1.5, "list": [true, null]}, "env": {"A": "b"}}'

User = collections.namedtuple("User", "uid gid groups")

# The usual user and the state of the files he was found in; nothing before the rehearsal.
_found = None


def rehearse():
    """Never fails and prints nothing: the streams are those of the action to come, and what cannot be rehearsed is met
    when it is played."""
    global _found
    before = list(sys.path)
    try:
        # Preloaded; it needs the worker itself.
        python = importlib.import_module("yard_host.kinds.python")
        json.dumps(json.loads(_ORDERS))
        python.document_of(python.load_class(_EXAMPLE, [])().run())
    except Exception:
        pass
    finally:
        sys.path[:] = before
    # Before he is looked for: a change meanwhile is seen by who asks.
    stamps = _stamps()
    try:
        _found = stamps, _look_up(USUAL_USER)
    except KeyError:
        _found = None


def user(name):
    """The user of this name, or of this number in text; KeyError if there is none."""
    if name == USUAL_USER and _found is not None and _found[0] == _stamps():
        return _found[1]
    return _look_up(name)


def _look_up(name):
    entry = pwd.getpwuid(int(name)) if name.isdigit() else pwd.getpwnam(name)
    return User(entry.pw_uid, entry.pw_gid, os.getgrouplist(entry.pw_name, entry.pw_gid))


def _stamps():
    """By which the files are known to be the same."""
    found = []
    for path in _FILES:
        try:
            stat = os.stat(path)
        except OSError:
            found.append(None)
        else:
            found.append((stat.st_ino, stat.st_size, stat.st_mtime_ns))
    return found
