"""Many deadlines in one heap for each clock, without a timer or task for each."""

from __future__ import annotations

import heapq
from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


class Deadlines(Generic[K]):
    """Deadlines by key, at most one for each. Times are from one of several clocks, which the caller reads.

    Args:
        clocks: the number of clocks. The caller names a clock by its number, from 0.
    """

    def __init__(self, clocks: int = 1) -> None:
        self._due: dict[K, tuple[float, int, int]] = {}  # when, a number that tells it from replaced ones, the clock
        self._heaps: list[list[tuple[float, int, K]]] = [[] for _ in range(clocks)]
        self._count = 0

    def __len__(self) -> int:
        return len(self._due)

    def set(self, key: K, when: float, clock: int = 0) -> None:
        """Set or move the key's deadline.

        Raises:
            ValueError: ``when`` is NaN, which would block all later deadlines.
        """
        if when != when:
            raise ValueError("a deadline cannot be NaN")
        self._count += 1
        self._due[key] = (when, self._count, clock)
        heap = self._heaps[clock]
        heapq.heappush(heap, (when, self._count, key))
        if len(heap) > 64 and len(heap) > 2 * len(self._due):
            heap[:] = [(at, count, name) for name, (at, count, of) in self._due.items() if of == clock]
            heapq.heapify(heap)

    def cancel(self, *keys: K) -> None:
        """Cancel the deadlines of these keys, if they have one."""
        for key in keys:
            self._due.pop(key, None)

    def next(self, clock: int = 0) -> float | None:
        """Return the earliest deadline of a clock, or None."""
        heap = self._heaps[clock]
        while heap and self._due.get(heap[0][2], (0.0, 0))[1] != heap[0][1]:  # it was moved or canceled
            heapq.heappop(heap)
        return heap[0][0] if heap else None

    def pop_due(self, now: float, clock: int = 0) -> list[K]:
        """Remove and return the keys whose deadline is ``now`` or earlier, earliest first."""
        due = []
        while (when := self.next(clock)) is not None and when <= now:
            key = heapq.heappop(self._heaps[clock])[2]
            del self._due[key]
            due.append(key)
        return due
