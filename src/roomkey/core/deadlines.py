"""Many deadlines in one heap for each clock, without a timer or task for each."""

from __future__ import annotations

import heapq
from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)

MAX_STALE = 32
"""Moved and canceled deadlines that can stay in the heaps, or a quarter of the others; each holds its key in memory."""


class Deadlines(Generic[K]):
    """Deadlines by key, at most one for each. Times are from one of several clocks, which the caller reads.

    Args:
        clocks: the number of clocks. The caller names a clock by its number, from 0.
    """

    def __init__(self, clocks: int = 1) -> None:
        # When, a number that orders equal times, and the key. A heap also contains entries that were moved or canceled.
        self._due: dict[K, tuple[float, int, K]] = {}
        self._heaps: list[list[tuple[float, int, K]]] = [[] for _ in range(clocks)]
        self._count = 0
        self._stale = 0

    def __len__(self) -> int:
        return len(self._due)

    def set(self, key: K, when: float, clock: int = 0) -> None:
        """Set or move the key's deadline.

        Raises:
            ValueError: ``when`` is NaN, which would block all later deadlines.
        """
        if when != when:
            raise ValueError("a deadline cannot be NaN")
        before = self._due.get(key)
        if before is not None:
            self._stale += 1
            key = before[2]  # of two equal keys, such as two references to a method, only one is kept
        self._count += 1
        self._due[key] = entry = (when, self._count, key)
        heapq.heappush(self._heaps[clock], entry)
        if self._stale > MAX_STALE and self._stale > len(self._due) // 4:
            self._drop_stale()

    def cancel(self, *keys: K) -> None:
        """Cancel the deadlines of these keys, if they have one."""
        for key in keys:
            if self._due.pop(key, None) is not None:
                self._stale += 1

    def _drop_stale(self) -> None:
        for heap in self._heaps:
            heap[:] = [entry for entry in heap if self._due.get(entry[2]) is entry]
            heapq.heapify(heap)
        self._stale = 0

    def next(self, clock: int = 0) -> float | None:
        """Return the earliest deadline of a clock, or None."""
        heap = self._heaps[clock]
        while heap and self._due.get(heap[0][2]) is not heap[0]:  # it was moved or canceled
            heapq.heappop(heap)
            self._stale -= 1
        return heap[0][0] if heap else None

    def pop_due(self, now: float, clock: int = 0) -> list[K]:
        """Remove and return the keys whose deadline is ``now`` or earlier, earliest first."""
        due = []
        while (when := self.next(clock)) is not None and when <= now:
            key = heapq.heappop(self._heaps[clock])[2]
            del self._due[key]
            due.append(key)
        return due
