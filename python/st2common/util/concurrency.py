"""Sleeping in a way that works with and without eventlet."""

import sys
import time

__all__ = ["sleep", "get_concurrency_library"]


def get_concurrency_library():
    return "eventlet" if "eventlet" in sys.modules else "thread"


def sleep(seconds, *args, **kwargs):
    # Patched by eventlet when the sensor asked for it: then other green threads run meanwhile.
    time.sleep(seconds)
