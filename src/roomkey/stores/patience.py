"""Bounded waiting for a store (internal)."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from roomkey.errors import Unavailable

__all__ = ["answer_within", "finishes_within"]

T = TypeVar("T")
SLICES = 8


async def finishes_within(task: asyncio.Task[Any], seconds: float | None) -> bool:
    """Wait for a task, and return True if it is done. The task is not cancelled.

    The wait has several parts. If the event loop was blocked, only the current part is over, and a response that
    arrived meanwhile still counts: a busy process must not look like a store that does not respond.

    Args:
        task: the task to wait for.
        seconds: the greatest time to wait; None for no limit.
    """
    if seconds is None:
        await asyncio.wait({task})
        return True
    for _ in range(SLICES):
        await asyncio.wait({task}, timeout=seconds / SLICES)
        if task.done():
            return True
    return False


async def answer_within(
    work: Coroutine[Any, Any, T],
    seconds: float,
    *,
    what: str = "the store",
    passes: type[Exception] | tuple[type[Exception], ...] = Unavailable,
) -> T:
    """Return what a store answers, whatever the application uses as its store.

    Args:
        work: the call of the store. It is cancelled if it takes too long.
        seconds: the greatest time to wait.
        what: the name of the store, for errors.
        passes: the errors of the store that the caller handles.

    Raises:
        Unavailable: the store took too long, or failed in another way.
    """
    task = asyncio.create_task(work)
    try:
        if await finishes_within(task, seconds):
            return task.result()
    except passes:
        raise
    except Exception as error:  # of whatever the application uses as its store
        raise Unavailable(f"{what} failed ({type(error).__name__})") from error
    finally:
        task.cancel()
    raise Unavailable(f"{what} did not respond within {seconds:g} s")
