"""The config dictionary, the logger and the construction of an action."""

import logging

from st2common import log

__all__ = ["PackConfigDict", "get_logger_for_python_runner_action", "get_action_class_instance", "set_log_level"]

_LINE = "%(name)-12s: %(levelname)-8s %(message)s"
_loggers = {}
_default_level = "DEBUG"


class PackConfigDict(dict):
    """A pack's configuration. A missing key tells what to configure instead of only its name."""

    def __init__(self, pack_name, *args):
        super().__init__(*args)
        self._pack_name = pack_name

    def __getitem__(self, key):
        try:
            return super().__getitem__(key)
        except KeyError:
            raise ValueError(
                'The configuration of pack "%s" has no key "%s". Set it with "st2 pack config %s" or '
                '"yard pack config %s".' % (self._pack_name, key, self._pack_name, self._pack_name)
            ) from None


def set_log_level(level):
    """The level of loggers that are made from now on without one."""
    global _default_level
    _default_level = level


def get_logger_for_python_runner_action(action_name, log_level=None):
    """A logger `st2.actions.python.NAME` that writes to stderr."""
    name = "actions.python.%s" % action_name
    logger = _loggers.get(name)
    if logger is None:
        level = getattr(logging, (log_level or _default_level).upper(), logging.DEBUG)
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter(_LINE))
        handler.setLevel(level)
        logger = log.getLogger(name)
        logger.addHandler(handler)
        logger.setLevel(level)
        _loggers[name] = logger
    return logger


def get_action_class_instance(action_cls, config=None, action_service=None):
    """Constructs an action, also one whose constructor does not know `action_service`."""
    try:
        return action_cls(config=config, action_service=action_service)
    except TypeError as error:
        if "unexpected keyword argument 'action_service'" not in str(error):
            raise
    action = action_cls(config=config)
    action.action_service = action_service
    return action
