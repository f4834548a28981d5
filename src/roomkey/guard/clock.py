"""The two clocks a guard reads: one for what a token says, one for how long something takes."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Where a guard reads the time; tests hand in one that they move."""

    def now(self) -> float:
        """Seconds since the epoch, for ``exp`` and its like."""

    def monotonic(self) -> float:
        """Seconds that never run backwards, for intervals."""


class SystemClock:
    """The machine's clocks."""

    now = staticmethod(time.time)
    monotonic = staticmethod(time.monotonic)
