"""Coroutines that run by themselves."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Coroutine
from typing import Any

LOG = logging.getLogger("roomkey.hub")


class Tasks:
    """Starts coroutines, holds them while they run, and logs what they raise."""

    def __init__(self) -> None:
        self._running: set[asyncio.Task[Any]] = set()

    def start(self, work: Coroutine[Any, Any, Any]) -> None:
        """Run a coroutine: from Python 3.12 on, up to where it first waits before this returns."""
        loop = asyncio.get_running_loop()
        if sys.version_info >= (3, 12):
            task = asyncio.Task(self._run(work), loop=loop, eager_start=True)
            if task.done():
                return
        else:
            task = loop.create_task(self._run(work))
        self._running.add(task)

    async def _run(self, work: Coroutine[Any, Any, Any]) -> None:
        # Not by callbacks of the task: they would cost each event a turn of the loop.
        try:
            await work
        except Exception:
            LOG.exception("a task of the hub failed")
        finally:
            self._running.discard(asyncio.current_task())

    def background(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run a coroutine of the application, which may hold on to its task."""
        task = asyncio.get_running_loop().create_task(work)
        self._running.add(task)
        task.add_done_callback(self._background_ended)
        return task

    def _background_ended(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        if not task.cancelled() and task.exception() is not None:
            LOG.error("a background task failed", exc_info=task.exception())

    def cancel(self) -> None:
        """Cancel all that runs, but whoever asks."""
        for task in self._running - {asyncio.current_task()}:
            task.cancel()

    async def settle(self) -> None:
        """Wait until all that runs has ended, but for whoever asks."""
        while running := self._running - {asyncio.current_task()}:
            await asyncio.wait(running)
