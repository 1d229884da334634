"""Exceptions that packs raise and catch."""


class StackStormBaseException(Exception):
    """The root of them all."""


class StackStormPluginException(StackStormBaseException):
    """A plug-in cannot be used."""
