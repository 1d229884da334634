"""Tells what the index says about a pack."""

from st2common.runners.base_action import Action
from st2common.services.api_client import ApiClient


class Show(Action):
    def run(self, pack):
        return {"pack": ApiClient.from_environment().post("/packs/index/search", {"pack": pack}) or None}
