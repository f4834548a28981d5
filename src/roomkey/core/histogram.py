"""Counts of measured times, by their size."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Bounds for times in seconds, from a millisecond to what a user would call an outage."""


class Histogram:
    """Counts values by the smallest bound that they do not exceed.

    Args:
        bounds: in ascending order. Values above the last one are counted, too.

    Attributes:
        counts: for each bound, and for the values above all of them.
        total: the sum of all values.
    """

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float] = SECONDS) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        self.total = 0.0

    def observe(self, value: float, times: int = 1) -> None:
        """Count a value, which was measured this many times."""
        self.counts[bisect_left(self.bounds, value)] += times
        self.total += value * times
