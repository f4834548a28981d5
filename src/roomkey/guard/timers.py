"""One timer for all deadlines of a guard."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from roomkey.core.deadlines import Deadlines
from roomkey.guard.clock import Clock

LOG = logging.getLogger("roomkey.guard")

Name = tuple[str, str]
LONGEST_SLEEP = 1.0
"""Seconds: a wall clock may be set, and a laptop may sleep; a second later the deadlines know."""

EARLY_ENOUGH = 0.001
"""Seconds: deadlines of one moment share a timer, however little their readings of the clock differ."""


class Timers:
    """Intervals on the monotonic clock, expiries on the wall clock, one timer of the event loop for both.

    Args:
        clock: where to read the time.
        passed: called with ``(kind, name)`` of each deadline that has passed; expiries are of the kind ``expiry``.
    """

    def __init__(self, clock: Clock, passed: Callable[[Name], None]) -> None:
        self._clock = clock
        self._passed = passed
        self._intervals: Deadlines[Name] = Deadlines()
        self._expiries: Deadlines[str] = Deadlines()
        self._handle: asyncio.TimerHandle | None = None
        self._wakes_at = 0.0  # by the loop's clock; not every loop's handles tell

    def after(self, name: Name, seconds: float) -> None:
        """Call back after an interval, unless it is cancelled."""
        self._intervals.set(name, self._clock.monotonic() + seconds)
        if self._handle is None or seconds < LONGEST_SLEEP:  # else it wakes before that anyhow
            self._wake()

    def at(self, name: str, when: float) -> None:
        """Call back at a time (seconds since the epoch), unless it is cancelled or moved."""
        self._expiries.set(name, when)
        if self._handle is None or when - self._clock.now() < LONGEST_SLEEP:
            self._wake()

    def cancel(self, name: Name) -> None:
        """Forget an interval."""
        self._intervals.cancel(name)

    def cancel_expiry(self, name: str) -> None:
        """Forget an expiry."""
        self._expiries.cancel(name)

    def check(self) -> None:
        """Call back for all that is due."""
        due = self._intervals.pop_due(self._clock.monotonic())
        due += [("expiry", sid) for sid in self._expiries.pop_due(self._clock.now())]
        for name in due:
            try:
                self._passed(name)
            except Exception:  # the others are due all the same
                LOG.exception("a deadline could not be carried out")

    def _wake(self) -> None:
        """Make sure that the timer runs no later than the earliest deadline."""
        loop = asyncio.get_running_loop()
        delay = self._delay()
        if delay is None:
            return
        when = loop.time() + delay
        if self._handle is not None:
            if self._wakes_at <= when + EARLY_ENOUGH:
                return
            self._handle.cancel()
        self._wakes_at = when
        self._handle = loop.call_later(delay, self._fire)

    def _fire(self) -> None:
        self._handle = None
        try:
            self.check()
        finally:
            self._wake()

    def _delay(self) -> float | None:
        interval, expiry = self._intervals.next(), self._expiries.next()
        waits = []
        if interval is not None:
            waits.append(interval - self._clock.monotonic())
        if expiry is not None:
            waits.append(expiry - self._clock.now())
        return min(max(min(waits), 0.0), LONGEST_SLEEP) if waits else None
