"""Up to when what has expired may be forgotten, although the clock may be wrong.

A clock that jumps ahead lets everything expire. If it was only wrong for a while, what was forgotten meanwhile is
missing afterwards: a revoked token is good again. Therefore a jump ahead counts only when it has lasted.
"""

from __future__ import annotations

from math import inf

__all__ = ["CONFIRM_SECONDS", "STARTUP_SECONDS", "ConfirmedTime"]

STARTUP_SECONDS, CONFIRM_SECONDS = 3600.0, 86400.0
"""Seconds after the start in which nothing is forgotten, and after which a jump ahead counts as the time."""


class ConfirmedTime:
    """Follows the time of day only as far as a monotonic clock confirms it."""

    def __init__(self) -> None:
        self._since: float | None = None
        # By how much the time of day was ahead of the monotonic clock, at the least: now, and in the period before.
        self._lowest = inf
        self._before = -inf

    def at(self, now: float, monotonic: float) -> float:
        """Return the time up to which what has expired may be forgotten; at first that is nothing (``-inf``).

        Args:
            now: seconds since the epoch.
            monotonic: seconds on a monotonic clock.
        """
        ahead = now - monotonic
        if self._since is None:
            self._since = monotonic
        elif monotonic - self._since >= (STARTUP_SECONDS if self._before == -inf else CONFIRM_SECONDS):
            self._before, self._lowest, self._since = self._lowest, ahead, monotonic
        self._lowest = min(self._lowest, ahead)
        return monotonic + min(self._lowest, self._before)
