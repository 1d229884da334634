"""The service of a sensor under test."""

import logging
from unittest.mock import Mock

from st2reactor.container.sensor_wrapper import SensorService
from st2tests.mocks.datastore import MockDatastoreService

__all__ = ["MockSensorWrapper", "MockSensorService"]


class MockSensorWrapper:
    def __init__(self, pack, class_name):
        self._pack = pack
        self._class_name = class_name


class MockSensorService(SensorService):
    """Records in `dispatched_triggers` instead of dispatching."""

    def __init__(self, sensor_wrapper):
        self._sensor_wrapper = sensor_wrapper
        self.dispatched_triggers = []
        # A mock, so that tests can assert what was logged.
        logger = Mock(spec=logging.RootLogger)
        datastore = MockDatastoreService(logger, sensor_wrapper._pack, sensor_wrapper._class_name)
        super().__init__(logger, None, datastore)

    def get_logger(self, name):
        return self._logger

    def dispatch_with_context(self, trigger, payload=None, trace_context=None):
        item = {"trigger": trigger, "payload": payload, "trace_context": trace_context}
        self.dispatched_triggers.append(item)
        return item
