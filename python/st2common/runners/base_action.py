"""The base class of Python actions."""

import abc

from st2common.runners.utils import PackConfigDict, get_logger_for_python_runner_action

__all__ = ["Action"]


class Action(metaclass=abc.ABCMeta):
    """Subclasses implement `run`, whose keyword arguments are the action's parameters.

    `self.config` is the pack's configuration, `self.logger` writes to the execution's stderr, `self.action_service`
    reaches the datastore.
    """

    description = None

    def __init__(self, config=None, action_service=None):
        wrapper = getattr(action_service, "_action_wrapper", None)
        self.config = PackConfigDict(getattr(wrapper, "_pack", "unknown"), config or {})
        self.action_service = action_service
        self.logger = get_logger_for_python_runner_action(
            type(self).__name__, getattr(wrapper, "_log_level", None)
        )

    @abc.abstractmethod
    def run(self, **kwargs):
        """Returns the result, or a pair of (succeeded, result)."""
