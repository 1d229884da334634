"""Searches the index of packs."""

from st2common.runners.base_action import Action
from st2common.services.api_client import ApiClient


class Search(Action):
    def run(self, query):
        return ApiClient.from_environment().post("/packs/index/search", {"query": query}) or []
