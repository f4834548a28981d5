"""A clock that tests advance."""

from __future__ import annotations

import asyncio
import time
from typing import Protocol
from weakref import WeakKeyDictionary


class HasDeadlines(Protocol):
    """A guard: something that acts when times have passed."""

    def check_deadlines(self) -> None:
        """Act on the deadlines that have passed."""


class Clock:
    """The time of day and the time for intervals; both pass only when :meth:`advance` says so.

    Pass it to the guard or hub as ``clock=clock``, and to an issuer as ``clock=clock.now``.

    Args:
        start: the first time of day, in seconds since the epoch. Default: now, in whole seconds, so that tokens of
            code that reads the system's clock are valid, too.
    """

    def __init__(self, start: float | None = None) -> None:
        self._start = self._now = float(int(time.time())) if start is None else start
        self._guards: WeakKeyDictionary[HasDeadlines, asyncio.AbstractEventLoop | None] = WeakKeyDictionary()

    def now(self) -> float:
        """Return the time of day, in seconds since the epoch."""
        return self._now

    def monotonic(self) -> float:
        """Return the time for intervals, in seconds."""
        return self._now - self._start + 1_000.0

    def advance(self, seconds: float) -> None:
        """Let time pass in one step, and act on what is due in the guards to which test clients are connected.

        The time passes at once, as for a machine that slept: nothing happens in between. To see a warning before the
        expiry, advance to the warning first. What the guards do then may take turns of the event loop: call
        ``settle()`` before you look at its effects.

        Args:
            seconds: 0 or more.
        """
        if seconds < 0:
            raise ValueError("cannot go back in time; pass 0 or more seconds")
        self._now += seconds
        for guard, loop in list(self._guards.items()):
            if loop is not None and loop.is_closed():  # of an earlier test
                del self._guards[guard]
            else:
                guard.check_deadlines()

    def moves(self, guard: HasDeadlines, loop: asyncio.AbstractEventLoop | None) -> None:
        """Act on the deadlines of a guard from now on; test clients call this.

        Args:
            guard: the guard.
            loop: the event loop that it runs on; None for a synchronous guard.
        """
        self._guards[guard] = loop
