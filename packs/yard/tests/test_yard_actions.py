"""The actions against an API of the test."""

import datetime
import http.server
import io
import json
import os
import tempfile
import threading
import unittest
import zipfile
from unittest import mock

from drain_node import DrainNode
from push import Push, read
from restart import Restart
from rollback import Rollback
from run_task import RunTask
from scale import Scale
from st2tests.base import BaseActionTestCase
from yard_api import ApiError

APP = {"guid": "app-1", "name": "shop", "state": "STARTED"}


class ApiTestCase(BaseActionTestCase):
    """`self.answers` maps "METHOD /path" to (status, document); `self.asked` records what was asked."""

    __test__ = False

    def setUp(self):
        super().setUp()
        self.answers = {"GET /v3/apps?guids=shop&per_page=100": (200, {"resources": []}),
                        "GET /v3/apps?names=shop&per_page=100": (200, {"resources": [APP]})}
        self.asked = []
        test = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def answer(self):
                data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                name = "%s %s" % (self.command, self.path)
                test.asked.append((name, data, self.headers))
                status, document = test.answers.get(name, (404, {"errors": [{"detail": "no answer for " + name}]}))
                body = json.dumps(document).encode("utf-8")
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_POST = do_PUT = do_DELETE = answer

            def log_message(self, *arguments):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        environment = {"YARD_API_URL": "http://127.0.0.1:%d" % server.server_address[1], "YARD_TOKEN": "token-1"}
        patch = mock.patch.dict(os.environ, environment)
        patch.start()
        self.addCleanup(patch.stop)

    def body_of(self, name):
        return json.loads(next(data for asked, data, _ in self.asked if asked == name))


class RestartTestCase(ApiTestCase):
    __test__ = True
    action_cls = Restart

    def test_it_asks_with_the_owners_token(self):
        self.answers["POST /v3/apps/app-1/actions/restart"] = (200, APP)
        self.assertEqual(self.get_action_instance().run("shop"), APP)
        self.assertEqual(self.asked[-1][2]["Authorization"], "bearer token-1")

    def test_the_api_explains_refusals(self):
        self.answers["POST /v3/apps/app-1/actions/restart"] = (403, {"errors": [{"detail": "You are not authorized"}]})
        with self.assertRaisesRegex(ApiError, "You are not authorized"):
            self.get_action_instance().run("shop")

    def test_a_name_of_two_apps_needs_the_space(self):
        self.answers["GET /v3/apps?names=shop&per_page=100"] = (200, {"resources": [APP, dict(APP, guid="app-2")]})
        with self.assertRaisesRegex(ApiError, "2 apps are named shop"):
            self.get_action_instance().run("shop")
        self.answers["GET /v3/spaces?names=dev&per_page=100"] = (200, {"resources": [{"guid": "space-1"}]})
        self.answers["GET /v3/apps?names=shop&space_guids=space-1&per_page=100"] = (200, {"resources": [APP]})
        self.answers["POST /v3/apps/app-1/actions/restart"] = (200, APP)
        self.assertEqual(self.get_action_instance().run("shop", space="dev")["guid"], "app-1")


class ScaleTestCase(ApiTestCase):
    __test__ = True
    action_cls = Scale
    ASKED = "POST /v3/apps/app-1/processes/web/actions/scale"

    def scale(self, before, **parameters):
        process = {"instances": before, "memory_in_mb": 256, "disk_in_mb": 512}
        self.answers["GET /v3/apps/app-1/processes/web"] = (200, process)
        self.answers[self.ASKED] = (202, process)
        self.asked.clear()
        self.get_action_instance().run("shop", **parameters)
        return self.body_of(self.ASKED) if any(name == self.ASKED for name, _, _ in self.asked) else None

    def test_to_a_number_by_a_difference_and_to_a_load(self):
        self.assertEqual(self.scale(1, instances=3), {"instances": 3})
        self.assertEqual(self.scale(9, change=5, maximum=10), {"instances": 10})
        self.assertEqual(self.scale(2, change=-5, minimum=1), {"instances": 1})
        self.assertEqual(self.scale(1, load=120, per_instance=50), {"instances": 3})
        self.assertEqual(self.scale(1, memory_in_mb=512), {"memory_in_mb": 512})

    def test_what_is_so_already_is_not_asked_for(self):
        self.assertIsNone(self.scale(3, load=120, per_instance=50))

    def test_contradictions_are_refused(self):
        for parameters in ({"instances": 1, "change": 1}, {"load": 5}):
            with self.assertRaises(ValueError):
                self.get_action_instance().run("shop", **parameters)


