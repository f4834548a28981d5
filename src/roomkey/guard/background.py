"""Coroutines that run by themselves: one set of tasks for a guard and its host."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Awaitable, Coroutine
from typing import Any

LOG = logging.getLogger("roomkey.guard")


class Background:
    """Starts coroutines, holds them while they run, and logs what they raise."""

    def __init__(self) -> None:
        self._running: set[asyncio.Task[Any]] = set()
        self._settling: set[asyncio.Task[Any]] = set()  # those that wait in settle()
        self._one_more_settles: asyncio.Future[None] | None = None

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

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run a coroutine, and return its task, which does not fail."""
        task = asyncio.get_running_loop().create_task(self._run(work))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        task.add_done_callback(lambda _task: work.close())  # it may have been cancelled before it began
        return task

    async def _run(self, work: Awaitable[Any]) -> None:
        # Not by callbacks of the task: they would cost each event a turn of the loop.
        try:
            await work
        except Exception:
            LOG.exception("a background task of the server failed")
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
            LOG.error("a background task of the application failed", exc_info=task.exception())

    def cancel(self) -> None:
        """Cancel all that runs, but whoever asks."""
        for task in self._running - {asyncio.current_task()}:
            task.cancel()

    async def settle(self) -> None:
        """Wait until all that runs has ended, and what that began, but for tasks that wait here themselves."""
        me = asyncio.current_task()
        assert me is not None
        self._settling.add(me)
        if self._one_more_settles is not None and not self._one_more_settles.done():
            self._one_more_settles.set_result(None)  # others need not wait for this task any more
        try:
            while running := {task for task in self._running - self._settling if not task.done()}:
                if self._one_more_settles is None or self._one_more_settles.done():
                    self._one_more_settles = asyncio.get_running_loop().create_future()
                await asyncio.wait({*running, self._one_more_settles}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._settling.discard(me)
            self._running -= {task for task in self._running if task.done()}  # their callbacks may still be due
