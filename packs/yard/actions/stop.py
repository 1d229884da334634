"""Stops an app."""

from st2common.runners.base_action import Action
from yard_api import YardApi, summary


class Stop(Action):
    def run(self, app, space=None, organization=None):
        api = YardApi()
        found = api.find_app(app, organization, space)
        return summary(api.post("/v3/apps/%s/actions/stop" % found["guid"]))
