"""Runs all tests: `python3 -m tests`. Names what was skipped and ends with `N passed, N failed`."""

import os
import sys
import unittest


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    top = os.path.dirname(here)
    suite = unittest.TestLoader().discover(here, top_level_dir=top)
    result = unittest.TextTestRunner(buffer=True).run(suite)
    failed = len(result.failures) + len(result.errors) + len(result.unexpectedSuccesses)
    for test, reason in result.skipped:
        print("SKIPPED %s: %s" % (test.id(), reason))
    print("%d passed, %d failed" % (max(result.testsRun - failed - len(result.skipped), 0), failed))
    return 1 if failed or not result.testsRun else 0


if __name__ == "__main__":
    sys.exit(main())
