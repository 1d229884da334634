"""Tells about an installed pack."""

from st2common.runners.base_action import Action
from st2common.services.api_client import ApiClient, ApiError


class Get(Action):
    def run(self, pack, branch="master"):
        try:
            document = ApiClient.from_environment().get("/packs/" + pack)
        except ApiError as error:
            if error.status != 404:
                raise
            document = None
        # Packs are no git checkouts here, so there is no state of one to tell.
        return {"pack": document, "git_status": None}
