"""An event loop beside a synchronous server."""

from __future__ import annotations

import asyncio
import inspect
import os
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

from roomkey.guard.thread_tasks import Primitives


class LoopThread:
    """An event loop in a thread of its own, for what requires one: stores, and an application's coroutines.

    Args:
        primitives: threads or greenlets.
    """

    def __init__(self, primitives: Primitives) -> None:
        self._primitives = primitives
        self._process: int | None = None  # in which the thread runs
        self._loop: asyncio.AbstractEventLoop | None = None
        self._submitted: deque[_LoopWork] = deque()

    def submit(self, work: Awaitable[Any], notify: Callable[[], object]) -> _LoopWork:
        """Await something on the loop. The caller has the monitor.

        Args:
            work: what to await.
            notify: called by the loop's thread when it has ended.
        """
        if self._process != os.getpid():
            self._process, self._loop = os.getpid(), None
            self._primitives.start_native(self._run)
        submitted = _LoopWork(work, notify)
        self._submitted.append(submitted)
        self._call(self._begin_submitted)
        return submitted

    def cancel(self, work: _LoopWork) -> None:
        """Cancel what was submitted."""
        self._call(work.cancel)

    def _call(self, function: Callable[[], object]) -> None:
        if self._loop is not None:  # otherwise it calls _begin_submitted when it begins
            self._loop.call_soon_threadsafe(function)

    def _run(self) -> None:
        loop = asyncio.new_event_loop()  # here: with gevent's monkey patches, it belongs to this thread's hub
        loop.call_soon(self._begin_submitted)
        self._loop = loop
        loop.run_forever()

    def _begin_submitted(self) -> None:
        while self._submitted:
            self._submitted.popleft().begin()


class _LoopWork:
    """Something that is awaited on the loop of another thread."""

    def __init__(self, work: Awaitable[Any], notify: Callable[[], object]) -> None:
        self._work = work
        self._notify = notify
        self._task: asyncio.Task[Any] | None = None
        self.done = False

    def begin(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run())
        self._task.add_done_callback(self._ended)

    async def _run(self) -> Any:
        return await self._work

    def _ended(self, task: asyncio.Task[Any]) -> None:
        if not task.cancelled():
            task.exception()  # marks it as retrieved: perhaps nothing waits any more
        elif inspect.iscoroutine(self._work):
            self._work.close()  # it was canceled before it began
        self.done = True
        self._notify()

    def cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def result(self) -> Any:
        assert self._task is not None
        return self._task.result()
