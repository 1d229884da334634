"""The built-in packs: their metadata fits their code, and their own tests pass."""

import glob
import importlib.util
import inspect
import os
import subprocess
import sys
import tempfile
import unittest
import unittest.mock

from st2common.util.loader import register_plugin_class
from st2reactor.sensor.base import Sensor
from tests.client import PYTHON_FOLDER, eventually
from yard_host.kinds import python

PACKS = os.path.join(os.path.dirname(PYTHON_FOLDER), "packs")
NEEDED = [name for name in ("yaml", "six", "paramiko") if importlib.util.find_spec(name) is None]
# Parameters of the runner itself, which do not reach the code.
OF_THE_RUNNER = {"env", "timeout", "log_level", "debug", "content_version"}
HAVE_FILES = ("python-script", "local-shell-script", "remote-shell-script", "orquesta", "action-chain")


@unittest.skipIf(NEEDED, "not installed: " + ", ".join(NEEDED))
class BuiltInPacks(unittest.TestCase):
    def documents(self, pattern):
        import yaml

        paths = sorted(glob.glob(os.path.join(PACKS, pattern)))
        self.assertTrue(paths, pattern)
        found = []
        for path in paths:
            with self.subTest(path), open(path, encoding="utf-8") as file:
                found.append((path, yaml.safe_load(file)))
        return found

    def test_every_action_has_code_that_takes_its_parameters(self):
        before = list(sys.path)
        for path, action in self.documents("*/actions/*.yaml"):
            with self.subTest(path):
                self.check_action(path, action)
            sys.path[:] = before

    def check_action(self, path, action):
        folder = os.path.dirname(path)
        self.assertEqual(action["name"] + ".yaml", os.path.basename(path))
        self.assertTrue(action["description"])
        if action["runner_type"] in HAVE_FILES:
            self.assertTrue(os.path.isfile(os.path.join(folder, action["entry_point"])))
        if action["runner_type"].endswith("-shell-script"):
            self.assertTrue(os.access(os.path.join(folder, action["entry_point"]), os.X_OK))
        if action["runner_type"] == "python-script":
            found = python.load_class(os.path.join(folder, action["entry_point"]), [os.path.join(folder, "lib")])
            taken = inspect.signature(found.run).parameters
            given = set(action.get("parameters") or {}) - OF_THE_RUNNER
            if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in taken.values()):
                self.assertEqual(given, set(taken) - {"self"})

    def test_every_position_is_used_once(self):
        for _, action in self.documents("*/actions/*.yaml"):
            positions = [
                parameter["position"] for parameter in (action.get("parameters") or {}).values() if "position" in parameter
            ]
            self.assertEqual(len(positions), len(set(positions)))

    def test_rules_and_aliases_name_actions_that_exist(self):
        for pattern, reference in (("*/rules/*.yaml", lambda it: it["action"]["ref"]), ("*/aliases/*.yaml", lambda it: it["action_ref"])):
            for _, document in self.documents(pattern):
                pack, _, name = reference(document).partition(".")
                self.assertTrue(os.path.isfile(os.path.join(PACKS, pack, "actions", name + ".yaml")))

    def test_the_example_rules_are_not_enabled(self):
        for _, rule in self.documents("yard/rules/*.yaml"):
            self.assertIs(rule["enabled"], False)

    def test_the_packs_own_tests_pass(self):
        tested = [pack for pack in sorted(os.listdir(PACKS)) if os.path.isdir(os.path.join(PACKS, pack, "tests"))]
        self.assertTrue(tested)
        for pack in tested:
            outcome = subprocess.run(
                [sys.executable, "-m", "st2tests.run", os.path.join(PACKS, pack)],
                env=dict(os.environ, PYTHONPATH=PYTHON_FOLDER),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            self.assertEqual(outcome.returncode, 0, outcome.stdout)


class FollowedFiles(unittest.TestCase):
    def setUp(self):
        path = os.path.join(PACKS, "linux", "sensors", "file_watch_sensor.py")
        self.lines = []
        service = unittest.mock.Mock()
        service.dispatch = lambda trigger, payload: self.lines.append((trigger, payload["line"]))
        self.sensor = register_plugin_class(Sensor, path, "FileWatchSensor")(service)
        self.sensor.setup()
        self.addCleanup(self.sensor.cleanup)
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.path = os.path.join(self.folder.name, "log")

    def write(self, text, mode="a"):
        with open(self.path, mode) as file:
            file.write(text)

    def eventually_read(self, *lines):
        wanted = [("core.x", line) for line in lines]
        eventually(lambda: self.lines == wanted, "other lines than %s" % (lines,), 10)

    def test_new_lines_are_reported_across_rotation(self):
        self.write("old\n")
        self.sensor.add_trigger({"ref": "core.x", "parameters": {"file_path": self.path}})
        eventually(lambda: self.opened() == 1, "the file was not opened")
        self.write("one\ntw")
        self.eventually_read("one")
        self.write("o\n")
        self.eventually_read("one", "two")
        os.rename(self.path, self.path + ".1")
        self.write("three\n")
        self.eventually_read("one", "two", "three")
        self.write("4\n", "w")
        self.eventually_read("one", "two", "three", "4")

    def test_a_file_may_come_later_and_a_rule_may_go(self):
        trigger = {"ref": "core.x", "parameters": {"file_path": self.path}}
        self.sensor.add_trigger(trigger)
        self.write("first\n")
        self.eventually_read("first")
        self.sensor.remove_trigger(trigger)
        eventually(lambda: self.opened() == 0, "the file is still open")
        self.write("second\n")
        self.assertEqual(self.lines, [("core.x", "first")])

    def opened(self):
        count = 0
        for fd in os.listdir("/proc/self/fd"):
            try:
                count += os.readlink("/proc/self/fd/" + fd) == self.path
            except OSError:
                pass
        return count
