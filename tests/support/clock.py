"""A clock that tests advance."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from roomkey.stores.cleanup import Cleanup
from roomkey.testing import Clock


class FakeClock(Clock):
    """The clock of :mod:`roomkey.testing`, whose time can also be set and be wrong.

    Attributes:
        wrong_by: seconds by which the time of day is ahead of what it should be.
    """

    def __init__(self, start: float = 1_800_000_000.0) -> None:
        super().__init__(start)
        self.wrong_by = 0.0

    @property
    def time(self) -> float:
        return self._now

    @time.setter
    def time(self, seconds: float) -> None:
        self._now = seconds

    def now(self) -> float:
        return super().now() + self.wrong_by

    def advance(self, seconds: float) -> None:
        """Let time pass, or go back."""
        self._now += min(seconds, 0.0)
        super().advance(max(seconds, 0.0))


class Skewed(FakeClock):
    """A clock whose time of day is ahead of that of another by some seconds, or behind it."""

    def __init__(self, clock: FakeClock, seconds: float) -> None:
        super().__init__()
        self._other, self._seconds = clock, seconds

    def now(self) -> float:
        return self._other.now() + self._seconds

    def monotonic(self) -> float:
        return self._other.monotonic() + 10 * self._seconds + 100


def forgets_by(clock: FakeClock, patch: pytest.MonkeyPatch) -> Callable[[], Awaitable[None]]:
    """Let stores delete what has expired by this clock, from their second call on.

    Returns:
        A function that waits until no deletion is running: they run next to the requests.
    """
    patch.setattr("roomkey.stores.cleanup.monotonic", clock.monotonic)
    patch.setattr("roomkey.core.confirmed_time.STARTUP_SECONDS", 0.0)
    used: list[Cleanup] = []
    start = Cleanup.start_if_due

    def recorded(cleanup: Cleanup, now: float) -> None:
        used.append(cleanup)
        start(cleanup, now)

    async def settle() -> None:
        for cleanup in used:
            await cleanup.settle()

    patch.setattr(Cleanup, "start_if_due", recorded)
    return settle
