"""Many deadlines in one heap for each clock, without a timer or task for each."""

from __future__ import annotations

import heapq
from collections.abc import Hashable
from typing import Any, Generic, TypeVar

K = TypeVar("K", bound=Hashable)

MAX_STALE = 256
"""Moved and canceled deadlines that can stay in the heaps, or a quarter of the others."""

_CANCELED: Any = object()

_Entry = list[Any]
"""When, a number that orders equal times, and the key, or ``_CANCELED``: then a heap holds no key in memory."""


class Deadlines(Generic[K]):
    """Deadlines by key, at most one for each. Times are from one of several clocks, which the caller reads.

    Args:
        clocks: the number of clocks. The caller names a clock by its number, from 0.
    """

    def __init__(self, clocks: int = 1) -> None:
        self._due: dict[K, _Entry] = {}
        self._heaps: list[list[_Entry]] = [[] for _ in range(clocks)]
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
            key = before[2]  # of two equal keys, such as two references to a method, only one is kept
            before[2] = _CANCELED
            self._stale += 1
            if self._stale > MAX_STALE:
                self._drop_stale()
        self._count += 1
        self._due[key] = entry = [when, self._count, key]
        heapq.heappush(self._heaps[clock], entry)

    def cancel(self, *keys: K) -> None:
        """Cancel the deadlines of these keys, if they have one."""
        for key in keys:
            entry = self._due.pop(key, None)
            if entry is not None:
                entry[2] = _CANCELED
                self._stale += 1
        if self._stale > MAX_STALE:
            self._drop_stale()

    def _drop_stale(self) -> None:
        """Remove canceled entries from the heaps, if there are many."""
        if self._stale > len(self._due) // 4:
            for heap in self._heaps:
                heap[:] = [entry for entry in heap if entry[2] is not _CANCELED]
                heapq.heapify(heap)
            self._stale = 0

    def next(self, clock: int = 0) -> float | None:
        """Return the earliest deadline of a clock, or None."""
        heap = self._heaps[clock]
        while heap and heap[0][2] is _CANCELED:
            heapq.heappop(heap)
            self._stale -= 1
        return float(heap[0][0]) if heap else None

    def pop_due(self, now: float, clock: int = 0) -> list[K]:
        """Remove and return the keys whose deadline is ``now`` or earlier, earliest first."""
        due = []
        while (when := self.next(clock)) is not None and when <= now:
            key = heapq.heappop(self._heaps[clock])[2]
            del self._due[key]
            due.append(key)
        return due
