#!/usr/bin/env python3
"""Prints the processes that match, as JSON of id and command line. Runs on the host that is checked.

    check_processes.py state|name|pid CRITERIA [pidlist]
"""

import json
import os
import re
import sys


def processes():
    """(id, state, command line) of every process but this one."""
    for pid in os.listdir("/proc"):
        if not pid.isdigit() or int(pid) == os.getpid():
            continue
        try:
            with open("/proc/%s/stat" % pid) as file:
                # The state follows the name, which may hold spaces and parentheses.
                state = file.read().rpartition(")")[2].split()[0]
            with open("/proc/%s/cmdline" % pid) as file:
                command = file.read().replace("\0", " ").strip()
        except OSError:
            # It ended meanwhile.
            continue
        yield pid, state, command


def main(search, criteria, options):
    matches = {
        "state": lambda pid, state, command: state == criteria,
        "name": lambda pid, state, command: re.search(criteria, command),
        "pid": lambda pid, state, command: pid == criteria,
    }[search]
    found = {process[0]: process[2] for process in processes() if matches(*process)}
    if "pidlist" in options:
        sys.stderr.write(" ".join(found))
    print(json.dumps(found))


if len(sys.argv) < 3 or sys.argv[1] not in ("state", "name", "pid"):
    sys.exit("usage: check_processes.py state|name|pid CRITERIA [pidlist]")
main(sys.argv[1], sys.argv[2], sys.argv[3:])
