"""Coroutines that run by themselves."""

from __future__ import annotations

import asyncio
import gc

import pytest

from roomkey.guard.background import Background
from roomkey.guard.clock import SystemClock


@pytest.fixture
def calm():
    """Here coroutines fail as they should, and it is logged."""


async def test_start_runs_a_coroutine_without_other_references():
    tasks, done = Background(SystemClock()), []

    async def work():
        await asyncio.sleep(0)
        done.append(1)

    for _ in range(3):
        tasks.start(work())
    gc.collect()
    await tasks.settle()
    assert done == [1, 1, 1]
    assert tasks._running == set()


async def test_start_takes_the_first_step_immediately():
    tasks, done = Background(SystemClock()), []

    async def work():
        done.append(1)

    tasks.start(work())
    assert done == [1]
    assert tasks._running == set()


async def test_start_logs_a_failure_and_the_others_continue(caplog):
    tasks, done = Background(SystemClock()), []

    async def fail():
        raise LookupError("inside")

    async def work():
        done.append(1)

    tasks.start(fail())
    tasks.start(work())
    await tasks.settle()
    assert done == [1]
    assert [entry.name for entry in caplog.records] == ["roomkey.guard"]
    assert "inside" in caplog.text


async def test_settle_waits_for_new_tasks_but_not_for_itself():
    tasks, done = Background(SystemClock()), []

    async def second():
        await asyncio.sleep(0)
        done.append("second")

    async def first():
        await asyncio.sleep(0)
        tasks.start(second())

    async def settles():
        await tasks.settle()
        done.append("settled")

    tasks.start(first())
    tasks.start(settles())
    await asyncio.wait_for(tasks.settle(), 20)
    assert done == ["second", "settled"]


async def test_background_returns_a_task_that_its_caller_can_await(caplog):
    tasks = Background(SystemClock())

    async def give(value):
        await asyncio.sleep(0)
        if isinstance(value, Exception):
            raise value
        return value

    assert await tasks.background(give(5)) == 5
    with pytest.raises(LookupError):
        await tasks.background(give(LookupError("inside")))
    assert "inside" in caplog.text
    cancelled = tasks.background(give(6))
    cancelled.cancel()
    await tasks.settle()
    assert tasks._running == set()
    assert len(caplog.records) == 1


async def test_settle_does_not_wait_for_a_task_that_settles_later():
    tasks, done, gate = Background(SystemClock()), [], asyncio.Event()

    async def first():
        await tasks.settle()
        done.append("first")

    async def second():
        await gate.wait()
        await tasks.settle()
        done.append("second")

    tasks.spawn(first())
    tasks.spawn(second())
    await asyncio.sleep(0)
    gate.set()
    await asyncio.wait_for(tasks.settle(), 20)
    assert sorted(done) == ["first", "second"]


async def test_task_cancelled_before_it_starts_is_forgotten():
    tasks = Background(SystemClock())

    async def work():
        raise AssertionError

    tasks.spawn(work()).cancel()
    await asyncio.wait_for(tasks.settle(), 20)
    assert tasks._running == set()


@pytest.mark.timeout(20)
async def test_settle_ends_although_a_done_task_is_not_yet_forgotten():
    """From Python 3.12 on, gathering what is done gives the event loop no turn in which to forget it."""
    tasks = Background(SystemClock())

    async def nothing() -> None:
        return

    tasks.spawn(nothing())
    await asyncio.create_task(tasks.settle())  # runs behind the step, in the same turn
    assert not tasks._running
