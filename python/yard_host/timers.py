"""Calls to make later.

Most are time limits of executions that end long before, and each holds on to what its call needs. So a canceled timer lets
go of its call at once, and the heap is cleaned when canceled ones are the majority.
"""

import heapq
import itertools
import time

# Below this many it is not worth cleaning.
FEW = 64


class Timer:
    __slots__ = ("at", "_number", "call")

    def __init__(self, at, number, call):
        self.at = at
        self._number = number
        self.call = call

    def __lt__(self, other):
        return (self.at, self._number) < (other.at, other._number)


class Timers:
    def __init__(self, clock=time.monotonic):
        self._clock = clock
        self._heap = []
        self._numbers = itertools.count()
        self._canceled = 0

    def __len__(self):
        return len(self._heap)

    def after(self, seconds, call):
        """Calls later. The answer is for `cancel`."""
        timer = Timer(self._clock() + seconds, next(self._numbers), call)
        heapq.heappush(self._heap, timer)
        return timer

    def cancel(self, timer):
        if timer is None or timer.call is None:
            return
        timer.call = None
        self._canceled += 1
        if self._canceled > FEW and self._canceled * 2 > len(self._heap):
            self._heap = [kept for kept in self._heap if kept.call is not None]
            heapq.heapify(self._heap)
            self._canceled = 0

    def pause(self):
        """Seconds until the next one is due; None when there is none."""
        self._drop_canceled()
        return max(0.0, self._heap[0].at - self._clock()) if self._heap else None

    def run_due(self):
        while self._heap and self._heap[0].at <= self._clock():
            timer = heapq.heappop(self._heap)
            call, timer.call = timer.call, None
            if call is None:
                self._canceled -= 1
            else:
                call()

    def _drop_canceled(self):
        while self._heap and self._heap[0].call is None:
            heapq.heappop(self._heap)
            self._canceled -= 1
