"""What the named packs depend on: what is not installed, and what is installed in another version."""

from st2common.runners.base_action import Action
from st2common.services.api_client import ApiClient, ApiError


class GetPackDependencies(Action):
    def run(self, packs_status=None, nested=3):
        answer = {"dependency_list": [], "conflict_list": [], "nested": nested - 1}
        if not packs_status or nested == 0:
            return answer
        api = ApiClient.from_environment()
        wanted = {}
        for pack, status in packs_status.items():
            if "success" not in status.lower():
                continue
            for dependency in (_pack(api, pack) or {}).get("dependencies") or []:
                source, _, version = dependency.partition("=")
                name = source.rstrip("/").rpartition("/")[2]
                name = (name[:-len(".git")] if name.endswith(".git") else name).replace("stackstorm-", "", 1)
                installed = _pack(api, name)
                if installed is not None:
                    fits = not version or _plain(installed["version"]) == _plain(version)
                else:
                    fits = wanted.setdefault(source, version) == version
                kind = "dependency_list" if installed is None and fits else "conflict_list"
                if (installed is None or not fits) and dependency not in answer[kind]:
                    answer[kind].append(dependency)
        return answer


def _plain(version):
    return version[1:] if version.startswith("v") else version


def _pack(api, name):
    try:
        return api.get("/packs/" + name)
    except ApiError as error:
        if error.status == 404:
            return None
        raise
