"""Each test of this folder runs on every kind of bus."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import pytest
from support.buses import HARNESSES, Ear, Harness

SLOW = ("cluster",)


@pytest.fixture(
    scope="session",
    params=[pytest.param(name, marks=pytest.mark.long if name.endswith(SLOW) else ()) for name in sorted(HARNESSES)],
)
def started(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Harness]:
    """Start the servers of a kind of bus once for all tests."""
    harness = HARNESSES[request.param]()
    asyncio.run(harness.start(tmp_path_factory.mktemp(request.param)))
    yield harness
    asyncio.run(harness.stop())


@pytest.fixture
async def harness(started: Harness) -> AsyncIterator[Harness]:
    yield started
    await started.restore()


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
