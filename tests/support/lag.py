"""Meters of time that do not count how long the machine let the process wait."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

__all__ = ["lag_of_the_loop", "loop_awake", "seconds_awake"]

TICK = 0.005
LONGEST_TICK = 0.02


@contextmanager
def seconds_awake() -> Iterator[Callable[[], float]]:
    """Yield a function that returns the seconds that have passed, without those in which this process stood still.

    On a busy machine, a process can stand still for seconds. So a thread counts in short steps, and a step that took
    much longer counts as ``LONGEST_TICK``. Waiting counts in full, and so does work on another thread.
    """
    passed = 0.0
    ended = threading.Event()

    def count() -> None:
        nonlocal passed
        before = time.monotonic()
        while not ended.wait(TICK):
            now = time.monotonic()
            passed += min(now - before, LONGEST_TICK)
            before = now

    thread = threading.Thread(target=count, daemon=True)
    thread.start()
    try:
        yield lambda: passed
    finally:
        ended.set()
        thread.join()


@asynccontextmanager
async def loop_awake() -> AsyncIterator[None]:
    """Let the running event loop of asyncio count its time awake: its deadlines wait while the process stands still."""
    loop: Any = asyncio.get_running_loop()
    begun = loop.time()
    with seconds_awake() as seconds:
        loop.time = lambda: begun + seconds()
        yield
        del loop.time


@asynccontextmanager
async def lag_of_the_loop() -> AsyncIterator[Callable[[], float]]:
    """Yield a function that returns the longest time in which the event loop did nothing else, in seconds awake."""
    worst = 0.0

    async def tick() -> None:
        nonlocal worst
        while True:
            begun = awake()
            await asyncio.sleep(0.01)
            worst = max(worst, awake() - begun - 0.01)

    with seconds_awake() as awake:
        task = asyncio.create_task(tick())
        try:
            yield lambda: worst
        finally:
            task.cancel()
