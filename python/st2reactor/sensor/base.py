"""Base classes of sensors."""

import abc

from st2common.util import concurrency

__all__ = ["Sensor", "PollingSensor"]


class BaseSensor(metaclass=abc.ABCMeta):
    """What every sensor has: its service (dispatch, datastore, loggers) and its pack's configuration."""

    def __init__(self, sensor_service, config=None):
        self.sensor_service = self._sensor_service = sensor_service
        self.config = self._config = config or {}

    @abc.abstractmethod
    def setup(self):
        """Called once, before `run`."""

    @abc.abstractmethod
    def run(self):
        """Watches until the process ends. When it returns, or raises, the sensor has ended."""

    @abc.abstractmethod
    def cleanup(self):
        """Called once before the process ends."""

    @abc.abstractmethod
    def add_trigger(self, trigger):
        """A rule uses a new trigger of one of the sensor's types."""

    @abc.abstractmethod
    def update_trigger(self, trigger):
        """Such a trigger changed."""

    @abc.abstractmethod
    def remove_trigger(self, trigger):
        """No rule uses such a trigger any longer."""


class Sensor(BaseSensor):
    """A sensor that waits for events in its own way."""

    @abc.abstractmethod
    def run(self):
        pass


class PollingSensor(BaseSensor):
    """A sensor that looks every `poll_interval` seconds."""

    def __init__(self, sensor_service, config=None, poll_interval=5):
        super().__init__(sensor_service, config)
        self._poll_interval = poll_interval

    @abc.abstractmethod
    def poll(self):
        """One look."""

    def run(self):
        while True:
            self.poll()
            concurrency.sleep(self._poll_interval)

    def get_poll_interval(self):
        return self._poll_interval

    def set_poll_interval(self, poll_interval):
        self._poll_interval = poll_interval
