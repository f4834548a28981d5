"""A clock that tests advance."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from roomkey.stores.cleanup import Cleanup


class FakeClock:
    """Wall and monotonic time together; nothing passes unless :meth:`advance` says so.

    Attributes:
        wrong_by: seconds by which the time of day is ahead of what it should be.
    """

    def __init__(self, start: float = 1_800_000_000.0) -> None:
        self.time = start
        self.wrong_by = 0.0

    def now(self) -> float:
        return self.time + self.wrong_by

    def monotonic(self) -> float:
        return self.time - 1_700_000_000.0

    def advance(self, seconds: float) -> None:
        self.time += seconds


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
