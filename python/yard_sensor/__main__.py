"""Command line of the sensor wrapper; see README.md."""

import argparse
import sys

from yard_sensor.wrapper import run


def main(arguments):
    parser = argparse.ArgumentParser(prog="yard_sensor", description="Run one sensor class.")
    parser.add_argument("orders", nargs="?", help="file with the orders; without it they are the first line of stdin")
    options = parser.parse_args(arguments)
    return run(options.orders)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
