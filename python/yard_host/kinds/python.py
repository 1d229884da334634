"""A Python action: load its class, call `run`, hand over what it returns (contract 9.6)."""

import importlib.util
import inspect
import json
import math
import os
import sys

from st2common.runners import utils
from st2common.services.action_service import ActionService
from yard_host.worker import Refusal

INVALID_STATUS = 220


def run(orders, send_result):
    config = utils.PackConfigDict(orders["pack"], orders.get("config") or {})
    action_class = load_class(orders["file"], orders.get("path") or [])
    service = ActionService(
        pack=orders["pack"], class_name=action_class.__name__, log_level=orders.get("log_level") or "DEBUG"
    )
    utils.set_log_level(orders.get("log_level") or "DEBUG")
    action = utils.get_action_class_instance(action_class, config=config, action_service=service)
    send_result(document_of(action.run(**orders["parameters"])))


def load_class(path, search_path):
    """The action class of a module: the first by name that is defined there and implements `run`."""
    sys.path[:0] = search_path
    folder = os.path.dirname(os.path.realpath(path))
    if folder not in sys.path:
        sys.path.append(folder)
    name, extension = os.path.splitext(os.path.basename(path))
    if extension != ".py":
        raise Refusal("the entry point %s is not a Python file" % path)
    if not os.path.isfile(path):
        raise Refusal("the entry point %s does not exist" % path)
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    # Not put in sys.modules: an action named like the library it uses must still get the library.
    spec.loader.exec_module(module)
    for _, member in inspect.getmembers(module, inspect.isclass):
        if member.__module__ == name and _implements_run(member):
            return member
    raise Refusal("%s defines no class with a method run" % path)


def _implements_run(member):
    method = getattr(member, "run", None)
    return inspect.isfunction(method) and not getattr(method, "__isabstractmethod__", False)


def document_of(returned):
    """`{"result", "status"}` for what `run` returned: data, or a pair of bool and data."""
    status = None
    result = returned
    if isinstance(returned, tuple) and len(returned) == 2:
        status, result = returned
        if status is not None and not isinstance(status, bool):
            raise Refusal(
                "run() returned a pair whose first element is %r. A pair means (succeeded, result), so it must be "
                "True or False. To return two values as data, return a list, or (True, (first, second))." % (status,),
                INVALID_STATUS,
            )
    return {"result": representable(result), "status": status}


def representable(value):
    """The value if JSON can carry it; without NaN and infinities, which JSON has not; or else its text."""
    try:
        json.dumps(value, allow_nan=False)
        return value
    except (TypeError, RecursionError):
        return str(value)
    except ValueError as error:
        if "Out of range float" not in str(error):
            # A value that contains itself.
            return str(value)
    return _finite(value)


def _finite(value):
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return value
