"""Runs the unit tests of a pack: `python3 -m st2tests.run PACK [-k PATTERN] [-v]`.

The pack's lib, sensors, actions, actions/lib and etc are on the path, as its tests expect. Exit status: 0 all passed, 1 some
failed, 2 the folder is no pack or a test module cannot be loaded, 5 there are no tests. The last line is a summary:
`N passed, N failed, N skipped`.
"""

import argparse
import os
import sys
import unittest

PASSED, FAILED, UNUSABLE, EMPTY = 0, 1, 2, 5
_FOLDERS = ("lib", "sensors", "actions", "actions/lib", "etc")


class Loader(unittest.TestLoader):
    """Leaves out classes that say `__test__ = False`: bases of test cases, by the convention of other runners."""

    def loadTestsFromTestCase(self, testCaseClass):
        if not getattr(testCaseClass, "__test__", True):
            return self.suiteClass()
        return super().loadTestsFromTestCase(testCaseClass)


def main(arguments):
    parser = argparse.ArgumentParser(prog="st2tests.run", description="Run the unit tests of a pack.")
    parser.add_argument("pack", help="the pack's folder")
    parser.add_argument("-k", dest="pattern", action="append", help="only tests whose name contains this")
    parser.add_argument("-v", "--verbose", action="store_true")
    options = parser.parse_args(arguments)
    pack = os.path.abspath(options.pack)
    if not os.path.isfile(os.path.join(pack, "pack.yaml")):
        print("%s is no pack: it has no pack.yaml" % pack, file=sys.stderr)
        return UNUSABLE
    tests = os.path.join(pack, "tests")
    if not os.path.isdir(tests):
        print("0 passed, 0 failed, 0 skipped: the pack has no folder tests")
        return EMPTY
    prepare(pack)
    loader = Loader()
    if options.pattern:
        loader.testNamePatterns = ["*%s*" % pattern for pattern in options.pattern]
    suite = load(loader, tests)
    for error in loader.errors:
        print(error, file=sys.stderr)
    if loader.errors:
        print("%d test modules cannot be loaded" % len(loader.errors))
        return UNUSABLE
    runner = unittest.TextTestRunner(verbosity=2 if options.verbose else 1, buffer=not options.verbose)
    result = runner.run(suite)
    failed = len(result.failures) + len(result.errors) + len(result.unexpectedSuccesses)
    skipped = len(result.skipped)
    print("%d passed, %d failed, %d skipped" % (max(result.testsRun - failed - skipped, 0), failed, skipped))
    if failed:
        return FAILED
    return PASSED if result.testsRun else EMPTY


def prepare(pack):
    """Makes the pack's modules importable, in the order in which its tests expect them."""
    sys.path[:0] = [os.path.join(pack, folder) for folder in _FOLDERS if os.path.isdir(os.path.join(pack, folder))]
    os.chdir(pack)
    try:
        import mock  # noqa: F401
    except ImportError:
        # The package of that name is today's standard library under its old name; many packs still import it.
        import unittest.mock

        sys.modules["mock"] = unittest.mock


def load(loader, tests):
    """The tests of the folder: as the package `tests` where it is one, each file by itself elsewhere."""
    if os.path.isfile(os.path.join(tests, "__init__.py")):
        return loader.discover(tests, pattern="test_*.py", top_level_dir=os.path.dirname(tests))
    return loader.discover(tests, pattern="test_*.py", top_level_dir=tests)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
