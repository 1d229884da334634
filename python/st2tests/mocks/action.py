"""The service of an action under test."""

import logging
from unittest.mock import Mock

from st2common.services.action_service import ActionService
from st2tests.mocks.datastore import MockDatastoreService

__all__ = ["MockActionWrapper", "MockActionService"]


class MockActionWrapper:
    def __init__(self, pack, class_name):
        self._pack = pack
        self._class_name = class_name
        self._log_level = "DEBUG"


class MockActionService(ActionService):
    def __init__(self, action_wrapper):
        self._action_wrapper = action_wrapper
        # A mock, so that tests can assert what was logged.
        self._logger = Mock(spec=logging.RootLogger)
        self._datastore_service = MockDatastoreService(self._logger, action_wrapper._pack, action_wrapper._class_name)