class RollbackTestCase(ApiTestCase):
    __test__ = True
    action_cls = Rollback

    def setUp(self):
        super().setUp()
        self.deployments([])
        droplets = [{"guid": "d3"}, {"guid": "d2"}, {"guid": "d1"}]
        self.answers["GET /v3/apps/app-1/droplets?states=STAGED&order_by=-created_at&per_page=100"] = (200, {"resources": droplets})
        self.answers["GET /v3/apps/app-1/droplets/current"] = (200, {"guid": "d2"})
        self.answers["POST /v3/deployments"] = (201, {"guid": "dep-2", "status": {"value": "ACTIVE"}})

    def deployments(self, resources):
        path = "GET /v3/deployments?app_guids=app-1&order_by=-created_at&per_page=1"
        self.answers[path] = (200, {"resources": resources})

    def deployed(self, minutes_ago, status):
        at = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(minutes=minutes_ago)
        self.deployments([{"guid": "dep-1", "created_at": at.strftime("%Y-%m-%dT%H:%M:%SZ"), "status": {"value": status}}])

    def test_it_takes_the_droplet_before_the_current_one(self):
        result = self.get_action_instance().run("shop")
        self.assertEqual((result["from"], result["to"]), ("d2", "d1"))
        self.assertEqual(
            self.body_of("POST /v3/deployments"),
            {"droplet": {"guid": "d1"}, "strategy": "rolling", "relationships": {"app": {"data": {"guid": "app-1"}}}},
        )

    def test_without_an_older_droplet_it_says_so(self):
        self.answers["GET /v3/apps/app-1/droplets/current"] = (200, {"guid": "d1"})
        with self.assertRaisesRegex(ApiError, "no droplet that is older"):
            self.get_action_instance().run("shop")

    def test_a_running_deployment_is_canceled(self):
        self.deployed(2, "ACTIVE")
        self.answers["POST /v3/deployments/dep-1/actions/cancel"] = (200, {})
        self.assertEqual(self.get_action_instance().run("shop", deployed_within_minutes=15)["canceled"], "dep-1")

    def test_an_old_deployment_is_not_to_blame(self):
        self.deployed(60, "FINALIZED")
        result = self.get_action_instance().run("shop", deployed_within_minutes=15)
        self.assertEqual((result["rolled_back"], result["because"]), (False, "the last deployment began 60 minutes ago"))


class RunTaskTestCase(ApiTestCase):
    __test__ = True
    action_cls = RunTask

    def test_a_task_that_fails_fails_the_action(self):
        self.answers["POST /v3/apps/app-1/tasks"] = (202, {"guid": "t1", "name": "n", "state": "RUNNING"})
        self.answers["GET /v3/tasks/t1"] = (200, {"guid": "t1", "name": "n", "state": "FAILED", "result": {"failure_reason": "exit 1"}})
        succeeded, result = self.get_action_instance().run("shop", "rake db:migrate", wait_seconds=5)
        self.assertEqual((succeeded, result["result"]), (False, {"failure_reason": "exit 1"}))
        self.assertEqual(self.body_of("POST /v3/apps/app-1/tasks"), {"command": "rake db:migrate"})


class DrainNodeTestCase(ApiTestCase):
    __test__ = True
    action_cls = DrainNode

    def test_an_agent_is_emptied_and_taken_back(self):
        path = "/yard/v1/agents/dea-2/drain"
        drain = {"left": 4, "begun_seconds_ago": 0.1, "ends_in_seconds": 600}
        self.answers["PUT " + path] = (200, drain)
        self.answers["DELETE " + path] = (200, {})
        action = self.get_action_instance()
        self.assertEqual(action.run("dea-2"), {"node": "dea-2", "draining": True, "drain": drain})
        self.assertEqual(action.run("dea-2", take_back=True), {"node": "dea-2", "draining": False})
        self.assertEqual([name for name, _, _ in self.asked], ["PUT " + path, "DELETE " + path])

    def test_an_agent_that_nobody_knows_is_an_error(self):
        with self.assertRaises(ApiError):
            self.get_action_instance().run("dea-9")


class PushTestCase(ApiTestCase):
    __test__ = True
    action_cls = Push

    def setUp(self):
        super().setUp()
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        with open(os.path.join(self.folder.name, "run.sh"), "w") as file:
            file.write("#!/bin/sh\n")
        os.chmod(file.name, 0o755)
        os.mkdir(os.path.join(self.folder.name, ".git"))
        with open(os.path.join(self.folder.name, ".git", "config"), "w") as file:
            file.write("x")

    def test_a_folder_is_uploaded_staged_and_deployed(self):
        self.answers.update({
            "POST /v3/packages": (201, {"guid": "p1"}),
            "POST /v3/packages/p1/upload": (200, {}),
            "GET /v3/packages/p1": (200, {"guid": "p1", "state": "READY"}),
            "POST /v3/builds": (201, {"guid": "b1"}),
            "GET /v3/builds/b1": (200, {"guid": "b1", "state": "STAGED", "droplet": {"guid": "d9"}}),
            "POST /v3/deployments": (201, {"guid": "dep", "status": {"value": "ACTIVE"}}),
            "GET /v3/deployments/dep": (200, {"guid": "dep", "status": {"value": "FINALIZED", "reason": "DEPLOYED"}}),
        })
        succeeded, result = self.get_action_instance().run("shop", self.folder.name)
        self.assertTrue(succeeded)
        self.assertEqual(result["droplet"], "d9")
        upload = next(data for name, data, _ in self.asked if name.endswith("/upload"))
        self.assertIn(b'name="bits"', upload)

    def test_archives_keep_permissions_and_leave_git_out(self):
        with zipfile.ZipFile(io.BytesIO(read(self.folder.name))) as archive:
            self.assertEqual(archive.namelist(), ["run.sh"])
            self.assertEqual(archive.infolist()[0].external_attr >> 16 & 0o777, 0o755)
        with self.assertRaisesRegex(ValueError, "no zip file"):
            read(os.path.join(self.folder.name, "run.sh"))

    def test_a_build_that_fails_fails_the_action(self):
        self.answers.update({
            "POST /v3/packages": (201, {"guid": "p1"}),
            "POST /v3/packages/p1/upload": (200, {}),
            "GET /v3/packages/p1": (200, {"guid": "p1", "state": "READY"}),
            "POST /v3/builds": (201, {"guid": "b1"}),
            "GET /v3/builds/b1": (200, {"guid": "b1", "state": "FAILED", "error": "no buildpack"}),
        })
        succeeded, result = self.get_action_instance().run("shop", self.folder.name)
        self.assertEqual((succeeded, result["error"]), (False, "no buildpack"))


if __name__ == "__main__":
    unittest.main()
