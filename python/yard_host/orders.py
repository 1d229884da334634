"""What a `run` request may contain.

Checked before anything starts, with every problem named at once. Unknown fields are problems: a misspelt limit must not
be a limit that silently does not hold.
"""

import json

DEFAULT_OUTPUT_LIMIT = 16 * 1024 * 1024
DEFAULT_RESULT_LIMIT = 16 * 1024 * 1024
LARGEST_RESULT_LIMIT = 24 * 1024 * 1024
DEFAULT_GRACE_MS = 2000
LIMITS = ("memory_bytes", "processes", "open_files", "file_bytes", "cpu_seconds")
LOG_LEVELS = ("AUDIT", "CRITICAL", "ERROR", "WARNING", "INFO", "DEBUG")


def _is_integer(value):
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_number(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value > 0


def _is_texts(value):
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _is_text_map(value):
    return isinstance(value, dict) and all(isinstance(item, str) for item in value.values())


def _is_flag(value):
    return isinstance(value, bool)


def _is_script(value):
    return (
        isinstance(value, dict)
        and set(value) <= {"name", "content", "arguments"}
        and isinstance(value.get("name"), str)
        and isinstance(value.get("content"), str)
        and isinstance(value.get("arguments", ""), str)
    )


def _is_name_of_level(value):
    return isinstance(value, str) and value.upper() in LOG_LEVELS


TEXT = (lambda value: isinstance(value, str), "a text")
FILLED = (lambda value: isinstance(value, str) and value != "", "a text that is not empty")
OBJECT = (lambda value: isinstance(value, dict), "an object")
INTEGER = (_is_integer, "an integer from 0")
NUMBER = (_is_number, "a number above 0")
TEXTS = (_is_texts, "a list of texts")
TEXT_MAP = (_is_text_map, "an object of texts")
FLAG = (_is_flag, "true or false")
ANY = (lambda value: True, "any value")

_COMMON = {
    "request": TEXT,
    "id": FILLED,
    "kind": TEXT,
    "worker": INTEGER,
    "env": TEXT_MAP,
    "cwd": FILLED,
    "user": FILLED,
    "timeout_ms": INTEGER,
    "grace_ms": INTEGER,
    "output_limit": INTEGER,
    "result_limit": INTEGER,
    "limits": OBJECT,
}

_KINDS = {
    "python": {
        "file": FILLED,
        "pack": FILLED,
        "parameters": OBJECT,
        "config": OBJECT,
        "log_level": (_is_name_of_level, "one of " + ", ".join(LOG_LEVELS)),
        "path": TEXTS,
    },
    "shell": {"command": TEXT, "argv": TEXTS},
    "http": {
        "url": FILLED,
        "method": FILLED,
        "headers": OBJECT,
        "cookies": OBJECT,
        "params": OBJECT,
        "body": ANY,
        "auth": TEXT,
        "username": TEXT,
        "password": TEXT,
        "allow_redirects": FLAG,
        "http_proxy": TEXT,
        "https_proxy": TEXT,
        "verify_ssl_cert": FLAG,
        "url_hosts_blacklist": TEXTS,
        "url_hosts_whitelist": TEXTS,
        "timeout": NUMBER,
        "file_name": TEXT,
        "file_content": TEXT,
        "file_content_type": TEXT,
        "action": TEXT,
    },
    "ssh": {
        "hosts": TEXTS,
        "username": FILLED,
        "command": TEXT,
        "script": (_is_script, "an object of name, content and arguments"),
        "password": TEXT,
        "private_key": TEXT,
        "passphrase": TEXT,
        "port": INTEGER,
        "bastion_host": TEXT,
        "remote_cwd": TEXT,
        "dir": TEXT,
        "remote_env": OBJECT,
        "sudo": FLAG,
        "sudo_password": TEXT,
        "parallel": FLAG,
        "max_parallel": INTEGER,
        "connect_timeout": NUMBER,
        "timeout": NUMBER,
        "allow_partial_failure": FLAG,
    },
}

_REQUIRED = {
    "python": ("file", "pack", "parameters"),
    "shell": (),
    "http": ("url",),
    "ssh": ("hosts", "username"),
}


def problems_of(body):
    """Everything that is wrong with a `run` request; empty when it can be carried out."""
    problems = []
    kind = body.get("kind")
    if kind not in _KINDS:
        problems.append("kind must be one of %s, not %s" % (", ".join(_KINDS), json.dumps(kind)))
    known = dict(_COMMON, **_KINDS.get(kind, {}))
    for name in ("id",) + _REQUIRED.get(kind, ()):
        if body.get(name) is None:
            problems.append("%s is missing" % name)
    for name, value in body.items():
        if name not in known:
            if kind in _KINDS:
                problems.append("%s is not a field of a run of kind %s" % (name, kind))
        elif value is not None:
            holds, wanted = known[name]
            if not holds(value):
                problems.append("%s must be %s" % (name, wanted))
    problems.extend(_limit_problems(body))
    problems.extend(_choice_problems(kind, body))
    return problems


def problems_of_enter(body):
    """The same of an `enter` request."""
    problems = []
    for name, (holds, wanted) in (("prefix", FILLED), ("path", TEXTS)):
        if body.get(name) is not None and not holds(body[name]):
            problems.append("%s must be %s" % (name, wanted))
    return problems


def _limit_problems(body):
    limits = body.get("limits")
    if isinstance(limits, dict):
        for name, value in limits.items():
            if name not in LIMITS:
                yield "limits.%s is not one of %s" % (name, ", ".join(LIMITS))
            elif value is not None and not _is_integer(value):
                yield "limits.%s must be an integer from 0" % name
    result_limit = body.get("result_limit")
    if _is_integer(result_limit) and result_limit > LARGEST_RESULT_LIMIT:
        yield "result_limit must be at most %d" % LARGEST_RESULT_LIMIT


def _choice_problems(kind, body):
    def given(*names):
        return [name for name in names if body.get(name) is not None]

    if kind == "shell" and len(given("command", "argv")) != 1:
        yield "exactly one of command and argv must be given"
    if kind == "shell" and body.get("argv") == []:
        yield "argv must name a program"
    if kind == "ssh" and len(given("command", "script")) != 1:
        yield "exactly one of command and script must be given"
    if kind == "ssh" and body.get("hosts") == []:
        yield "hosts must name a host"
    if kind == "http" and body.get("url_hosts_blacklist") and body.get("url_hosts_whitelist"):
        yield "url_hosts_blacklist and url_hosts_whitelist exclude each other"
