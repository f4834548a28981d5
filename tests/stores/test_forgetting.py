"""Dropping expired rows next to the requests."""

from __future__ import annotations

import asyncio
import logging

import pytest

from roomkey.errors import Unavailable
from roomkey.stores.forgetting import FORGET_SECONDS, RETRY_SECONDS, Forgetting

NOW = 1_800_000_000.0


class Rows:
    """Counts the attempts; the first ``failures`` of them fail."""

    def __init__(self, failures: int = 0) -> None:
        self.at: list[float] = []
        self.failures = failures
        self.go_on = asyncio.Event()
        self.go_on.set()

    async def forget(self, now: float) -> None:
        self.at.append(now)
        await self.go_on.wait()
        if len(self.at) <= self.failures:
            raise Unavailable("scripted")


async def attempts(rows: Rows, *times: float) -> list[float]:
    forgetting = Forgetting("rows", rows.forget)
    for now in times:
        forgetting.soon(NOW + now)
        await forgetting.settle()
    return [now - NOW for now in rows.at]


async def test_forgetting_repeats_after_an_hour() -> None:
    assert await attempts(Rows(), 0, 1, FORGET_SECONDS - 1, FORGET_SECONDS) == [0, FORGET_SECONDS]


async def test_forgetting_that_fails_says_so_and_is_repeated_after_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    """Checklist 128: only success counts."""
    with caplog.at_level(logging.WARNING, logger="roomkey.stores"):
        assert await attempts(Rows(failures=1), 0, RETRY_SECONDS - 1, RETRY_SECONDS, 2 * RETRY_SECONDS) == [
            0,
            RETRY_SECONDS,
        ]
    assert caplog.messages == ["could not drop expired rows (scripted); trying again in a minute"]


async def test_forgetting_after_the_clock_was_set_back_does_not_wait() -> None:
    assert await attempts(Rows(), 0, -86400) == [0, -86400]


async def test_forgetting_holds_nobody_up_and_runs_once_at_a_time() -> None:
    rows = Rows()
    rows.go_on.clear()
    forgetting = Forgetting("rows", rows.forget)
    for day in range(3):
        forgetting.soon(NOW + day * 86400)
        await asyncio.sleep(0)
    assert len(rows.at) == 1
    await forgetting.close()
    await forgetting.close()
