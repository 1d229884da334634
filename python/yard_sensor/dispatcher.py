"""From the sensor to the API.

A queue stands between them, so that a sensor does not wait for each answer. It is bounded: when the API is away for long,
`dispatch` blocks the sensor, rather than losing events or growing. One event at a time is sent, so their order holds. What
was dispatched and not yet accepted by the API is lost if the process is killed; at an orderly end it is sent first.
"""

import queue
import threading
import time
import uuid

from st2common.services.api_client import ApiError

QUEUE_LIMIT = 1000
FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 15.0
# Answers that another try may turn into success: token being renewed, too slow, too many.
_TRANSIENT = (401, 408, 425, 429)


class Dispatcher:
    """Call it with (trigger, payload, trace tag)."""

    def __init__(self, client, logger, limit=QUEUE_LIMIT):
        self._client = client
        self._logger = logger
        self._queue = queue.Queue(limit)
        self._pending = 0
        self._changed = threading.Condition()
        self._hurry = threading.Event()
        threading.Thread(target=self._send_all, name="dispatch", daemon=True).start()

    def __call__(self, trigger, payload, trace_tag):
        event = ({"trigger": trigger, "payload": payload}, trace_tag, uuid.uuid4().hex)
        with self._changed:
            self._pending += 1
        try:
            self._queue.put_nowait(event)
        except queue.Full:
            self._logger.warning("%d events wait for the API; the sensor waits too", self._queue.maxsize)
            try:
                self._queue.put(event)
            except BaseException:
                # The sensor was stopped while it waited.
                self._done()
                raise

    def flush(self, seconds):
        """Waits until everything is sent. Returns how much was not."""
        self._hurry.set()
        deadline = time.monotonic() + seconds
        with self._changed:
            while self._pending and time.monotonic() < deadline:
                self._changed.wait(deadline - time.monotonic())
            return self._pending

    def _done(self):
        with self._changed:
            self._pending -= 1
            self._changed.notify_all()

    def _send_all(self):
        while True:
            body, trace_tag, number = self._queue.get()
            try:
                self._send(body, trace_tag, number)
            except Exception:
                # Such as a payload that JSON cannot carry: the next event must still go out.
                self._logger.exception("trigger %s was dropped", body["trigger"])
            self._done()

    def _send(self, body, trace_tag, number):
        # The same for every try, so that the API can tell a repetition.
        headers = {"X-Request-ID": number}
        if trace_tag:
            headers["St2-Trace-Tag"] = trace_tag
        pause = FIRST_PAUSE_SECONDS
        while True:
            try:
                self._client.post("/webhooks/st2", body, headers)
                return
            except ApiError as error:
                if error.status is not None and error.status < 500 and error.status not in _TRANSIENT:
                    self._logger.error("trigger %s was refused and dropped: %s", body["trigger"], error.reason)
                    return
                self._logger.warning("trigger %s is sent again in %.1f s: %s", body["trigger"], pause, error)
            if self._hurry.wait(pause):
                # At the end there is no time for long pauses.
                time.sleep(FIRST_PAUSE_SECONDS)
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)
