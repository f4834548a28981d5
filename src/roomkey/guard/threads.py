"""Background tasks, deadlines and waiting on threads or greenlets: the guard's Waiting for a synchronous server."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Coroutine, Hashable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar, cast
from weakref import WeakSet

from roomkey.errors import Lookup
from roomkey.guard.clock import Clock
from roomkey.guard.kept_logs import keep_logs
from roomkey.guard.loop_thread import LoopThread
from roomkey.guard.thread_tasks import (
    Call,
    Monitor,
    NativeEvent,
    Primitives,
    ThreadDeadline,
    ThreadEvent,
    ThreadLock,
    ThreadTask,
    Wait,
)
from roomkey.guard.thread_timers import ThreadTimer, TimerThread
from roomkey.guard.timers import Timers
from roomkey.guard.waiting import Deadline, Task

T = TypeVar("T")
LOG = logging.getLogger("roomkey.guard")

MAX_WORKERS = 100
"""The number of background threads of one guard, unless they are stuck. Greenlets cost less, and are not limited."""

RELIEF_SECONDS = 1.0
"""How long a task waits for a thread before one more is started: handlers of the application may occupy all others."""


class Threads:
    """The threads of the operating system, as :class:`roomkey.guard.thread_tasks.Primitives`."""

    max_workers = MAX_WORKERS
    current = staticmethod(threading.get_ident)
    lock = staticmethod(threading.Lock)
    event = staticmethod(threading.Event)

    def start(self, function: Callable[[], object]) -> None:
        """Call a function in a new thread, which does not keep the process running."""
        threading.Thread(target=function, name="roomkey-guard", daemon=True).start()

    start_native = start


class ThreadBackground:
    """Runs the guard's coroutines in threads or greenlets: its :class:`roomkey.guard.waiting.Waiting` there.

    Args:
        clock: where to read the time.

    Attributes:
        timers: the deadlines of the guard and its host.
        monitor: held by the thread that runs code of the guard.
        current: the task that runs now; it has the monitor.
    """

    def __init__(self, clock: Clock) -> None:
        self.timers = Timers(clock, self.call_later)
        self.current: ThreadTask[Any] | None = None
        self._running: set[object] = set()
        self._settling: set[object] = set()  # those whose threads wait in settle()
        self._settlers: list[NativeEvent] = []
        self._driving: dict[Hashable, list[object]] = {}  # by thread, what it runs in the background
        self._queue: deque[ThreadTask[Any]] = deque()
        self._workers = 0
        self._expects_relief = False
        self._of_parent: object = None
        keep_logs()
        self.use(Threads())
        _OF_THIS_PROCESS.add(self)

    def use(self, primitives: Primitives) -> None:
        """Use the threads or greenlets of a server, before anything runs."""
        self.primitives = primitives
        self.monitor = Monitor(primitives)
        self._timer = TimerThread(primitives, self.monitor)
        self._loop = LoopThread(primitives)

    @property
    def running(self) -> set[object]:
        """The tasks that have not ended, and what holds up :meth:`settle`."""
        return self._running

    def after_fork(self) -> None:
        """Leave to the parent process what its threads do: the child has only the thread that has forked.

        Greenlets also exist in the child.
        """
        if not isinstance(self.primitives, Threads):
            return
        me = self.primitives.current()
        mine = self._driving.get(me, [])
        # Kept, because a coroutine that is freed ends: it would close connections that the parent still has.
        self._of_parent = (self._of_parent, self._running, self._driving, self._queue, self._loop, self.current)
        if not self.monitor.is_mine():
            self.monitor.release_of_others()
            self.current = None
        self._running, self._settling, self._settlers = self._running & set(mine), set(), []
        self._driving = {me: mine} if mine else {}
        self._queue, self._workers, self._expects_relief = deque(), 0, False
        self._loop = LoopThread(self.primitives)

    # Tasks

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine to its end in this thread, and return its result."""
        task = ThreadTask(self, work)
        with self.monitor:
            task.begin()
            if not task.done():
                task.drive()
        return task.result()

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine up to where it first waits, and then in the background."""
        self.spawn(work)

    def spawn(self, work: Coroutine[Any, Any, Any]) -> ThreadTask[Any]:
        """Run a coroutine up to where it first waits, and then in the background; return its task."""
        with self.monitor:
            task = ThreadTask(self, work)
            self._running.add(task)
            return self._begin(task)

    def task(self, work: Coroutine[Any, Any, None]) -> ThreadTask[None]:
        """Run a coroutine that can take for ever: :meth:`settle` does not wait for it."""
        with self.monitor:
            return self._begin(ThreadTask(self, work))

    def _begin(self, task: ThreadTask[Any]) -> ThreadTask[Any]:
        task.begin()
        if not task.done():
            self._queue.append(task)
            if self._workers < self.primitives.max_workers:
                self._start_worker()
            else:
                self._expect_relief()
        return task

    def _start_worker(self) -> None:
        try:
            self.primitives.start(self._work)
        except RuntimeError as error:  # the operating system has no more threads now
            LOG.error("a background task of the server has to wait (%s)", error)
            self._expect_relief()
        else:
            self._workers += 1

    def _expect_relief(self) -> None:
        """Look later whether a task still waits for a worker."""
        if not self._expects_relief:
            with suppress(RuntimeError):  # no thread for timers either: the next task tries again
                self.call_later(RELIEF_SECONDS, self._relieve)
                self._expects_relief = True

    def _relieve(self) -> None:
        self._expects_relief = False
        if self._queue:
            self._start_worker()
            self._expect_relief()

    def _work(self) -> None:
        """Drive queued tasks until there are none."""
        while True:
            with self.monitor:
                if not self._queue:
                    self._workers -= 1
                    return
                task = self._queue.popleft()
                if not task.claim():
                    continue  # somebody who waits for it runs it
            self._drive(task)

    def _drive(self, task: ThreadTask[Any]) -> None:
        with self.doing(task):
            task.drive()

    def ended(self, task: ThreadTask[Any]) -> None:
        """Note that a task has ended, and log its error if nothing else gets it."""
        if task in self._running:
            self.let_go(task)
            if task.error is not None and not isinstance(task.error, asyncio.CancelledError):
                LOG.error("a background task of the server failed", exc_info=task.error)

    async def wait(self, tasks: Collection[Task], seconds: float | None = None) -> None:
        """Wait until all these tasks have ended, or for so many seconds."""
        pending = [cast("ThreadTask[Any]", task) for task in tasks if not task.done()]
        if seconds is None and self.current is not None and not self.current.deadlines:
            for task in pending:
                if not task.done() and task.claim():  # no worker is free: run it here
                    await Call(self._drive, task)
        until = None if seconds is None else time.monotonic() + seconds
        event = self.primitives.event()
        for task in pending:
            task.watchers.append(event)
        while any(not task.done() for task in pending):
            left = None if until is None else until - time.monotonic()
            if left is not None and left <= 0:
                break
            await Wait(event, left)
            event.clear()

    async def settle(self) -> None:
        """Wait until all tasks, and the tasks that they started, have ended. Tasks that also wait here do not count."""
        mine: set[object] = set(self._driving.get(self.primitives.current(), ()))
        event = self.primitives.event()
        self._settling |= mine
        for other in self._settlers:
            other.set()  # others need not wait for this thread any more
        self._settlers.append(event)
        try:
            while self._running - self._settling:
                await Wait(event)
                event.clear()
        finally:
            self._settlers.remove(event)
            self._settling -= mine

    def hold(self) -> object:
        """Let :meth:`settle` wait until :meth:`let_go` gets what this returns."""
        with self.monitor:
            held = object()
            self._running.add(held)
            return held

    @contextmanager
    def doing(self, work: object) -> Iterator[None]:
        """Mark what this thread does: :meth:`settle` does not wait for it if this thread itself calls that."""
        me = self.primitives.current()
        self._driving.setdefault(me, []).append(work)
        try:
            yield
        finally:
            self._driving[me].remove(work)
            if not self._driving[me]:
                del self._driving[me]

    def let_go(self, held: object) -> None:
        """End what :meth:`hold` began."""
        with self.monitor:
            self._running.discard(held)
            for event in self._settlers:
                event.set()

    # Time and order

    async def sleep(self, seconds: float) -> None:
        """Wait for so many seconds."""
        until = time.monotonic() + seconds
        event = self.primitives.event()
        while (left := until - time.monotonic()) > 0:
            await Wait(event, left)

    def call_later(self, seconds: float, callback: Callable[[], None]) -> ThreadTimer:
        """Call a function in so many seconds, in the thread of all timers."""
        return self._timer.call_later(seconds, callback)

    def lock(self) -> ThreadLock:
        """Return a new lock."""
        return ThreadLock(self.primitives)

    def event(self) -> ThreadEvent:
        """Return a new event."""
        return ThreadEvent(self.primitives)

    def deadline(self, seconds: float) -> ThreadDeadline:
        """Limit the time in which the body of an ``async with`` waits."""
        return ThreadDeadline(self, seconds)

    def expire(self, deadline: Deadline) -> None:
        """Let the time of a deadline be over now."""
        cast("ThreadDeadline", deadline).expire()

    # What belongs to others

    async def ask(self, function: Callable[..., T], *arguments: Any) -> T:
        """Call a function of the application, without the monitor."""
        return cast("T", await Call(function, *arguments))

    def perform(self, function: Callable[..., Any], *arguments: Any, **named: Any) -> Awaitable[Any]:
        """Call a blocking function of the host, without the monitor."""
        return Call(function, *arguments, **named)

    async def at_once(self, function: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        """Call a function of the host that does not wait, and keep the monitor."""
        return function(*arguments, **named)

    async def on_loop(self, work: Awaitable[T]) -> T:
        """Await something on the event loop of a thread that exists for this purpose."""
        event = self.primitives.event()
        submitted = self._loop.submit(work, event.set)
        try:
            while not submitted.done:
                await Wait(event)
        except BaseException:  # nobody waits for it any more
            self._loop.cancel(submitted)
            raise
        return cast("T", submitted.result())

    async def look_up(self, lookup: Lookup, seconds: float) -> None:
        """Wait for something that is being fetched, for so many seconds at most."""
        event = self.primitives.event()
        lookup.notify(event.set)
        await Wait(event, seconds)


_OF_THIS_PROCESS: WeakSet[ThreadBackground] = WeakSet()


def _after_fork() -> None:
    for background in _OF_THIS_PROCESS:
        background.after_fork()


if hasattr(os, "register_at_fork"):  # Windows has no fork
    os.register_at_fork(after_in_child=_after_fork)
