"""One timer for all deadlines of a guard and its host."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Protocol

from roomkey.core.deadlines import Deadlines
from roomkey.guard.clock import Clock

LOG = logging.getLogger("roomkey.guard")

Callback = Callable[[], object]

LONGEST_SLEEP = 1.0
"""Seconds. A wall clock can be set and a laptop can sleep; a second later the deadlines take notice."""

EARLY_ENOUGH = 0.001
"""Seconds. Deadlines that fall together share a timer, although they were set at slightly different moments."""

_MONOTONIC, _WALL = 0, 1


class Timer(Protocol):
    """A call that is due at some time."""

    def cancel(self) -> object:
        """Do not call any more."""


CallLater = Callable[[float, Callable[[], None]], Timer]
"""Calls a function in so many seconds: the event loop's ``call_later``, or a thread."""


class Timers:
    """Deadlines on the monotonic clock and on the wall clock, with one timer of the host for both.

    A callback has at most one deadline: setting it again moves it.

    Args:
        clock: where to read the time.
        call_later: starts the timer.

    Attributes:
        cancel: removes the deadlines of callbacks, if they have one.
    """

    def __init__(self, clock: Clock, call_later: CallLater) -> None:
        self._clock = clock
        self._call_later = call_later
        self._deadlines: Deadlines[Callback] = Deadlines(clocks=2)
        self.cancel: Callable[..., None] = self._deadlines.cancel
        self._handle: Timer | None = None
        self._wakes_at = 0.0  # by the machine's clock; not every timer tells

    def __len__(self) -> int:
        return len(self._deadlines)

    def after(self, callback: Callback, seconds: float) -> None:
        """Call back after an interval, unless that is canceled or moved."""
        self._deadlines.set(callback, self._clock.monotonic() + seconds, _MONOTONIC)
        if self._handle is None or seconds < LONGEST_SLEEP:  # otherwise it wakes before that anyway
            self._wake()

    def at(self, callback: Callback, when: float) -> None:
        """Call back at a time (seconds since the epoch), unless that is canceled or moved."""
        self._deadlines.set(callback, when, _WALL)
        if self._handle is None or when - self._clock.now() < LONGEST_SLEEP:
            self._wake()

    def check(self) -> None:
        """Call back for every deadline that has passed."""
        due = self._deadlines.pop_due(self._clock.monotonic(), _MONOTONIC)
        due += self._deadlines.pop_due(self._clock.now(), _WALL)
        for callback in due:
            try:
                callback()
            except Exception:  # the others are due all the same
                LOG.exception("could not handle a deadline")

    def restart(self) -> None:
        """Set a new timer for all deadlines, because the one that is set may never call back."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        self._wake()

    def _wake(self) -> None:
        """Make sure that the timer runs no later than the earliest deadline."""
        delay = self._delay()
        if delay is None:
            return
        when = time.monotonic() + delay
        if self._handle is not None:
            if self._wakes_at <= when + EARLY_ENOUGH:
                return
            self._handle.cancel()
            self._handle = None  # if there cannot be another one now, the next deadline tries again
        self._wakes_at = when
        self._handle = self._call_later(delay, self._fire)

    def _fire(self) -> None:
        self._handle = None
        try:
            self.check()
        finally:
            self._wake()

    def _delay(self) -> float | None:
        interval, time = self._deadlines.next(_MONOTONIC), self._deadlines.next(_WALL)
        waits = []
        if interval is not None:
            waits.append(interval - self._clock.monotonic())
        if time is not None:
            waits.append(time - self._clock.now())
        return min(max(min(waits), 0.0), LONGEST_SLEEP) if waits else None
