"""What packs import: names, behaviour, and the requests they make."""

import datetime
import importlib
import io
import logging
import os
import subprocess
import sys
import tempfile
import textwrap
import unittest
from unittest import mock

from st2common.models.utils.action_alias_utils import ParseException, extract_parameters
from st2common.runners.base_action import Action
from st2common.services.action_service import ActionService
from st2common.util import isotime, jinja_filters, shell
from tests.client import PYTHON_FOLDER
from tests.server import Server, json_answer

HAS_JINJA = importlib.util.find_spec("jinja2") is not None
HAS_YAML = importlib.util.find_spec("yaml") is not None


class Imports(unittest.TestCase):
    def test_every_name_that_packs_import_is_there(self):
        for module, names in {
            "st2common.runners.base_action": "Action",
            "st2actions.runners.pythonrunner": "Action",
            "st2reactor.sensor.base": "Sensor PollingSensor",
            "st2common.util.isotime": "format parse validate",
            "st2common.util.jinja": "get_jinja_environment render_values",
            "st2common.content.utils": "get_pack_base_path get_pack_directory",
            "st2common.util.shell": "run_command quote_unix",
            "st2common.log": "getLogger",
            "st2common.runners.utils": "get_logger_for_python_runner_action PackConfigDict",
            "st2common.exceptions.action": "InvalidActionParameterException",
            "st2common.models.system.action": "ShellScriptAction",
            "st2common.util.monkey_patch": "monkey_patch use_select_poll_workaround",
            "st2common.util.pack": "get_pack_metadata",
            "st2common.constants.action": "LIVEACTION_STATUS_SUCCEEDED",
            "st2tests.base": "BaseActionTestCase BaseSensorTestCase BaseActionAliasTestCase BasePackResourceTestCase",
        }.items():
            loaded = importlib.import_module(module)
            for name in names.split():
                self.assertTrue(hasattr(loaded, name), "%s.%s" % (module, name))

    def test_the_base_class_adds_little_to_the_standard_library(self):
        source = (
            "import abc, logging, sys\n"
            "before = set(sys.modules)\n"
            "import st2common.runners.base_action\n"
            "print(sorted(name for name in set(sys.modules) - before if not name.startswith('st2common')))"
        )
        output = subprocess.run(
            [sys.executable, "-c", source], cwd=PYTHON_FOLDER, stdout=subprocess.PIPE, text=True, check=True
        ).stdout
        self.assertEqual(output.strip(), "[]")


class Loggers(unittest.TestCase):
    def test_an_actions_log_has_its_name_and_level(self):
        class Noisy(Action):
            def run(self):
                self.logger.audit("a")
                self.logger.debug("d")

        with mock.patch("sys.stderr", io.StringIO()) as errors:
            Noisy().run()
        self.assertEqual(
            errors.getvalue(), "st2.actions.python.Noisy: AUDIT    a\nst2.actions.python.Noisy: DEBUG    d\n"
        )

    def test_audit_is_above_everything(self):
        self.assertGreater(logging.getLevelName("AUDIT"), logging.CRITICAL)


