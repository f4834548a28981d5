"""A meter for the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

__all__ = ["lag_of_the_loop"]


@asynccontextmanager
async def lag_of_the_loop() -> AsyncIterator[Callable[[], float]]:
    """Yield a function that returns the longest time in which the event loop did nothing else, in seconds."""
    loop = asyncio.get_running_loop()
    worst = 0.0

    async def tick() -> None:
        nonlocal worst
        while True:
            begun = loop.time()
            await asyncio.sleep(0.01)
            worst = max(worst, loop.time() - begun - 0.01)

    task = asyncio.create_task(tick())
    try:
        yield lambda: worst
    finally:
        task.cancel()
