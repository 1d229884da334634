#!/usr/bin/env python3
"""Prints the load average per processor: of one period, or of all as JSON. Runs on the host that is checked."""

import json
import os
import sys


def main(period):
    processors = os.cpu_count() or 1
    loads = {name: str(load / processors) for name, load in zip(("1", "5", "15"), os.getloadavg())}
    period = {"one": "1", "five": "5", "fifteen": "15"}.get(period, period)
    print(loads.get(period) or json.dumps(loads))


main(sys.argv[1] if len(sys.argv) > 1 else "all")
