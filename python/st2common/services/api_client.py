"""A small client of the API with the standard library only.

`st2client` is what packs use for anything larger; importing it costs more than most actions run.
"""

import json
import os
import ssl
import urllib.error
import urllib.parse
import urllib.request

__all__ = ["ApiClient", "ApiError"]

TIMEOUT_SECONDS = 30


class ApiError(Exception):
    """A request that failed. `status` is None when there was no answer at all."""

    def __init__(self, request, status, reason):
        super().__init__("%s: %s" % (request, reason))
        self.status = status
        self.reason = reason


class ApiClient:
    """Requests below one base address, with one token."""

    def __init__(self, base_url, token=None, timeout=TIMEOUT_SECONDS):
        if not base_url:
            raise ValueError("the address of the API is not known: set ST2_API_URL")
        self.base_url = base_url.rstrip("/")
        self.token = token
        self._timeout = timeout

    @classmethod
    def from_environment(cls):
        """What an action or a sensor finds in its environment."""
        return cls(
            os.environ.get("ST2_ACTION_API_URL") or os.environ.get("ST2_API_URL"),
            os.environ.get("ST2_ACTION_AUTH_TOKEN") or os.environ.get("ST2_AUTH_TOKEN"),
        )

    def get(self, path, **query):
        return self.request("GET", path, query=query)

    def post(self, path, body=None, headers=None):
        return self.request("POST", path, body=body, headers=headers)

    def put(self, path, body=None):
        return self.request("PUT", path, body=body)

    def delete(self, path, body=None, **query):
        return self.request("DELETE", path, query=query, body=body)

    def request(self, method, path, query=None, body=None, headers=None):
        """The decoded body of the answer, or None when it has none. Raises ApiError for 4xx, 5xx and no answer."""
        url = self.base_url + path
        query = {name: value for name, value in (query or {}).items() if value is not None}
        if query:
            url += "?" + urllib.parse.urlencode(query, doseq=True)
        request = urllib.request.Request(url, method=method, headers=dict(headers or {}))
        request.add_header("Accept", "application/json")
        if self.token:
            request.add_header("X-Auth-Token", self.token)
        if body is not None:
            request.data = json.dumps(body).encode("utf-8")
            request.add_header("Content-Type", "application/json")
        name = "%s %s" % (method, path)
        try:
            with urllib.request.urlopen(request, timeout=self._timeout, context=_context(url)) as answer:
                text = answer.read()
        except urllib.error.HTTPError as error:
            with error:
                raise ApiError(name, error.code, _reason(error.code, error.read())) from None
        except (OSError, urllib.error.URLError) as error:
            raise ApiError(name, None, getattr(error, "reason", None) or error) from error
        if not text:
            return None
        try:
            return json.loads(text)
        except ValueError as error:
            raise ApiError(name, None, "the answer is not JSON: %s" % error) from error


def _context(url):
    if not url.startswith("https:"):
        return None
    authority = os.environ.get("ST2_CACERT")
    if authority and authority.lower() in ("false", "0", "no"):
        return ssl._create_unverified_context()
    if authority and authority.lower() not in ("true", "1", "yes"):
        return ssl.create_default_context(cafile=authority)
    return ssl.create_default_context()


def _reason(status, body):
    try:
        document = json.loads(body)
        if "faultstring" in document:
            return "%d %s" % (status, document["faultstring"])
        return "%d %s" % (status, "; ".join(error["detail"] for error in document["errors"]))
    except (ValueError, KeyError, TypeError):
        return "%d %s" % (status, body[:500].decode("utf-8", "replace"))