class Datastore(unittest.TestCase):
    def setUp(self):
        self.keys = {"tests.Counter:seen": "5", "global": "7"}
        self.server = Server(self.answer)
        self.addCleanup(self.server.close)
        environment = {"ST2_ACTION_API_URL": self.server.url + "/v1", "ST2_ACTION_AUTH_TOKEN": "token-1"}
        patch = mock.patch.dict(os.environ, environment)
        patch.start()
        self.addCleanup(patch.stop)
        self.service = ActionService("tests", "Counter", "CRITICAL")

    def answer(self, method, path, headers, body):
        if path == "/v1/user":
            return json_answer(200, {"username": "ada"})
        if path.startswith("/v1/keys?"):
            return json_answer(200, [{"name": name, "value": value} for name, value in self.keys.items()])
        name = path.split("?")[0][len("/v1/keys/"):].replace("%3A", ":")
        if name == "broken":
            return json_answer(500, {"faultstring": "Internal Server Error"})
        if method == "PUT":
            return json_answer(200, {})
        if name not in self.keys:
            return json_answer(404, {"faultstring": "no such key"})
        return (204, [], b"") if method == "DELETE" else json_answer(200, {"name": name, "value": self.keys[name]})

    def last(self):
        method, path, headers, body = self.server.requests[-1]
        return method, path, body.decode("utf-8")

    def test_keys_are_local_to_the_class_unless_asked_otherwise(self):
        self.assertEqual(self.service.get_value("seen"), "5")
        self.assertEqual(self.last()[1], "/v1/keys/tests.Counter%3Aseen?decrypt=false&scope=system")
        self.assertEqual(self.service.get_value("global", local=False, decrypt=True), "7")
        self.assertEqual(self.last()[1], "/v1/keys/global?decrypt=true&scope=system")
        self.assertEqual(self.server.requests[-1][2]["X-Auth-Token"], "token-1")

    def test_what_is_missing_and_what_fails_reads_as_none(self):
        self.assertIsNone(self.service.get_value("nothing"))
        self.assertIsNone(self.service.get_value("broken", local=False))
        self.assertFalse(self.service.delete_value("nothing"))

    def test_values_are_written_as_text(self):
        self.assertTrue(self.service.set_value("seen", 6, ttl=10, encrypt=True))
        method, path, body = self.last()
        self.assertEqual((method, path), ("PUT", "/v1/keys/tests.Counter%3Aseen"))
        self.assertEqual(
            body, '{"name": "tests.Counter:seen", "value": "6", "scope": "system", "secret": true, "ttl": 10}'
        )

    def test_lists_and_deletions(self):
        pairs = self.service.list_values(prefix="se")
        self.assertEqual(self.last()[1], "/v1/keys?prefix=tests.Counter%3Ase&limit=100&offset=0")
        self.assertEqual((pairs[0].name, pairs[0].value), ("tests.Counter:seen", "5"))
        self.assertTrue(self.service.delete_value("seen"))
        self.assertEqual(self.last()[0], "DELETE")
        self.assertEqual(self.service.get_user_info(), {"username": "ada"})

    def test_other_scopes_are_refused(self):
        with self.assertRaises(ValueError):
            self.service.get_value("seen", scope="user")


class Times(unittest.TestCase):
    def test_texts_and_times_go_back_and_forth(self):
        moment = isotime.parse("2026-01-02T03:04:05.678Z")
        self.assertEqual(moment, datetime.datetime(2026, 1, 2, 3, 4, 5, 678000, datetime.timezone.utc))
        self.assertEqual(isotime.format(moment), "2026-01-02T03:04:05.678000+00:00")
        self.assertEqual(isotime.format(moment, usec=False, offset=False), "2026-01-02T03:04:05Z")
        self.assertEqual(isotime.format(0, usec=False), "1970-01-01T00:00:00+00:00")

    def test_what_is_not_utc_is_refused_when_asked(self):
        self.assertFalse(isotime.validate("2026-01-02T03:04:05+02:00", raise_exception=False))
        with self.assertRaises(ValueError):
            isotime.parse("yesterday")


