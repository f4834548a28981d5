"""Callbacks for refusals."""

from __future__ import annotations

import asyncio

import pytest

from roomkey.errors import MalformedToken
from roomkey.guard.background import Background
from roomkey.guard.clock import SystemClock
from roomkey.guard.refusals import MAX_CALLS, MAX_WAITING, Refusals


@pytest.fixture
def calm():
    """Here callbacks are too slow, and it is logged."""


async def test_slow_callbacks_are_omitted_when_too_many_wait(caplog):
    background, gate, called = Background(SystemClock()), asyncio.Event(), []
    refusals = Refusals(background)

    async def slow(error, address):
        called.append(address)
        await gate.wait()

    refusals.callbacks.append(slow)
    for number in range(3 * MAX_WAITING):
        refusals.report(MalformedToken("not a token"), f"{number}")
        await asyncio.sleep(0)
    assert len(background.running) == MAX_CALLS
    assert [entry.message for entry in caplog.records if entry.levelname == "ERROR"] == [
        "on_refused: 1000 callbacks wait, and further ones are omitted; make them faster"
    ]
    gate.set()
    await background.settle()
    assert called == [str(number) for number in range(MAX_CALLS + MAX_WAITING)]
    refusals.report(MalformedToken("not a token"), "later")
    await background.settle()
    assert called[-1] == "later"
