"""Where the API is."""

import os

__all__ = ["get_base_public_api_url", "get_full_public_api_url"]


def get_full_public_api_url(api_version="v1"):
    """The address with its version, as actions and sensors find it in their environment."""
    url = os.environ.get("ST2_ACTION_API_URL") or os.environ.get("ST2_API_URL")
    if not url:
        raise ValueError("the address of the API is not known: set ST2_API_URL")
    url = url.rstrip("/")
    return url if url.endswith("/" + api_version) else "%s/%s" % (url, api_version)


def get_base_public_api_url():
    return get_full_public_api_url().rpartition("/")[0]
