"""The two clocks of a guard: one for the times in tokens, one for intervals."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """The clocks that a guard reads. Tests pass an object whose time they set."""

    def now(self) -> float:
        """Return seconds since the epoch, for times in tokens such as ``exp``."""

    def monotonic(self) -> float:
        """Return seconds that never run backwards, for intervals."""


class SystemClock:
    """The machine's clocks."""

    now = staticmethod(time.time)
    monotonic = staticmethod(time.monotonic)
