"""Background tasks and deadlines on an event loop: one set of tasks and one timer for a guard and its host."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Coroutine
from typing import Any, TypeVar, cast

from roomkey.errors import Lookup
from roomkey.guard.clock import Clock
from roomkey.guard.eager_task import EagerTasks
from roomkey.guard.timers import Timer, Timers
from roomkey.guard.waiting import Deadline, Task

T = TypeVar("T")
LOG = logging.getLogger("roomkey.guard")


class Background:
    """Starts coroutines, keeps a reference to them while they run, and logs their exceptions.

    It is the guard's :class:`roomkey.guard.waiting.Waiting` on an event loop.

    Args:
        clock: where to read the time.

    Attributes:
        timers: the deadlines of the guard and its host.
    """

    def __init__(self, clock: Clock) -> None:
        self.timers = Timers(clock, _call_later)
        self._eager = EagerTasks()
        self._running: set[asyncio.Task[Any]] = set()
        self._settling: set[asyncio.Task[Any]] = set()  # those that wait in settle()
        self._another_settles: asyncio.Future[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def use_loop(self, loop: asyncio.AbstractEventLoop) -> None:
        """Let the running loop wake for deadlines, if another one did before: tests of one application use many."""
        if loop is not self._loop:
            if self._loop is not None:
                self.timers.restart()
            self._loop = loop

    @property
    def running(self) -> set[asyncio.Task[Any]]:
        """The tasks that have not ended."""
        return self._running

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine; this returns when the coroutine waits for the first time."""
        task = self._eager.start(work)
        if task is None:
            return
        if task.done():
            self._ended(task)
        else:
            self._running.add(task)
            task.add_done_callback(self._ended)

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run a coroutine from the next turn of the event loop on, and return its task, for :func:`asyncio.wait`."""
        task = asyncio.get_running_loop().create_task(work)
        self._running.add(task)
        task.add_done_callback(self._ended)
        return task

    def background(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run a coroutine of the application, and return its task."""
        task = asyncio.get_running_loop().create_task(work)
        self._running.add(task)
        task.add_done_callback(self._application_task_ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            LOG.error("a background task of the server failed", exc_info=error)

    def _application_task_ended(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        if not task.cancelled() and task.exception() is not None:
            LOG.error("a background task of the application failed", exc_info=task.exception())

    def cancel(self) -> None:
        """Cancel all tasks except the one that calls this."""
        for task in self._running - {asyncio.current_task()}:
            task.cancel()

    async def settle(self) -> None:
        """Wait until all tasks, and the tasks that they started, have ended. Tasks that also wait here do not count."""
        me = asyncio.current_task()
        assert me is not None
        self._settling.add(me)
        if self._another_settles is not None and not self._another_settles.done():
            self._another_settles.set_result(None)  # others need not wait for this task any more
        try:
            while running := {task for task in self._running - self._settling if not task.done()}:
                if self._another_settles is None or self._another_settles.done():
                    self._another_settles = asyncio.get_running_loop().create_future()
                await asyncio.wait({*running, self._another_settles}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._settling.discard(me)
            self._running -= {task for task in self._running if task.done()}  # their callbacks may still be due

    # What waits, and what belongs to others

    def task(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run a coroutine that can take for ever: :meth:`settle` does not wait for it."""
        return asyncio.get_running_loop().create_task(work)

    async def wait(self, tasks: Collection[Task], seconds: float | None = None) -> None:
        """Wait until all these tasks have ended, or for so many seconds."""
        await asyncio.wait(cast("Collection[asyncio.Task[Any]]", tasks), timeout=seconds)

    async def sleep(self, seconds: float) -> None:
        """Wait for so many seconds."""
        await asyncio.sleep(seconds)

    def lock(self) -> asyncio.Lock:
        """Return a new lock."""
        return asyncio.Lock()

    def event(self) -> asyncio.Event:
        """Return a new event."""
        return asyncio.Event()

    def deadline(self, seconds: float) -> asyncio.Timeout:
        """Limit the time in which the body of an ``async with`` waits."""
        return asyncio.timeout(seconds)

    def expire(self, deadline: Deadline) -> None:
        """Let the time of a deadline be over now."""
        if isinstance(deadline, asyncio.Timeout) and not deadline.expired():
            deadline.reschedule(0)

    async def ask(self, function: Callable[..., T], *arguments: Any) -> T:
        """Call a function of the application."""
        return function(*arguments)

    def perform(self, function: Callable[..., Any], *arguments: Any, **named: Any) -> Awaitable[Any]:
        """Call a coroutine function of the host."""
        return cast("Awaitable[Any]", function(*arguments, **named))

    at_once = perform

    def on_loop(self, work: Awaitable[T]) -> Awaitable[T]:
        """Return the work itself: the guard runs on an event loop already."""
        return work

    async def look_up(self, lookup: Lookup, seconds: float) -> None:
        """Wait for something that is being fetched, for so many seconds at most."""
        await lookup.wait(seconds)


def _call_later(seconds: float, callback: Callable[[], None]) -> Timer:
    return asyncio.get_running_loop().call_later(seconds, callback)
