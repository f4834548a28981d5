"""Many deadlines in one heap, without a timer or task for each."""

from __future__ import annotations

import heapq
from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


class Deadlines(Generic[K]):
    """Deadlines by key, at most one for each. All times are from one clock, which the caller reads."""

    def __init__(self) -> None:
        self._due: dict[K, tuple[float, int]] = {}
        self._heap: list[tuple[float, int, K]] = []
        self._count = 0

    def __len__(self) -> int:
        return len(self._due)

    def set(self, key: K, when: float) -> None:
        """Set or move the key's deadline.

        Raises:
            ValueError: ``when`` is NaN, which would block all later deadlines.
        """
        if when != when:
            raise ValueError("a deadline cannot be NaN")
        self._count += 1
        self._due[key] = (when, self._count)
        heapq.heappush(self._heap, (when, self._count, key))
        if len(self._heap) > 64 and len(self._heap) > 2 * len(self._due):
            self._heap = [(at, count, name) for name, (at, count) in self._due.items()]
            heapq.heapify(self._heap)

    def cancel(self, key: K) -> None:
        """Cancel the key's deadline, if it has one."""
        self._due.pop(key, None)

    def next(self) -> float | None:
        """Return the earliest deadline, or None."""
        self._drop_stale()
        return self._heap[0][0] if self._heap else None

    def pop_due(self, now: float) -> list[K]:
        """Remove and return the keys whose deadline is ``now`` or earlier, earliest first."""
        due = []
        while (when := self.next()) is not None and when <= now:
            key = heapq.heappop(self._heap)[2]
            del self._due[key]
            due.append(key)
        return due

    def _drop_stale(self) -> None:
        heap = self._heap
        while heap and self._due.get(heap[0][2], (0.0, 0))[1] != heap[0][1]:
            heapq.heappop(heap)
