"""Waiting for a condition that something else changes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

__all__ = ["Changes"]


class Changes:
    """Wakes the coroutines that wait for a condition, when something has changed on which it depends."""

    def __init__(self) -> None:
        self._next = asyncio.Event()

    def notify(self) -> None:
        """Let those who wait look again."""
        self._next.set()
        self._next = asyncio.Event()

    async def until(self, condition: Callable[[], bool], seconds: float | None = None) -> bool:
        """Wait until a condition holds.

        Args:
            condition: is tried now and after each change.
            seconds: how long to wait at most.

        Returns:
            True if it holds.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not condition():
                    await self._next.wait()
        return condition()
