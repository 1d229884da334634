"""Stages a new version of an app that exists, and deploys it."""

import io
import os
import urllib.request
import zipfile

from st2common.runners.base_action import Action
from yard_api import ApiError, YardApi

LARGEST_ARCHIVE = 1 << 30
DOWNLOAD_SECONDS = 60


class Push(Action):
    def run(self, app, source, space=None, organization=None, strategy="rolling", wait_seconds=540):
        api = YardApi()
        found = api.find_app(app, organization, space)
        archive = read(source)
        package = api.post(
            "/v3/packages", {"type": "bits", "relationships": {"app": {"data": {"guid": found["guid"]}}}}
        )
        api.upload("/v3/packages/%s/upload" % package["guid"], archive)
        self.logger.info("%d bytes were uploaded", len(archive))
        package = api.wait(
            "/v3/packages/" + package["guid"], lambda it: it["state"] in ("READY", "FAILED", "EXPIRED"), wait_seconds
        )
        if package["state"] != "READY":
            raise ApiError("upload", None, "the package is %s: %s" % (package["state"], package["data"].get("error")))
        build = api.post("/v3/builds", {"package": {"guid": package["guid"]}})
        build = api.wait("/v3/builds/" + build["guid"], lambda it: it["state"] != "STAGING", wait_seconds)
        if build["state"] != "STAGED":
            return False, {"app": found["name"], "build": build["guid"], "error": build.get("error")}
        droplet = build["droplet"]["guid"]
        self.logger.info("the droplet is %s", droplet)
        deployment = api.deploy(found, droplet, strategy, wait_seconds)
        succeeded = deployment["status"]["reason"] == "DEPLOYED"
        return succeeded, {"app": found["name"], "droplet": droplet, "deployment": deployment}


def read(source):
    """The bytes of a zip file: of a folder's content, of a file, or of what an address answers."""
    if source.startswith(("http://", "https://")):
        with urllib.request.urlopen(source, timeout=DOWNLOAD_SECONDS) as answer:
            archive = answer.read(LARGEST_ARCHIVE + 1)
        if len(archive) > LARGEST_ARCHIVE:
            raise ValueError("%s exceeds the limit of %d bytes" % (source, LARGEST_ARCHIVE))
    elif os.path.isdir(source):
        return pack(source)
    else:
        with open(source, "rb") as file:
            archive = file.read()
    if not zipfile.is_zipfile(io.BytesIO(archive)):
        raise ValueError("%s is no zip file" % source)
    return archive


def pack(folder):
    """Files keep their place and their permissions. What lies in .git is left out."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for parent, folders, files in os.walk(folder):
            folders[:] = sorted(name for name in folders if name != ".git")
            for name in sorted(files):
                path = os.path.join(parent, name)
                if os.path.isfile(path):
                    archive.write(path, os.path.relpath(path, folder))
    return buffer.getvalue()
