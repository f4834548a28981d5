"""Each test of this folder runs on every kind of bus."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from support.buses import HARNESSES, Ear, Harness


@pytest.fixture(params=sorted(HARNESSES))
async def harness(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Harness]:
    harness = HARNESSES[request.param]()
    await harness.start(tmp_path)
    yield harness
    await harness.stop()


@pytest.fixture
async def ear(harness: Harness) -> AsyncIterator[Callable[..., Awaitable[Ear]]]:
    """Return a coroutine function that opens one more bus: ``await ear("channel", …, max_payload=…)``."""
    ears = []

    async def make(*channels: str, **settings: int) -> Ear:
        ears.append(Ear(harness.bus(**settings)))
        await ears[-1].open(*channels)
        return ears[-1]

    yield make
    for each in ears:
        await each.bus.close()
