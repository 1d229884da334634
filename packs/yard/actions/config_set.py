"""Changes a value of the cluster's configuration."""

import urllib.parse

from st2common.runners.base_action import Action
from yard_api import YardApi


class ConfigSet(Action):
    def run(self, key, value=None):
        path = "/yard/v1/config/" + urllib.parse.quote(key, safe="")
        api = YardApi()
        if value is None:
            api.request("DELETE", path)
            return {"key": key, "unset": True}
        return api.request("PUT", path, {"value": value})
