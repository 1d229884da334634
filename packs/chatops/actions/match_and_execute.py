"""Runs the alias that a chat command matches and returns the id of the ended execution."""

import time

from st2common.constants.action import LIVEACTION_COMPLETED_STATES
from st2common.runners.base_action import Action
from st2common.services.api_client import ApiClient

LOOK_EVERY_SECONDS = 0.5


class MatchAndExecute(Action):
    def run(self, text, source_channel=None, user=None):
        api = ApiClient.from_environment()
        match = api.post("/actionalias/match", {"command": text})
        started = api.post(
            "/aliasexecution",
            {
                "name": match["actionalias"]["name"],
                "format": match["representation"],
                "command": text,
                "user": user or "",
                "source_channel": source_channel or "",
            },
        )
        execution_id = started["execution"]["id"]
        # The action's own time limit ends a wait that would not.
        while True:
            execution = api.get("/executions/" + execution_id, include_attributes="status")
            if execution["status"] in LIVEACTION_COMPLETED_STATES:
                return execution_id
            time.sleep(LOOK_EVERY_SECONDS)
