"""Dropping expired rows next to the requests."""

from __future__ import annotations

import asyncio
import logging

import pytest
from support.clock import FakeClock

from roomkey.core.confirmed_time import STARTUP_SECONDS
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


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    made = FakeClock(NOW)
    monkeypatch.setattr("roomkey.stores.forgetting.monotonic", made.monotonic)
    return made


def ready(rows: Rows, clock: FakeClock) -> Forgetting:
    """One that has been running for a while."""
    forgetting = Forgetting("rows", rows.forget)
    clock.time = NOW - STARTUP_SECONDS
    forgetting.soon(clock.now())
    clock.time = NOW
    return forgetting


async def attempts(rows: Rows, clock: FakeClock, *times: float, wrong_by: float = 0.0) -> list[float]:
    forgetting = ready(rows, clock)
    for now in times:
        clock.time, clock.wrong_by = NOW + now, wrong_by
        forgetting.soon(clock.now())
        await forgetting.settle()
    return [now - NOW for now in rows.at]


async def test_forgetting_repeats_after_an_hour(clock: FakeClock) -> None:
    assert await attempts(Rows(), clock, 0, 1, FORGET_SECONDS - 1, FORGET_SECONDS) == [0, FORGET_SECONDS]


@pytest.mark.checklist("I128")
async def test_forgetting_that_fails_says_so_and_is_repeated_after_a_minute(
    caplog: pytest.LogCaptureFixture, clock: FakeClock
) -> None:
    """Only success counts."""
    with caplog.at_level(logging.WARNING, logger="roomkey.stores"):
        assert await attempts(Rows(failures=1), clock, 0, RETRY_SECONDS - 1, RETRY_SECONDS, 2 * RETRY_SECONDS) == [
            0,
            RETRY_SECONDS,
        ]
    assert caplog.messages == ["could not delete expired rows (scripted); trying again in a minute"]


async def test_forgetting_after_the_clock_was_set_back_does_not_wait(clock: FakeClock) -> None:
    rows = Rows()
    assert await attempts(rows, clock, 0, wrong_by=0) == [0]
    clock.wrong_by = -86400
    assert await attempts(rows, clock, 1, wrong_by=-86400) == [0, 1 - 86400]


@pytest.mark.checklist("I118")
async def test_forgetting_believes_no_clock_that_jumps_ahead(clock: FakeClock) -> None:
    """What a wrong clock lets expire is not dropped."""
    assert await attempts(Rows(), clock, 0, 4000, wrong_by=366 * 86400) == [0, 4000]


async def test_a_new_process_forgets_nothing(clock: FakeClock) -> None:
    rows = Rows()
    forgetting = Forgetting("rows", rows.forget)
    forgetting.soon(clock.now())
    await forgetting.settle()
    assert rows.at == []


async def test_forgetting_holds_nobody_up_and_runs_once_at_a_time(clock: FakeClock) -> None:
    rows = Rows()
    rows.go_on.clear()
    forgetting = ready(rows, clock)
    for day in range(3):
        forgetting.soon(NOW + day * 86400)
        await asyncio.sleep(0)
    assert len(rows.at) == 1
    await forgetting.close()
    await forgetting.close()
