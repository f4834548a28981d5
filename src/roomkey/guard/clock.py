"""The two clocks of a guard: one for the times in tokens, one for intervals."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Where a guard reads the time. Tests pass a clock that they move."""

    def now(self) -> float:
        """Return seconds since the epoch, for times in tokens such as ``exp``."""

    def monotonic(self) -> float:
        """Return seconds that never run backwards, for intervals."""


class SystemClock:
    """The machine's clocks."""

    now = staticmethod(time.time)
    monotonic = staticmethod(time.monotonic)
