"""Scales a process of an app: to a number, by a difference, or to what a load needs."""

import math

from st2common.runners.base_action import Action
from yard_api import YardApi


class Scale(Action):
    def run(
        self,
        app,
        space=None,
        organization=None,
        process="web",
        instances=None,
        change=None,
        load=None,
        per_instance=None,
        minimum=1,
        maximum=10,
        memory_in_mb=None,
        disk_in_mb=None,
    ):
        if sum(value is not None for value in (instances, change, load)) > 1:
            raise ValueError("give only one of instances, change and load")
        if load is not None and not (per_instance and per_instance > 0):
            raise ValueError("load needs per_instance, a number above 0")
        api = YardApi()
        found = api.find_app(app, organization, space)
        path = "/v3/apps/%s/processes/%s" % (found["guid"], process)
        before = api.get(path)
        wanted = instances
        if change is not None:
            wanted = bounded(before["instances"] + change, minimum, maximum)
        elif load is not None:
            wanted = bounded(math.ceil(load / per_instance), minimum, maximum)
        body = {"instances": wanted, "memory_in_mb": memory_in_mb, "disk_in_mb": disk_in_mb}
        body = {name: value for name, value in body.items() if value is not None and value != before.get(name)}
        after = api.post(path + "/actions/scale", body) if body else before
        return {
            "app": found["name"],
            "process": process,
            "changed": sorted(body),
            "before": {name: before.get(name) for name in ("instances", "memory_in_mb", "disk_in_mb")},
            "after": {name: after.get(name) for name in ("instances", "memory_in_mb", "disk_in_mb")},
        }


def bounded(wanted, minimum, maximum):
    return max(minimum, min(maximum, wanted))
