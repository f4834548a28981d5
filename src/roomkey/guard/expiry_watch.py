"""How long a live socket lives: it is warned, then it ends; one deadline each, in the heap of all."""

from __future__ import annotations

import random

from roomkey.core.admission import Admission
from roomkey.guard.clock import Clock
from roomkey.guard.settings import GuardSettings
from roomkey.guard.timers import Timers

JITTER = 0.5
"""The share of the warning time over which warnings are spread: thousands of sockets do not refresh in one second."""


class ExpiryWatch:
    """The deadlines of live sockets.

    Args:
        timers: calls back when one is due.
        clock: where to read the time.
        settings: of which ``grace`` and ``warn_before`` are used. A warning never comes before half of the time that
            is left, or a client with short tokens would renew without end.
    """

    def __init__(self, timers: Timers, clock: Clock, settings: GuardSettings) -> None:
        self.grace = settings.grace
        self._warn_before = settings.warn_before
        self._timers = timers
        self._clock = clock

    def watch(self, admission: Admission) -> None:
        """A socket has a token, or a new one: its deadlines move."""
        who = admission.identity
        if who is None or who.expires_at is None:
            self._timers.cancel_expiry(admission.sid)
            return
        lead = min(self._warn_before, (who.expires_at - self._clock.now()) / 2)
        if lead > 0:
            spread = 1.0 - JITTER * random.random()  # noqa: S311 - nobody gains by guessing it
            self._timers.at(admission.sid, who.expires_at - lead * spread)
        else:
            self._timers.at(admission.sid, who.expires_at + self.grace)

    def due(self, admission: Admission) -> int | None:
        """A deadline has passed.

        Returns:
            Seconds that are left, which the client is to be told; 0 or less if nothing is to be done but to wait for
            the end of the grace; None if the socket ends now.
        """
        who = admission.identity
        if who is None or who.expires_at is None:
            return 0
        now, end = self._clock.now(), who.expires_at + self.grace
        if now >= end:
            return None
        self._timers.at(admission.sid, end)
        return int(who.expires_at - now)
