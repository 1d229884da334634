"""Exceptions about sensors."""

from st2common.exceptions import StackStormPluginException

__all__ = ["TriggerTypeRegistrationException", "SensorNotFoundException"]


class TriggerTypeRegistrationException(StackStormPluginException):
    pass


class SensorNotFoundException(StackStormPluginException):
    pass
