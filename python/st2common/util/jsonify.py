"""JSON helpers."""

import json

__all__ = ["json_encode", "json_decode", "json_loads", "try_loads", "get_json_type_for_python_value"]


def json_encode(obj, indent=None, sort_keys=False):
    return json.dumps(obj, indent=indent, sort_keys=sort_keys, default=_convert)


def _convert(value):
    for method in ("to_serializable_dict", "to_dict", "isoformat"):
        if hasattr(value, method):
            return getattr(value, method)()
    if isinstance(value, (set, frozenset, tuple)):
        return list(value)
    raise TypeError("%s cannot be written as JSON" % type(value).__name__)


def json_decode(data):
    return json.loads(data)


def try_loads(s):
    """The decoded value of a JSON text, anything else as it is."""
    try:
        return json.loads(s) if s and isinstance(s, str) else s
    except ValueError:
        return s


def json_loads(obj, keys=None):
    """Decodes the texts below some keys (all if none are named) of a dictionary, in place."""
    if not obj:
        return obj
    for key in keys if keys is not None else list(obj):
        if key in obj:
            obj[key] = try_loads(obj[key])
    return obj


def get_json_type_for_python_value(value):
    if isinstance(value, bool):
        return "boolean"
    for name, kinds in (("string", str), ("integer", int), ("number", float), ("array", (list, tuple)),
                        ("object", dict)):
        if isinstance(value, kinds):
            return name
    if value is None:
        return "null"
    raise ValueError("Unsupported type: %s" % type(value))