class Filters(unittest.TestCase):
    def test_versions_compare_by_their_rules(self):
        ordered = ["1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-alpha.beta", "1.0.0-beta.2", "1.0.0-beta.11", "1.0.0", "1.2.0"]
        for left, right in zip(ordered, ordered[1:]):
            self.assertEqual(jinja_filters.version_compare(left, right), -1, (left, right))
            self.assertTrue(jinja_filters.version_more_than(right, left))
        self.assertTrue(jinja_filters.version_match("1.2.3", ">=1.2.0"))
        self.assertFalse(jinja_filters.version_match("1.2.3", "<1.2.3"))
        self.assertEqual(jinja_filters.version_bump_minor("1.2.3"), "1.3.0")
        self.assertEqual(jinja_filters.version_strip_patch("1.2.3"), "1.2")
        with self.assertRaises(ValueError):
            jinja_filters.version_compare("1.2", "1.2.0")

    def test_durations_are_written_from_the_first_unit(self):
        for seconds, text in ((0, "0s"), (0.5, "0.5\u03bcs"), (5, "5s"), (3600, "1h0m0s"), (90061, "1d1h1m1s"), (59.6, "1m0s")):
            self.assertEqual(jinja_filters.to_human_time_from_seconds(seconds), text)

    @unittest.skipUnless(HAS_JINJA, "jinja2 is not installed")
    def test_values_are_rendered_and_keep_their_types(self):
        from st2common.util.jinja import render_values

        self.assertEqual(
            render_values({"a": "{{ x }}!", "b": ["{{ x }}"], "c": 5, "d": "{{ '1.2.3' | version_bump_major }}"}, {"x": 1}),
            {"a": "1!", "b": ["1"], "c": 5, "d": "2.0.0"},
        )
        with self.assertRaises(Exception) as caught:
            render_values({"a": "{{ nope }}"}, {"x": 1})
        self.assertEqual(caught.exception.key, "a")


class Aliases(unittest.TestCase):
    def check(self, format_string, command, expected):
        self.assertEqual(extract_parameters(format_string, command), expected)

    def test_values_are_taken_from_their_holes(self):
        self.check("deploy {{ app }} to {{ place }}", "deploy web to the moon", {"app": "web", "place": "the moon"})
        self.check("say {{ what }}", 'say "hello there"', {"what": "hello there"})
        self.check("say {{ what }}", "say {'a': 1}", {"what": "{'a': 1}"})

    def test_defaults_fill_what_was_left_out(self):
        self.check("deploy {{ app }} to {{ place = staging }}", "deploy web to", {"app": "web", "place": "staging"})
        self.check("scale {{ app }}( to {{ count=3 }})?", "scale web to 5", {"app": "web", "count": "5"})

    def test_pairs_at_the_end_are_extra_parameters(self):
        self.check("run {{ cmd }}", 'run date hosts=a,b sudo="yes please"', {"cmd": "date", "hosts": "a,b", "sudo": "yes please"})

    def test_literal_text_is_a_regular_expression(self):
        self.check("(please )?restart {{ app }}", "please restart web", {"app": "web"})
        with self.assertRaises(ParseException):
            extract_parameters("restart {{ app }}", "please restart web")


class Shell(unittest.TestCase):
    def test_commands_run_to_their_end(self):
        status, output, errors = shell.run_command("echo out; echo err >&2; exit 4", shell=True)
        self.assertEqual((status, output, errors), (4, b"out\n", b"err\n"))
        self.assertEqual(shell.quote_unix("a b"), "'a b'")

    def test_scripts_get_their_arguments_in_the_agreed_form(self):
        from st2common.models.system.action import ShellScriptAction

        action = ShellScriptAction(
            "n", "1", "/x y.sh", {"--a": "1 2", "--b": True, "--c": False, "--d": None, "--e": "", "--f": 0}, ["p q"]
        )
        self.assertEqual(action.get_full_command_string(), "'/x y.sh' --a='1 2' --b --f=0 'p q'")


