"""The filters of templates, for code that renders them itself (contract 2.6)."""

import json
import os.path
import re

NONE_MAGIC_VALUE = "%*****__%NONE%__*****%"
_VERSION = re.compile(
    r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(?:-([0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?(?:\+[0-9A-Za-z.-]+)?"
)
_CONDITION = re.compile(r"(>=|<=|==|!=|>|<|=)?\s*(.+)")


def decrypt_kv(value):
    raise ValueError("decrypt_kv works in rules, workflows and parameters: no crypto key is given to packs' processes")


def from_json_string(value):
    return json.loads(str(value))


def from_yaml_string(value):
    import yaml

    return yaml.safe_load(str(value))


def to_json_string(value, indent=None, sort_keys=False, separators=(",", ": ")):
    return json.dumps(value, indent=indent, sort_keys=sort_keys, separators=separators)


def to_yaml_string(value, indent=None, allow_unicode=True):
    import yaml

    return yaml.safe_dump(value, indent=indent, allow_unicode=allow_unicode, default_flow_style=False)


def json_escape(value):
    return json.dumps(value).strip('"')


def jsonpath_query(value, query):
    """The list of matches, or None."""
    import jsonpath_rw

    return [match.value for match in jsonpath_rw.parse(query).find(value)] or None


def to_complex(value):
    return json.dumps(value)


def use_none(value):
    return NONE_MAGIC_VALUE if value is None else value


def regex_match(value, pattern, ignorecase=False):
    return bool(re.match(pattern, str(value), re.IGNORECASE if ignorecase else 0))


def regex_search(value, pattern, ignorecase=False):
    return bool(re.search(pattern, str(value), re.IGNORECASE if ignorecase else 0))


def regex_replace(value, pattern, replacement, ignorecase=False):
    return re.sub(pattern, replacement, str(value), flags=re.IGNORECASE if ignorecase else 0)


def regex_substring(value, pattern, result_index=0, ignorecase=False):
    return re.findall(pattern, str(value), re.IGNORECASE if ignorecase else 0)[result_index]


def to_human_time_from_seconds(seconds):
    """`1y2d3h4m5s`, from the first unit that is not 0."""
    if seconds is None:
        return None
    if seconds == 0:
        return "0s"
    if seconds < 1:
        return "%s\u03bcs" % seconds
    rest = round(seconds)
    text = ""
    for name, length in (("y", 365 * 86400), ("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, rest = divmod(rest, length)
        if count or text:
            text += "%d%s" % (count, name)
    return text


def _parts(version):
    match = _VERSION.fullmatch(str(version))
    if match is None:
        raise ValueError("%s is not valid SemVer string" % version)
    return [int(part) for part in match.groups()[:3]], match.group(4)


def version_compare(value, pattern):
    """-1, 0 or 1 by the rules of semver.org: a pre-release comes before its release, identifiers compare one by one."""
    first, first_pre = _parts(value)
    second, second_pre = _parts(pattern)
    if first != second:
        return 1 if first > second else -1
    if first_pre == second_pre:
        return 0
    if first_pre is None or second_pre is None:
        return 1 if first_pre is None else -1
    return _compare_identifiers(first_pre.split("."), second_pre.split("."))


def _compare_identifiers(first, second):
    def key(text):
        # Numbers come before words.
        return (0, int(text), "") if text.isdigit() else (1, 0, text)

    left, right = [key(text) for text in first], [key(text) for text in second]
    return (left > right) - (left < right)


def version_more_than(value, pattern):
    return version_compare(value, pattern) == 1


def version_less_than(value, pattern):
    return version_compare(value, pattern) == -1


def version_equal(value, pattern):
    return version_compare(value, pattern) == 0


def version_match(value, pattern):
    """Against `>=1.2.3` and the like."""
    operator, version = _CONDITION.fullmatch(pattern.strip()).groups()
    order = version_compare(value, version)
    return {
        ">=": order >= 0, "<=": order <= 0, ">": order > 0, "<": order < 0, "!=": order != 0,
    }.get(operator, order == 0)


def version_bump_major(value):
    (major, _, _), _ = _parts(value)
    return "%d.0.0" % (major + 1)


def version_bump_minor(value):
    (major, minor, _), _ = _parts(value)
    return "%d.%d.0" % (major, minor + 1)


def version_bump_patch(value):
    (major, minor, patch), _ = _parts(value)
    return "%d.%d.%d" % (major, minor, patch + 1)


def version_strip_patch(value):
    (major, minor, _), _ = _parts(value)
    return "%d.%d" % (major, minor)


def basename(path):
    return os.path.basename(path)


def dirname(path):
    return os.path.dirname(path)


NAMES = (
    "decrypt_kv", "from_json_string", "from_yaml_string", "to_json_string", "to_yaml_string", "json_escape",
    "jsonpath_query", "to_complex", "use_none", "regex_match", "regex_replace", "regex_search", "regex_substring",
    "to_human_time_from_seconds", "version_compare", "version_more_than", "version_less_than", "version_equal",
    "version_match", "version_bump_major", "version_bump_minor", "version_bump_patch", "version_strip_patch",
    "basename", "dirname",
)
