"""The deadlines of connected sockets: warning and expiry."""

from __future__ import annotations

import random
from collections.abc import Callable

from roomkey.core.identity import Identity
from roomkey.guard.clock import Clock
from roomkey.guard.settings import GuardSettings
from roomkey.guard.timers import Timers

JITTER = 0.5
"""The share of the warning time over which warnings are spread, so that thousands of sockets do not renew at once."""


class ExpiryWatch:
    """Sets the deadlines of connected sockets.

    Args:
        timers: calls back when a deadline has passed.
        clock: where to read the time.
        settings: the grace period, and ``warn_before``. A warning never comes before half of the remaining time has
            passed, because a client with short tokens would renew continuously.
    """

    def __init__(self, timers: Timers, clock: Clock, settings: GuardSettings) -> None:
        self._grace = settings.grace
        self._warn_before = settings.warn_before
        self._timers = timers
        self._clock = clock

    def watch(self, who: Identity, due: Callable[[], object]) -> None:
        """Set the deadline of a socket that has a token, or a new one.

        Args:
            who: the socket's identity.
            due: the socket's callback. An earlier deadline of this callback is replaced.
        """
        if who.expires_at is None:
            self._timers.cancel(due)
            return
        lead = min(self._warn_before, (who.expires_at - self._clock.now()) / 2)
        if lead > 0:
            spread = 1.0 - JITTER * random.random()  # noqa: S311 - nobody gains by guessing it
            self._timers.at(due, who.expires_at - lead * spread)
        else:
            self._timers.at(due, who.expires_at + self._grace)

    def passed(self, who: Identity, due: Callable[[], object]) -> int | None:
        """Handle a deadline that has passed.

        Returns:
            The seconds that are left, for the client's warning; 0 or less if nothing must be done before the end of
            the grace period; None if the socket ends now.
        """
        if who.expires_at is None:
            return 0
        now, end = self._clock.now(), who.expires_at + self._grace
        if now >= end:
            return None
        self._timers.at(due, end)
        return int(who.expires_at - now)
