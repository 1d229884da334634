"""Points in time, always with their zone."""

import datetime

__all__ = ["get_datetime_utc_now", "add_utc_tz", "convert_to_utc", "parse", "append_milliseconds_to_time"]

_UTC = datetime.timezone.utc


def get_datetime_utc_now():
    return datetime.datetime.now(_UTC)


def append_milliseconds_to_time(date, millis):
    return convert_to_utc(date + datetime.timedelta(milliseconds=millis))


def add_utc_tz(dt):
    """Declares a time to be UTC. A time of another zone is refused."""
    if dt.tzinfo and dt.utcoffset() != datetime.timedelta(0):
        raise ValueError("datetime already contains a non UTC timezone")
    return dt.replace(tzinfo=_UTC)


def convert_to_utc(dt):
    """The same moment in UTC; a time without a zone is taken as UTC."""
    return add_utc_tz(dt) if dt.tzinfo is None else dt.astimezone(_UTC)


def parse(value, preserve_original_tz=False):
    """An ISO 8601 text as a time with zone."""
    dt = _parse(str(value).strip())
    if dt.tzinfo is None:
        dt = add_utc_tz(dt)
    return dt if preserve_original_tz else convert_to_utc(dt)


def _parse(text):
    try:
        return datetime.datetime.fromisoformat(text.replace("Z", "+00:00") if text.endswith("Z") else text)
    except ValueError:
        pass
    try:
        # Knows many more forms; not part of the standard library.
        import dateutil.parser
    except ImportError:
        raise ValueError("%r is not a date in ISO 8601" % text) from None
    return dateutil.parser.parse(text)
