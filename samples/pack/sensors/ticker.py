from st2reactor.sensor.base import PollingSensor


class Ticker(PollingSensor):
    def setup(self):
        self.count = 0

    def poll(self):
        self.count += 1
        self.sensor_service.dispatch(trigger="greeter.tick", payload={"count": self.count})

    def cleanup(self):
        pass

    def add_trigger(self, trigger):
        pass

    def update_trigger(self, trigger):
        pass

    def remove_trigger(self, trigger):
        pass
