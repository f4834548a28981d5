"""Deletion of expired records next to the requests."""

from __future__ import annotations

import asyncio
import logging

import pytest
from support.clock import FakeClock

from roomkey.core.confirmed_time import STARTUP_SECONDS
from roomkey.errors import Unavailable
from roomkey.stores.cleanup import INTERVAL_SECONDS, RETRY_SECONDS, Cleanup

NOW = 1_800_000_000.0


class Rows:
    """Counts the attempts. The first ``failures`` of them fail."""

    def __init__(self, failures: int = 0) -> None:
        self.at: list[float] = []
        self.failures = failures
        self.go_on = asyncio.Event()
        self.go_on.set()

    async def delete_expired(self, now: float) -> None:
        self.at.append(now)
        await self.go_on.wait()
        if len(self.at) <= self.failures:
            raise Unavailable("scripted")


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    made = FakeClock(NOW)
    monkeypatch.setattr("roomkey.stores.cleanup.monotonic", made.monotonic)
    return made


def ready(rows: Rows, clock: FakeClock) -> Cleanup:
    """Return a cleanup that has been running for a while."""
    cleanup = Cleanup("rows", rows.delete_expired)
    clock.time = NOW - STARTUP_SECONDS
    cleanup.start_if_due(clock.now())
    clock.time = NOW
    return cleanup


async def attempts(rows: Rows, clock: FakeClock, *times: float, wrong_by: float = 0.0) -> list[float]:
    cleanup = ready(rows, clock)
    for now in times:
        clock.time, clock.wrong_by = NOW + now, wrong_by
        cleanup.start_if_due(clock.now())
        await cleanup.settle()
    return [now - NOW for now in rows.at]


async def test_cleanup_runs_again_after_an_hour(clock: FakeClock) -> None:
    assert await attempts(Rows(), clock, 0, 1, INTERVAL_SECONDS - 1, INTERVAL_SECONDS) == [0, INTERVAL_SECONDS]


@pytest.mark.checklist("I128")
async def test_failed_cleanup_is_logged_and_repeated_after_a_minute(
    caplog: pytest.LogCaptureFixture, clock: FakeClock
) -> None:
    """Only success counts."""
    with caplog.at_level(logging.WARNING, logger="roomkey.stores"):
        assert await attempts(Rows(failures=1), clock, 0, RETRY_SECONDS - 1, RETRY_SECONDS, 2 * RETRY_SECONDS) == [
            0,
            RETRY_SECONDS,
        ]
    assert caplog.messages == ["could not delete expired rows (scripted); trying again in a minute"]


async def test_cleanup_runs_immediately_after_the_clock_was_set_back(clock: FakeClock) -> None:
    rows = Rows()
    assert await attempts(rows, clock, 0, wrong_by=0) == [0]
    clock.wrong_by = -86400
    assert await attempts(rows, clock, 1, wrong_by=-86400) == [0, 1 - 86400]


@pytest.mark.checklist("I118")
async def test_cleanup_ignores_a_clock_that_jumps_ahead(clock: FakeClock) -> None:
    """Records that expire only by a wrong clock are kept."""
    assert await attempts(Rows(), clock, 0, 4000, wrong_by=366 * 86400) == [0, 4000]


async def test_new_process_deletes_nothing(clock: FakeClock) -> None:
    rows = Rows()
    cleanup = Cleanup("rows", rows.delete_expired)
    cleanup.start_if_due(clock.now())
    await cleanup.settle()
    assert rows.at == []


async def test_cleanup_runs_in_the_background_and_once_at_a_time(clock: FakeClock) -> None:
    rows = Rows()
    rows.go_on.clear()
    cleanup = ready(rows, clock)
    for day in range(3):
        cleanup.start_if_due(NOW + day * 86400)
        await asyncio.sleep(0)
    assert len(rows.at) == 1
    await cleanup.close()
    await cleanup.close()
