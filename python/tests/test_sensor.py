"""The sensor wrapper: real processes against an API of the test."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
import unittest

from tests.client import PYTHON_FOLDER, eventually
from tests.server import Server, json_answer

SENSOR = """
    import threading, time
    from st2reactor.sensor.base import PollingSensor, Sensor

    class Base:
        def setup(self):
            self.log = self.sensor_service.get_logger("mine")
            self.seen = []
            self.log.info("set up with %s", self.config)
        def cleanup(self): self.log.info("cleaned up")
        def add_trigger(self, trigger): self.seen.append("+" + trigger["ref"])
        def update_trigger(self, trigger): self.seen.append("~" + trigger["ref"])
        def remove_trigger(self, trigger): self.seen.append("-" + trigger["ref"])

    class Count(Base, PollingSensor):
        count = 0
        def poll(self):
            self.count += 1
            self.sensor_service.dispatch("tests.count", {"n": self.count, "seen": list(self.seen)}, trace_tag="t%d" % self.count)

    class Flood(Base, Sensor):
        def run(self):
            for number in range(50):
                self.sensor_service.dispatch(trigger="tests.flood", payload={"n": number})
            self.log.info("flooded")

    class Crash(Base, Sensor):
        def run(self): raise RuntimeError("out of luck")

    class Incomplete(Sensor):
        def setup(self): pass
"""


class SensorTestCase(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.file = os.path.join(self.folder.name, "sensors.py")
        with open(self.file, "w") as file:
            file.write(textwrap.dedent(SENSOR))
        self.statuses = []
        self.server = Server(lambda *_: json_answer(self.statuses.pop(0) if self.statuses else 202, {}))
        self.addCleanup(self.server.close)

    def start(self, class_name, **orders):
        orders = dict(
            {"pack": "tests", "file": self.file, "class_name": class_name, "api_url": self.server.url + "/v1", "token": "secret-1"},
            **orders,
        )
        process = subprocess.Popen(
            [sys.executable, "-m", "yard_sensor"],
            env=dict(os.environ, PYTHONPATH=PYTHON_FOLDER, PYTHONDONTWRITEBYTECODE="1"),
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.addCleanup(self.end, process)
        process.stdin.write(json.dumps(orders) + "\n")
        process.stdin.flush()
        return process

    def end(self, process):
        process.kill()
        process.wait()
        process.stdin.close()
        process.stderr.close()

    def received(self):
        return [json.loads(body) for _, _, _, body in self.server.requests]

    def test_a_polling_sensor_dispatches_and_cleans_up_at_term(self):
        process = self.start("Count", poll_interval=0.05, config={"color": "red"}, triggers=[{"ref": "tests.a"}])
        eventually(lambda: len(self.server.requests) >= 3, "nothing was dispatched")
        method, path, headers, body = self.server.requests[1]
        self.assertEqual((method, path), ("POST", "/v1/webhooks/st2"))
        self.assertEqual((headers["X-Auth-Token"], headers["St2-Trace-Tag"]), ("secret-1", "t2"))
        self.assertEqual(json.loads(body), {"trigger": "tests.count", "payload": {"n": 2, "seen": ["+tests.a"]}})
        process.send_signal(signal.SIGTERM)
        self.assertEqual(process.wait(10), 0)
        errors = process.stderr.read()
        self.assertIn("st2.SensorWrapper.tests.Count.mine set up with {'color': 'red'}", errors)
        self.assertIn("cleaned up", errors)

    def test_changes_of_triggers_and_of_the_token_reach_it(self):
        process = self.start("Count", poll_interval=0.05)
        for name in ("add_trigger", "update_trigger", "remove_trigger"):
            process.stdin.write(json.dumps({"event": name, "trigger": {"ref": "tests.x"}}) + "\n")
        process.stdin.write("garbage\n" + json.dumps({"event": "token", "token": "secret-2"}) + "\n")
        process.stdin.flush()
        wanted = ["+tests.x", "~tests.x", "-tests.x"]
        eventually(lambda: self.received() and self.received()[-1]["payload"]["seen"] == wanted, "events were lost")
        eventually(lambda: self.server.requests[-1][2]["X-Auth-Token"] == "secret-2", "the token is the old one")

    def test_nothing_is_lost_or_swapped_while_the_api_fails(self):
        self.statuses = [503, 500, 429, 401]
        process = self.start("Flood", queue_limit=5)
        self.assertEqual(process.wait(20), 0)
        numbers = [event["payload"]["n"] for event in self.received()]
        self.assertEqual(numbers[:5], [0, 0, 0, 0, 0])
        self.assertEqual(numbers[4:], list(range(50)))
        tries = {headers["X-Request-ID"] for _, _, headers, _ in self.server.requests[:5]}
        self.assertEqual(len(tries), 1, "tries of one event have one identifier")

    def test_a_full_queue_makes_the_sensor_wait(self):
        self.statuses = [503] * 1000
        process = self.start("Flood", queue_limit=5)
        eventually(lambda: self.server.requests, "nothing was tried")
        time.sleep(0.5)
        self.assertIsNone(process.poll())
        process.send_signal(signal.SIGTERM)
        self.assertEqual(process.wait(20), 0)
        errors = process.stderr.read()
        self.assertNotIn("flooded", errors)
        self.assertIn("the sensor waits too", errors)
        self.assertIn("could not be sent before the end", errors)

    def test_what_the_api_refuses_is_told_and_dropped(self):
        self.statuses = [400]
        process = self.start("Flood")
        self.assertEqual(process.wait(20), 0)
        self.assertEqual(len(self.server.requests), 50)
        self.assertIn("refused and dropped", process.stderr.read())

    def test_a_crash_has_a_traceback_a_status_and_a_clean_up(self):
        process = self.start("Crash")
        self.assertEqual(process.wait(10), 1)
        errors = process.stderr.read()
        self.assertIn("RuntimeError: out of luck", errors)
        self.assertIn("cleaned up", errors)

    def test_a_class_that_is_no_sensor_is_told(self):
        process = self.start("Incomplete")
        self.assertEqual(process.wait(10), 1)
        self.assertIn("doesn't implement the method", process.stderr.read())

    def test_bad_orders_are_told_all_at_once(self):
        process = self.start("", speed=1, config=[])
        self.assertEqual(process.wait(10), 2)
        errors = process.stderr.read()
        for word in ("class_name is missing", "speed is no field", "config has the wrong type"):
            self.assertIn(word, errors)
