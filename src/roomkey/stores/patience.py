"""Waiting for a store, and not forever."""

from __future__ import annotations

import asyncio
from typing import Any

__all__ = ["finishes_within"]

SLICES = 8


async def finishes_within(task: asyncio.Task[Any], seconds: float | None) -> bool:
    """Wait for a task; return True if it is done. The task is left as it is.

    The time is waited for in parts. If the event loop was blocked, only the part that was running is over, and an
    answer that arrived meanwhile still counts: a busy process must not look like a store that gives no answer.

    Args:
        task: what to wait for.
        seconds: how long; None for as long as it takes.
    """
    if seconds is None:
        await asyncio.wait({task})
        return True
    for _ in range(SLICES):
        await asyncio.wait({task}, timeout=seconds / SLICES)
        if task.done():
            return True
    return False