class PackTests(unittest.TestCase):
    def setUp(self):
        self.pack = tempfile.TemporaryDirectory()
        self.addCleanup(self.pack.cleanup)
        self.write("actions/add.py", "from st2common.runners.base_action import Action\nimport helper\n"
                   "class Add(Action):\n    def run(self, a, b):\n"
                   "        self.action_service.set_value('last', a + b)\n        return helper.add(a, b)\n")
        self.write("actions/lib/helper.py", "def add(a, b): return a + b\n")

    def write(self, path, text):
        path = os.path.join(self.pack.name, path)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w") as file:
            file.write(textwrap.dedent(text))

    def run_tests(self):
        return subprocess.run(
            [sys.executable, "-m", "st2tests.run", self.pack.name],
            env=dict(os.environ, PYTHONPATH=PYTHON_FOLDER), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )

    TESTS = """
        import mock
        from st2tests.base import BaseActionTestCase
        from add import Add

        class Base(BaseActionTestCase):
            __test__ = False
            def test_base(self):
                self.fail("a base is no test")

        class AddTestCase(Base):
            __test__ = True
            action_cls = Add
            test_base = None
            def test_add(self):
                action = self.get_action_instance({"k": 1})
                self.assertEqual(action.run(1, 2), %d)
                self.assertEqual(self.action_service.get_value("last"), 3)
                self.assertEqual(action.config["k"], 1)
                with self.assertRaises(ValueError):
                    action.config["other"]
    """

    def test_a_pack_that_passes(self):
        self.write("pack.yaml", "name: sums\n")
        self.write("tests/test_add.py", self.TESTS % 3)
        outcome = self.run_tests()
        self.assertEqual(outcome.stdout.splitlines()[-1], "1 passed, 0 failed, 0 skipped", outcome.stdout)
        self.assertEqual(outcome.returncode, 0)

    def test_a_pack_that_fails(self):
        self.write("pack.yaml", "name: sums\n")
        self.write("tests/test_add.py", self.TESTS % 4)
        outcome = self.run_tests()
        self.assertEqual((outcome.returncode, outcome.stdout.splitlines()[-1]), (1, "0 passed, 1 failed, 0 skipped"))

    def test_what_cannot_be_tested_has_statuses_of_its_own(self):
        self.assertEqual(self.run_tests().returncode, 2)
        self.write("pack.yaml", "name: sums\n")
        self.assertEqual(self.run_tests().returncode, 5)
        self.write("tests/test_add.py", "import no_such_module\n")
        self.assertEqual(self.run_tests().returncode, 2)

    @unittest.skipUnless(HAS_YAML, "PyYAML is not installed")
    def test_aliases_and_sensors_can_be_tested(self):
        self.write("pack.yaml", "name: sums\n")
        self.write("aliases/add.yaml", """
            name: add
            action_ref: sums.add
            formats:
              - display: add
                representation: ["add {{ a }} and {{ b }}", "sum {{ a }} {{ b }}"]
        """)
        self.write("sensors/tick.py", """
            from st2reactor.sensor.base import PollingSensor
            class Tick(PollingSensor):
                def setup(self): pass
                def poll(self): self.sensor_service.dispatch(trigger="sums.tick", payload={"n": self._poll_interval})
                def cleanup(self): pass
                def add_trigger(self, trigger): pass
                def update_trigger(self, trigger): pass
                def remove_trigger(self, trigger): pass
        """)
        self.write("tests/test_more.py", """
            from st2tests.base import BaseActionAliasTestCase, BaseSensorTestCase
            from tick import Tick
            class AliasTestCase(BaseActionAliasTestCase):
                action_alias_name = "add"
                def test_formats(self):
                    formats = self.action_alias_db.get_format_strings()
                    self.assertCommandMatchesExactlyOneFormatString(formats, "sum 1 2")
                    self.assertExtractedParametersMatch(formats[0], "add 1 and 2", {"a": "1", "b": "2"})
                    with self.assertRaises(AssertionError):
                        self.assertExtractedParametersMatch(formats[0], "add 1 and 2", {"a": "2", "b": "2"})
                    with self.assertRaises(AssertionError):
                        self.assertCommandMatchesExactlyOneFormatString(formats, "multiply")
            class TickTestCase(BaseSensorTestCase):
                sensor_cls = Tick
                def test_poll(self):
                    self.get_sensor_instance(poll_interval=9).poll()
                    self.assertTriggerDispatched("sums.tick", {"n": 9})
                    with self.assertRaises(AssertionError):
                        self.assertTriggerDispatched("sums.tick", {"n": 1})
        """)
        outcome = self.run_tests()
        self.assertEqual((outcome.returncode, outcome.stdout.splitlines()[-1]), (0, "2 passed, 0 failed, 0 skipped"))
