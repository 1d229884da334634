"""The life of a sensor: load, set up, run, clean up.

    orders ──▶ setup() ──▶ add_trigger()* ──▶ run() ─── returns ──▶ cleanup() ──▶ exit 0
                                                ├───── raises ──▶ cleanup() ──▶ exit 1
                                                └─────── TERM ──▶ cleanup() ──▶ exit 0

Beginners get wrong: `add_trigger` and its relatives are called from another thread than `run`, as packs expect.
"""

import atexit
import json
import logging
import os
import signal
import sys
import threading
import traceback

from st2common import log
from st2common.services.api_client import ApiClient
from st2common.services.datastore import SensorDatastoreService
from st2common.util.loader import register_plugin_class
from st2reactor.container.sensor_wrapper import SensorService
from st2reactor.sensor.base import PollingSensor, Sensor
from yard_sensor.dispatcher import QUEUE_LIMIT, Dispatcher

CRASHED, BAD_ORDERS = 1, 2
FLUSH_SECONDS = 5.0
_TRIGGER_EVENTS = ("add_trigger", "update_trigger", "remove_trigger")
_FIELDS = {
    "pack": str,
    "file": str,
    "class_name": str,
    "config": dict,
    "poll_interval": (int, float),
    "triggers": list,
    "path": list,
    "api_url": str,
    "token": str,
    "queue_limit": int,
    "log_level": str,
}
_REQUIRED = ("pack", "file", "class_name")


class BadOrders(Exception):
    """The orders cannot be followed; the text says why."""


class _Stopped(SystemExit):
    """Raised in the main thread by TERM. As SystemExit it passes `except Exception` in the sensor."""


def run(path):
    """The whole process. Returns its exit status, or ends it."""
    try:
        orders = read_orders(path)
    except (OSError, ValueError, BadOrders) as error:
        print("yard_sensor: %s" % error, file=sys.stderr)
        return BAD_ORDERS
    logger = _logger(orders)
    signal.signal(signal.SIGTERM, _on_term)
    signal.signal(signal.SIGINT, _on_term)
    try:
        client = _client(orders)
        dispatcher = Dispatcher(client, logger, orders.get("queue_limit") or QUEUE_LIMIT)
        status = _live(orders, client, dispatcher, logger)
    except _Stopped:
        _end(0)
    except BaseException:
        traceback.print_exc()
        _end(CRASHED)
    unsent = dispatcher.flush(FLUSH_SECONDS)
    if unsent:
        logger.error("%d events could not be sent before the end", unsent)
    _end(status)


def read_orders(path):
    if path is None:
        text = sys.stdin.readline()
    else:
        with open(path, encoding="utf-8") as file:
            text = file.read()
    try:
        orders = json.loads(text)
    except ValueError as error:
        raise BadOrders("the orders are not JSON: %s" % error) from error
    problems = list(_problems(orders))
    if problems:
        raise BadOrders("the orders cannot be followed: " + "; ".join(problems))
    return orders


def _problems(orders):
    if not isinstance(orders, dict):
        yield "they are no object"
        return
    for name in _REQUIRED:
        if not orders.get(name):
            yield "%s is missing" % name
    for name, value in orders.items():
        if name not in _FIELDS:
            yield "%s is no field of them" % name
        elif value is not None and (not isinstance(value, _FIELDS[name]) or isinstance(value, bool)):
            yield "%s has the wrong type" % name


def _on_term(*_):
    # Once: what follows must not be interrupted.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    raise _Stopped(0)


def _end(status):
    """Ends the process, whatever threads the sensor started."""
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _logger(orders):
    level = getattr(logging, (orders.get("log_level") or "INFO").upper(), logging.INFO)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    logging.getLogger().addHandler(handler)
    logging.getLogger().setLevel(level)
    return log.getLogger("SensorWrapper.%s.%s" % (orders["pack"], orders["class_name"]))


def _client(orders):
    # What pack code finds in its environment must agree with what the orders say.
    if orders.get("api_url"):
        os.environ["ST2_API_URL"] = orders["api_url"]
    if orders.get("token"):
        os.environ["ST2_AUTH_TOKEN"] = orders["token"]
    return ApiClient(os.environ.get("ST2_API_URL"), os.environ.get("ST2_AUTH_TOKEN"))


def _live(orders, client, dispatcher, logger):
    datastore = SensorDatastoreService(logger, orders["pack"], orders["class_name"], client)
    sensor = _construct(orders, SensorService(logger, dispatcher, datastore))
    try:
        sensor.setup()
        for trigger in orders.get("triggers") or []:
            sensor.add_trigger(trigger)
        threading.Thread(
            target=_follow_events, args=(sensor, client, logger), name="events", daemon=True
        ).start()
        sensor.run()
        return 0
    except _Stopped:
        return 0
    except BaseException:
        traceback.print_exc()
        return CRASHED
    finally:
        _clean_up(sensor)


def _clean_up(sensor):
    try:
        sensor.cleanup()
    except Exception:
        traceback.print_exc()


def _construct(orders, service):
    sys.path[:0] = orders.get("path") or []
    sensor_class = register_plugin_class(Sensor, orders["file"], orders["class_name"])
    arguments = {"sensor_service": service, "config": orders.get("config") or {}}
    if orders.get("poll_interval") and issubclass(sensor_class, PollingSensor):
        arguments["poll_interval"] = orders["poll_interval"]
    return sensor_class(**arguments)


def _follow_events(sensor, client, logger):
    """Lines of stdin: changes of triggers, a new token. Its end means that no more will come."""
    for line in sys.stdin:
        if not line.strip():
            continue
        try:
            event = json.loads(line)
            name = event["event"]
            if name == "token":
                client.token = os.environ["ST2_AUTH_TOKEN"] = event["token"]
            elif name in _TRIGGER_EVENTS:
                getattr(sensor, name)(event["trigger"])
            else:
                logger.error("there is no event %s", name)
        except Exception:
            # One trigger that the sensor cannot take must not keep the others from it.
            logger.exception("the sensor could not take an event")
