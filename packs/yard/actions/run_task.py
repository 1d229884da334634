"""Runs a command of an app once."""

from st2common.runners.base_action import Action
from yard_api import YardApi


class RunTask(Action):
    def run(
        self, app, command, space=None, organization=None, name=None, memory_in_mb=None, disk_in_mb=None, wait_seconds=0
    ):
        api = YardApi()
        found = api.find_app(app, organization, space)
        body = {"command": command, "name": name, "memory_in_mb": memory_in_mb, "disk_in_mb": disk_in_mb}
        body = {key: value for key, value in body.items() if value is not None}
        task = api.post("/v3/apps/%s/tasks" % found["guid"], body)
        if wait_seconds:
            task = api.wait("/v3/tasks/" + task["guid"], lambda it: it["state"] in ("SUCCEEDED", "FAILED"), wait_seconds)
        result = {key: task.get(key) for key in ("guid", "name", "state", "result")}
        return task["state"] != "FAILED", result
