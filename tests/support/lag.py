"""Meters of time that do not count how long the machine let the process wait."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

__all__ = ["AwakeLoop", "lag_of_the_loop", "loop_awake", "seconds_awake"]

TICK = 0.005
LONGEST_TICK = 0.02


@contextmanager
def seconds_awake() -> Iterator[Callable[[], float]]:
    """Yield a function that returns the seconds that have passed, without those in which this process stood still.

    On a busy machine, a process can stand still for seconds. So a thread counts in short steps, and a step that took
    much longer counts as ``LONGEST_TICK``. Waiting counts in full, and so does work, except for one long call of a C
    function that keeps the interpreter's lock.
    """
    ended = threading.Event()
    last = 0.0, time.monotonic()  # seconds awake, and when they were counted

    def now() -> float:
        passed, before = last
        return passed + min(time.monotonic() - before, LONGEST_TICK)

    def count() -> None:
        nonlocal last
        while not ended.wait(TICK):
            last = now(), time.monotonic()

    thread = threading.Thread(target=count, daemon=True)
    thread.start()
    try:
        yield now
    finally:
        ended.set()
        thread.join()


class AwakeLoop(asyncio.SelectorEventLoop):
    """An event loop whose deadlines wait while the process stands still."""

    def __init__(self) -> None:
        self._begun = time.monotonic()
        self._meter = seconds_awake()
        self._seconds = self._meter.__enter__()
        super().__init__()

    def time(self) -> float:
        return self._begun + self._seconds()

    def close(self) -> None:
        if not self.is_closed():
            super().close()
            self._meter.__exit__(None, None, None)


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
