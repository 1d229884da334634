"""A host that was started before its pack was known, told the pack's environment later."""

import os

from tests.client import eventually, result_of
from tests.test_host import HostTestCase

SEES = """
import sys

import json
import mine
import traceback
import six


class Sees(Action):
    def run(self):
        return {"mine": mine.NAME, "six": six.NAME, "prefix": sys.prefix, "executable": sys.executable,
                "first": sys.path.index(%r) < min(sys.path.index(other) for other in sys.path if "python3" in other)}
"""

HAS = """
import importlib


class Has(Action):
    def run(self, name):
        try:
            importlib.import_module(name)
            return True
        except ImportError:
            return False
"""


class Environment(HostTestCase):
    arguments = ("--prefork", "2", "--preload", "wsgiref.util")

    def setUp(self):
        super().setUp()
        self.prefix = os.path.join(self.host.folder, "virtualenv")
        self.libraries = os.path.join(self.prefix, "lib", "site-packages")
        os.makedirs(self.libraries)
        for name in ("mine", "six"):
            self.write(os.path.join(self.libraries, name + ".py"), "NAME = 'the pack’s %s'\n" % name)

    def write(self, path, text):
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)

    def enter(self, **fields):
        self.client.send(request="enter", **fields)

    def sees(self, number):
        end, _, errors = self.python(SEES % self.libraries, id="sees-%d" % number)
        self.assertEqual((end.get("status"), errors), (0, ""), end)
        return result_of(end)["result"]

    def test_workers_of_before_and_after_see_what_the_pack_requires(self):
        eventually(lambda: self.idle() == 2, "two idle workers")
        self.enter(prefix=self.prefix, path=[self.libraries])
        # Two were there before; those after them are forked from a host that has entered.
        for number in range(5):
            seen = self.sees(number)
            self.assertEqual(seen["mine"], "the pack’s mine")
            self.assertEqual(seen["six"], "the pack’s six", "not the one that may have been preloaded")
            self.assertEqual(seen["prefix"], self.prefix)
            self.assertEqual(seen["executable"], os.path.join(self.prefix, "bin", "python3"))
            self.assertTrue(seen["first"])

    def test_path_files_of_the_environment_count(self):
        beside = os.path.join(self.host.folder, "beside")
        os.makedirs(beside)
        self.write(os.path.join(beside, "farther.py"), "")
        self.write(os.path.join(self.libraries, "more.pth"), beside + "\n")
        self.enter(prefix=self.prefix, path=[self.libraries])
        end, _, _ = self.python(HAS, {"name": "farther"})
        self.assertEqual(result_of(end)["result"], True)

    def test_libraries_of_the_machine_are_seen_only_if_the_environment_asks(self):
        self.write(os.path.join(self.prefix, "pyvenv.cfg"), "include-system-site-packages = true\n")
        self.enter(prefix=self.prefix, path=[self.libraries])
        end, _, _ = self.python(
            """
            import site
            import sys


            class Paths(Action):
                def run(self):
                    folders = site.getsitepackages([sys.base_prefix])
                    return [folder for folder in folders if folder in sys.path]
            """
        )
        # The interpreter of the tests may be one that sees none itself.
        import site
        import sys

        expected = [folder for folder in site.getsitepackages([sys.base_prefix]) if folder in sys.path]
        self.assertEqual(result_of(end)["result"], expected)

    def test_it_is_told_once_and_first(self):
        self.enter(prefix="", path="here")
        refused = self.client.wait_for(lambda event: event["event"] == "refused")
        self.assertEqual((refused["request"], refused["code"], len(refused["problems"])), ("enter", "invalid", 2))
        self.enter(path=[self.libraries])
        end, _, _ = self.python(HAS, {"name": "mine"})
        self.assertEqual(result_of(end)["result"], True)
        self.enter(path=[])
        refused = self.client.wait_for(lambda event: event["event"] == "refused")
        self.assertEqual(refused["problems"], ["this host has its pack already"])
        self.assert_serves()

    def idle(self):
        self.client.send(request="ping", nonce=1)
        return self.client.wait_for(lambda event: event["event"] == "pong")["idle"]
