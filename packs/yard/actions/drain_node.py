"""Moves everything away from an agent, or lets it take work again."""

import urllib.parse

from st2common.runners.base_action import Action
from yard_api import YardApi


class DrainNode(Action):
    def run(self, node, take_back=False):
        path = "/yard/v1/agents/%s/drain" % urllib.parse.quote(node, safe="")
        if take_back:
            YardApi().request("DELETE", path)
            return {"node": node, "draining": False}
        # It is not waited for: this action may run on the very agent, and would be the last that is left.
        return {"node": node, "draining": True, "drain": YardApi().request("PUT", path, {})}
