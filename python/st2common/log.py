"""Loggers as packs expect them: names below `st2.`, a level AUDIT, and `logger.audit(...)`."""

import logging
import sys

__all__ = ["getLogger", "setup", "LoggingStream", "logging"]

PREFIX = "st2."
# Above CRITICAL, so that audit lines are never filtered by a level.
AUDIT = logging.CRITICAL + 10
logging.AUDIT = AUDIT
logging.addLevelName(AUDIT, "AUDIT")


def getLogger(name):
    """The logger `st2.NAME`."""
    logger = logging.getLogger(name if name.startswith(PREFIX) else PREFIX + name)
    if not hasattr(logger, "audit"):
        logger.audit = _audit.__get__(logger)
    return logger


def _audit(self, message, *args, **kwargs):
    kwargs["stacklevel"] = kwargs.get("stacklevel", 1) + 1
    self.log(AUDIT, message, *args, **kwargs)


class LoggingStream:
    """A file-like object whose lines become log lines."""

    def __init__(self, name, level=logging.ERROR):
        self._logger = getLogger(name)
        self._level = level

    def write(self, message):
        message = message.rstrip("\n")
        if message:
            self._logger.log(self._level, message)

    def flush(self):
        for handler in self._logger.handlers:
            handler.flush()


def setup(config_file=None, redirect_stderr=True, excludes=None, disable_existing_loggers=False,
          st2_conf_path=None):
    """Configures logging from a file of the standard library's format, or to stderr without one."""
    if config_file:
        import logging.config

        logging.config.fileConfig(config_file, disable_existing_loggers=disable_existing_loggers)
    else:
        handler = logging.StreamHandler(sys.__stderr__)
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
        logging.getLogger().addHandler(handler)
        logging.getLogger().setLevel(logging.INFO)
    for name in excludes or []:
        logging.getLogger(name).propagate = False
    if redirect_stderr and config_file:
        sys.stderr = LoggingStream("STDERR")
