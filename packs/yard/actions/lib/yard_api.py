"""The cluster's API for apps, with the rights of whoever the action runs for.

The address and the token come from the environment: YARD_API_URL, YARD_TOKEN.
"""

import json
import os
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid

TIMEOUT_SECONDS = 60
LOOK_EVERY_SECONDS = 1.0
# One page holds all there is to look through: names are unique within a space.
PAGE = 100


class ApiError(Exception):
    """A request that failed; the text is the API's own."""

    def __init__(self, request, status, detail):
        super().__init__("%s: %s" % (request, detail))
        self.status = status


class YardApi:
    def __init__(self, url=None, token=None):
        self._url = (url or os.environ.get("YARD_API_URL") or "").rstrip("/")
        self._token = token or os.environ.get("YARD_TOKEN")
        if not self._url or not self._token:
            raise ApiError("yard", None, "YARD_API_URL and YARD_TOKEN must be set; an execution gets both")

    def get(self, path, **query):
        query = {name: value for name, value in query.items() if value is not None}
        return self.request("GET", path + ("?" + urllib.parse.urlencode(query) if query else ""))

    def post(self, path, body=None):
        return self.request("POST", path, body)

    def request(self, method, path, body=None, data=None, content_type="application/json"):
        """The decoded answer, or None when it has no body."""
        if body is not None:
            data = json.dumps(body).encode("utf-8")
        request = urllib.request.Request(self._url + path, data=data, method=method)
        # Some tokens are stored with the word in front.
        token = self._token if self._token.lower().startswith("bearer ") else "bearer " + self._token
        request.add_header("Authorization", token)
        if data is not None:
            request.add_header("Content-Type", content_type)
        name = "%s %s" % (method, path.partition("?")[0])
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS, context=_context(self._url)) as answer:
                text = answer.read()
        except urllib.error.HTTPError as error:
            with error:
                raise ApiError(name, error.code, _detail(error.code, error.read())) from None
        except (OSError, urllib.error.URLError) as error:
            raise ApiError(name, None, getattr(error, "reason", None) or error) from error
        return json.loads(text) if text else None

    def upload(self, path, archive):
        """Sends a zip file as the bits of a package."""
        boundary = uuid.uuid4().hex
        head = (
            '--%s\r\nContent-Disposition: form-data; name="bits"; filename="package.zip"\r\n'
            "Content-Type: application/zip\r\n\r\n" % boundary
        )
        data = head.encode("ascii") + archive + ("\r\n--%s--\r\n" % boundary).encode("ascii")
        return self.request("POST", path, data=data, content_type="multipart/form-data; boundary=" + boundary)

    def find_app(self, app, organization=None, space=None):
        """An app by its guid or name. A name that several spaces use needs the space, or its organization too."""
        found = self.get("/v3/apps", guids=app, per_page=PAGE)["resources"]
        if found:
            return found[0]
        spaces = None
        if space or organization:
            spaces = ",".join(entry["guid"] for entry in self.find_spaces(organization, space))
        found = self.get("/v3/apps", names=app, space_guids=spaces, per_page=PAGE)["resources"]
        if not found:
            raise ApiError("find app", 404, "there is no app %s that you can see" % app)
        if len(found) > 1:
            raise ApiError("find app", 409, "%d apps are named %s: name the space or use the guid" % (len(found), app))
        return found[0]

    def find_spaces(self, organization, space):
        organizations = None
        if organization:
            entries = self.get("/v3/organizations", names=organization, per_page=PAGE)["resources"]
            if not entries:
                raise ApiError("find organization", 404, "there is no organization %s that you can see" % organization)
            organizations = entries[0]["guid"]
        found = self.get("/v3/spaces", names=space, organization_guids=organizations, per_page=PAGE)["resources"]
        if not found:
            raise ApiError("find space", 404, "there is no space %s that you can see" % (space or "there"))
        return found

    def wait(self, path, ended, seconds):
        """Looks until `ended(document)` holds, and returns the document."""
        deadline = time.monotonic() + seconds
        while True:
            document = self.get(path)
            if ended(document):
                return document
            if time.monotonic() >= deadline:
                raise ApiError("wait for " + path, None, "not ended within %d s" % seconds)
            time.sleep(LOOK_EVERY_SECONDS)

    def deploy(self, app, droplet, strategy, seconds):
        """Replaces what runs by a droplet. `seconds`: how long to wait for the end; 0 does not wait."""
        deployment = self.post(
            "/v3/deployments",
            {
                "droplet": {"guid": droplet},
                "strategy": strategy,
                "relationships": {"app": {"data": {"guid": app["guid"]}}},
            },
        )
        if seconds:
            deployment = self.wait(
                "/v3/deployments/" + deployment["guid"], lambda it: it["status"]["value"] == "FINALIZED", seconds
            )
        return {"guid": deployment["guid"], "status": deployment["status"]}


def summary(app):
    """What results say of an app."""
    return {"guid": app["guid"], "name": app["name"], "state": app.get("state")}


def _context(url):
    if not url.startswith("https:"):
        return None
    authority = os.environ.get("YARD_CACERT") or os.environ.get("ST2_CACERT")
    return ssl.create_default_context(cafile=authority)


def _detail(status, body):
    try:
        return "; ".join(error["detail"] for error in json.loads(body)["errors"])
    except (ValueError, KeyError, TypeError):
        return "status %d: %s" % (status, body[:300].decode("utf-8", "replace"))
