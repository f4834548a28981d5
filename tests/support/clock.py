"""A clock that tests move."""

from __future__ import annotations


class FakeClock:
    """Wall and monotonic time together; nothing passes unless :meth:`advance` says so."""

    def __init__(self, start: float = 1_800_000_000.0) -> None:
        self.time = start

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time - 1_700_000_000.0

    def advance(self, seconds: float) -> None:
        self.time += seconds
