"""ISO 8601 texts."""

import datetime
import re

from st2common.util import date

__all__ = ["format", "validate", "parse"]

ISO8601_FORMAT = "%Y-%m-%dT%H:%M:%S"
ISO8601_FORMAT_MICROSECOND = ISO8601_FORMAT + ".%f"
ISO8601_UTC_REGEX = r"^\d{4}-\d{2}-\d{2}(\s|T)\d{2}:\d{2}:\d{2}(\.\d{3,6})?(Z|\+00|\+0000|\+00:00)$"


def format(dt, usec=True, offset=True):
    """The text for a time, an ISO text or seconds since 1970. `offset=False` writes UTC as `Z`."""
    if isinstance(dt, str):
        dt = parse(dt)
    elif isinstance(dt, int):
        dt = datetime.datetime.fromtimestamp(dt, datetime.timezone.utc)
    text = dt.strftime(ISO8601_FORMAT_MICROSECOND if usec else ISO8601_FORMAT)
    distance = dt.strftime("%z")
    if offset:
        return text + (distance[:3] + ":" + distance[3:5] if distance else "+00:00")
    zone = dt.tzname() or "UTC"
    return text + ("Z" if zone == "UTC" else zone)


def validate(value, raise_exception=True):
    """Whether it is a time, or the text of one in UTC."""
    if isinstance(value, datetime.datetime):
        return True
    if isinstance(value, str) and re.match(ISO8601_UTC_REGEX, value):
        return True
    if raise_exception:
        raise ValueError("Datetime value does not match expected format.")
    return False


def parse(value, preserve_original_tz=False, validate_value=True):
    if validate_value:
        validate(value, raise_exception=True)
    return date.parse(value, preserve_original_tz)
