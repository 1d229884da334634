"""Command line of the pack host; see PROTOCOL.md."""

import argparse
import gc
import importlib
import os
import sys

from yard_host.host import MOST_IDLE, Host

# What most actions import. The first three are needed by every one of them.
PRELOAD = (
    "yard_host.kinds.python",
    "yard_host.kinds.shell",
    "st2common.runners.base_action",
    "datetime",
    "hashlib",
    "re",
    "ssl",
    "subprocess",
    "traceback",
    "urllib.request",
    "uuid",
)
# Preloaded when the environment has them.
PRELOAD_IF_PRESENT = ("six", "yaml", "requests", "jinja2", "pytz")


def main(arguments):
    parser = argparse.ArgumentParser(prog="yard_host", description="The main process of a pack sandbox.")
    parser.add_argument("socket")
    parser.add_argument("--preload", default="")
    parser.add_argument("--bytecode-dir")
    parser.add_argument("--prefork", type=int, default=2)
    parser.add_argument("--max-running", type=int, default=512)
    options = parser.parse_args(arguments)
    if not 0 <= options.prefork <= MOST_IDLE:
        parser.error("--prefork must be from 0 to %d" % MOST_IDLE)
    if options.max_running < 1:
        parser.error("--max-running must be at least 1")
    if options.bytecode_dir:
        sys.pycache_prefix = options.bytecode_dir
    preload(options.preload)
    try:
        host = Host(options.socket, options.prefork, options.max_running)
    except OSError as error:
        print("yard_host: cannot listen on %s: %s" % (options.socket, error.strerror), file=sys.stderr)
        return 2
    host.run()
    return 0


def preload(wanted):
    for name in PRELOAD:
        importlib.import_module(name)
    for name in PRELOAD_IF_PRESENT:
        try:
            importlib.import_module(name)
        except ImportError:
            pass
    for name in filter(None, wanted.split(",")):
        try:
            importlib.import_module(name)
        except Exception as error:
            print("yard_host: %s is not preloaded: %s: %s" % (name, type(error).__name__, error), file=sys.stderr)
    threads = len(os.listdir("/proc/self/task"))
    if threads > 1:
        # A fork copies only one of them, and the locks of the others as they are.
        print("yard_host: the preloaded modules left %d threads; preload less" % (threads - 1), file=sys.stderr)
    # What lives now lives in every worker: keep the collector from touching, and so copying, its pages.
    gc.collect()
    gc.freeze()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
