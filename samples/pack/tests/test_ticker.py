from st2tests.base import BaseSensorTestCase
from ticker import Ticker


class TickerTestCase(BaseSensorTestCase):
    sensor_cls = Ticker

    def test_every_poll_is_a_tick(self):
        sensor = self.get_sensor_instance()
        sensor.setup()
        sensor.poll()
        sensor.poll()
        self.assertTriggerDispatched(trigger="greeter.tick", payload={"count": 2})
