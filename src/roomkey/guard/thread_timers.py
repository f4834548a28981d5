"""The timers of a synchronous server: all of them are due in one thread or greenlet."""

from __future__ import annotations

import heapq
import itertools
import logging
import os
import time
from collections.abc import Callable

from roomkey.guard.thread_tasks import Monitor, Primitives

LOG = logging.getLogger("roomkey.guard")


class ThreadTimer:
    """One call that is due at some time."""

    __slots__ = ("callback",)

    def __init__(self, callback: Callable[[], None]) -> None:
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        """Do not call any more."""
        self.callback = None


class TimerThread:
    """One thread or greenlet for all timers. It exists while there are any, so a process that forks keeps none.

    Args:
        primitives: threads or greenlets.
        monitor: held while a timer's function runs.
    """

    def __init__(self, primitives: Primitives, monitor: Monitor) -> None:
        self._primitives = primitives
        self._monitor = monitor
        self._heap: list[tuple[float, int, ThreadTimer]] = []
        self._number = itertools.count()
        self._process: int | None = None  # in which the thread runs
        self._changed = primitives.event()

    def call_later(self, seconds: float, callback: Callable[[], None]) -> ThreadTimer:
        """Call a function in so many seconds."""
        timer = ThreadTimer(callback)
        with self._monitor:
            if self._process != os.getpid():
                self._primitives.start(self._run)
                self._process = os.getpid()  # not before: perhaps there are no threads now
            entry = (time.monotonic() + seconds, next(self._number), timer)
            heapq.heappush(self._heap, entry)
            if self._heap[0] is entry:
                self._changed.set()
        return timer

    def _run(self) -> None:
        while True:
            with self._monitor:
                self._changed.clear()
                self._call_due()
                if not self._heap:
                    self._process = None
                    return
                seconds = self._heap[0][0] - time.monotonic()
            self._changed.wait(max(0.0, seconds))

    def _call_due(self) -> None:
        while self._heap and (self._heap[0][2].callback is None or self._heap[0][0] <= time.monotonic()):
            callback = heapq.heappop(self._heap)[2].callback
            if callback is not None:
                try:
                    callback()
                except Exception:  # the other timers are due all the same
                    LOG.exception("a timer of the guard failed")
