"""How often something may happen."""

from __future__ import annotations


class TokenBucket:
    """A rate with room for bursts: tokens come back steadily, and each event takes one.

    Args:
        rate: tokens per second, and the most that are saved up.
        now: seconds on a monotonic clock.
    """

    __slots__ = ("_at", "_tokens", "rate")

    def __init__(self, rate: float, now: float) -> None:
        self.rate = rate
        self._tokens = rate
        self._at = now

    def is_full(self, now: float) -> bool:
        """True if it is as good as a new one."""
        return self._tokens + (now - self._at) * self.rate >= self.rate

    def take(self, now: float) -> float:
        """Take a token; returns what is left, below 0 for how many too many were taken."""
        tokens = self._tokens + (now - self._at) * self.rate
        self._tokens = (tokens if tokens < self.rate else self.rate) - 1.0
        self._at = now
        return self._tokens

    def take_if_any(self, now: float) -> bool:
        """Take a token if there is one; whoever asks too often is not made to wait longer for it."""
        if self.take(now) >= 0:
            return True
        self._tokens += 1.0
        return False
