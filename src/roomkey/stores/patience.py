"""Bounded waiting for a store (internal)."""

from __future__ import annotations

import asyncio
from typing import Any

__all__ = ["finishes_within"]

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
