"""Finds the alias that a chat command matches."""

from st2common.runners.base_action import Action
from st2common.services.api_client import ApiClient, ApiError


class Match(Action):
    def run(self, text):
        try:
            match = ApiClient.from_environment().post("/actionalias/match", {"command": text})
        except ApiError as error:
            if error.status == 400:
                return False, str(error.reason)
            raise
        alias = match["actionalias"]
        return {
            "alias": {name: alias.get(name) for name in ("name", "pack", "action_ref")},
            "representation": match["representation"],
        }
