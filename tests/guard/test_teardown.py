"""What is done in the background when a connection ends."""

from __future__ import annotations

import asyncio

import pytest
from support.clock import FakeClock
from support.tokens import issuer_at

from roomkey.socketio import AsyncGuard


@pytest.mark.timeout(20)
async def test_settle_ends_when_a_step_is_done_and_not_yet_forgotten():
    """From Python 3.12 on, gathering what is done gives the event loop no turn in which to forget it."""
    clock = FakeClock()
    guard = AsyncGuard(issuer_at(clock).verifier(), clock=clock)

    async def nothing() -> None:
        return

    guard.teardown.spawn(nothing())
    await asyncio.create_task(guard.settle())  # runs behind the step, in the same turn
    assert not guard.teardown.background._running
