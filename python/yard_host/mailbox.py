"""Events on their way to the client.

They outlive a connection: what was not sent waits for the next client, and how an execution ended is kept until the
client says that it took it in. The wait is bounded: above `HIGH` bytes the host stops reading output.
"""

from collections import OrderedDict, deque

from yard_host import frames

HIGH = 4 * 1024 * 1024
LOW = 1024 * 1024
KEPT_ENDS = 1024
KEPT_BYTES = 64 * 1024 * 1024


class Mailbox:
    def __init__(self):
        # Pairs of (frame, id of the execution whose end it tells, or None).
        self._waiting = deque()
        self._waiting_bytes = 0
        self._sent_of_first = 0
        self._ends = OrderedDict()
        self._ends_bytes = 0

    @property
    def waiting_bytes(self):
        return self._waiting_bytes

    def put(self, event):
        self._push(frames.encode(event), None)

    def put_end(self, execution_id, event):
        frame = frames.encode(event)
        self._push(frame, execution_id)
        self._ends[execution_id] = frame
        self._ends_bytes += len(frame)
        while len(self._ends) > KEPT_ENDS or (self._ends_bytes > KEPT_BYTES and len(self._ends) > 1):
            self.forget(next(iter(self._ends)))

    def knows_end_of(self, execution_id):
        return execution_id in self._ends

    def forget(self, execution_id):
        frame = self._ends.pop(execution_id, None)
        if frame is None:
            return False
        self._ends_bytes -= len(frame)
        return True

    def greet(self, hello):
        """Prepares for a new client: the greeting, what was not sent, and the ends that were sent but not forgotten."""
        unsent = list(self._waiting)
        told = {execution_id for _, execution_id in unsent}
        self._waiting.clear()
        self._waiting_bytes = 0
        self._sent_of_first = 0
        self._push(frames.encode(hello), None)
        for frame, execution_id in unsent:
            self._push(frame, execution_id)
        for execution_id, frame in self._ends.items():
            if execution_id not in told:
                self._push(frame, execution_id)

    def send(self, connection):
        """Sends what the socket takes. True when nothing is left."""
        while self._waiting:
            frame, _ = self._waiting[0]
            try:
                count = connection.send(memoryview(frame)[self._sent_of_first:])
            except (BlockingIOError, InterruptedError):
                return False
            self._waiting_bytes -= count
            self._sent_of_first += count
            if self._sent_of_first == len(frame):
                self._waiting.popleft()
                self._sent_of_first = 0
        return True

    def _push(self, frame, execution_id):
        self._waiting.append((frame, execution_id))
        self._waiting_bytes += len(frame)
