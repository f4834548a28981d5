"""A rate limit: a bucket of tokens that come back steadily, of which each event takes one."""

from __future__ import annotations


class TokenBucket:
    """A token bucket: a rate limit that allows bursts.

    Args:
        rate: tokens added per second, and the most tokens in the bucket.
        now: seconds on a monotonic clock.
    """

    __slots__ = ("_at", "_tokens", "rate")

    def __init__(self, rate: float, now: float) -> None:
        self.rate = rate
        self._tokens = rate
        self._at = now

    def is_full(self, now: float) -> bool:
        """Return True if the bucket is full, as a new one is."""
        return self._tokens + (now - self._at) * self.rate >= self.rate

    def take(self, now: float, number: float = 1.0) -> float:
        """Take a token, or several; return the number that is left, which is negative over the limit."""
        tokens = self._tokens + (now - self._at) * self.rate
        self._tokens = (tokens if tokens < self.rate else self.rate) - number
        self._at = now
        return self._tokens

    def take_if_any(self, now: float) -> bool:
        """Take a token if there is one; return False and take nothing otherwise."""
        if self.take(now) >= 0:
            return True
        self._tokens += 1.0
        return False
