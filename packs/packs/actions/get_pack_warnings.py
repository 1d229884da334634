"""Warnings about packs, such as that they are for Python 2 only."""

from st2common.runners.base_action import Action
from st2common.services.api_client import ApiClient, ApiError
from st2common.util.pack import get_pack_warnings


class GetPackWarnings(Action):
    def run(self, packs_status=None):
        api = ApiClient.from_environment()
        warnings = []
        for pack, status in (packs_status or {}).items():
            if "success" not in status.lower():
                continue
            try:
                warning = get_pack_warnings(api.get("/packs/" + pack))
            except ApiError as error:
                if error.status != 404:
                    raise
                warning = "Pack %s is not installed." % pack
            if warning:
                warnings.append(warning)
        return {"warning_list": warnings}
