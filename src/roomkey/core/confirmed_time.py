"""The time up to which expired records can be deleted, even if the clock is wrong.

If a clock jumps ahead, all records seem to be expired. If they were deleted and the clock was then corrected, a revoked
token would be valid again. Therefore a jump ahead counts only after it has lasted.
"""

from __future__ import annotations

from math import inf

__all__ = ["CONFIRM_SECONDS", "STARTUP_SECONDS", "ConfirmedTime"]

STARTUP_SECONDS, CONFIRM_SECONDS = 3600.0, 86400.0
"""Seconds after the start without deletions, and seconds after which a jump ahead counts."""


class ConfirmedTime:
    """Follows the time of day only as far as a monotonic clock confirms it."""

    def __init__(self) -> None:
        self._since: float | None = None
        # The smallest difference between the time of day and the monotonic clock, in this period and the one before.
        self._lowest = inf
        self._before = -inf

    def at(self, now: float, monotonic: float) -> float:
        """Return the time up to which expired records can be deleted; after the start, it is ``-inf``.

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
