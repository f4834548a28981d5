"""Count the tasks that roomkey creates, apart from other tasks of the loop."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def tasks_made() -> Iterator[list[str]]:
    """Record the coroutine's name of every task that roomkey creates inside the block."""
    loop = asyncio.get_running_loop()
    before = loop.get_task_factory()
    made: list[str] = []

    def factory(loop: asyncio.AbstractEventLoop, coroutine: Any, **settings: Any) -> asyncio.Task[Any]:
        code = getattr(coroutine, "cr_code", None)
        if code is not None and "/roomkey/" in code.co_filename:
            made.append(coroutine.__qualname__)
        return asyncio.Task(coroutine, loop=loop, **settings)

    loop.set_task_factory(factory)
    try:
        yield made
    finally:
        loop.set_task_factory(before)
