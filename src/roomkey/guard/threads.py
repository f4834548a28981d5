"""Background tasks, deadlines and waiting on threads or greenlets: the guard's Waiting for a synchronous server."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Coroutine, Hashable
from typing import Any, TypeVar, cast

from roomkey.errors import Lookup
from roomkey.guard.clock import Clock
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
from roomkey.guard.timers import Timers
from roomkey.guard.waiting import Deadline, Task

T = TypeVar("T")
LOG = logging.getLogger("roomkey.guard")

MAX_WORKERS = 100
"""The number of background threads of one guard. Greenlets cost less, and are not limited."""


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
        self._driving: dict[Hashable, list[ThreadTask[Any]]] = {}  # by thread, what it runs in the background
        self._queue: deque[ThreadTask[Any]] = deque()
        self._workers = 0
        self.use(Threads())

    def use(self, primitives: Primitives) -> None:
        """Use the threads or greenlets of a server, before anything runs."""
        self.primitives = primitives
        self.monitor = Monitor(primitives)
        self._timer = _TimerThread(primitives, self.monitor)
        self._loop = LoopThread(primitives)

    @property
    def running(self) -> set[object]:
        """The tasks that have not ended, and what holds up :meth:`settle`."""
        return self._running

    # Tasks

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine to its end in this thread, and return its result."""
        task = ThreadTask(self, work)
        with self.monitor:
            task.begin()
            if not task.done():
                task.drive()
        return task.result()

    def start(self, work: Coroutine[Any, Any, Any]) -> None:
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
                self._workers += 1
                self.primitives.start(self._work)
        return task

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
        me = self.primitives.current()
        self._driving.setdefault(me, []).append(task)
        try:
            task.drive()
        finally:
            self._driving[me].remove(task)
            if not self._driving[me]:
                del self._driving[me]

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
        future = asyncio.run_coroutine_threadsafe(_awaited(work), self._loop.running())
        future.add_done_callback(lambda _: event.set())
        try:
            while not future.done():
                await Wait(event)
        except BaseException:
            future.cancel()
            raise
        return future.result()

    async def look_up(self, lookup: Lookup, seconds: float) -> None:
        """Wait for something that is being fetched, for so many seconds at most."""
        event = self.primitives.event()
        lookup.notify(event.set)
        await Wait(event, seconds)


async def _awaited(work: Awaitable[T]) -> T:
    return await work


class ThreadTimer:
    """One call that is due at some time."""

    __slots__ = ("callback",)

    def __init__(self, callback: Callable[[], None]) -> None:
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        """Do not call any more."""
        self.callback = None


class _TimerThread:
    """One thread or greenlet for all timers. It exists while there are any, so a process that forks keeps none."""

    def __init__(self, primitives: Primitives, monitor: Monitor) -> None:
        self._primitives = primitives
        self._monitor = monitor
        self._heap: list[tuple[float, int, ThreadTimer]] = []
        self._number = itertools.count()
        self._process: int | None = None  # in which the thread runs
        self._changed = primitives.event()

    def call_later(self, seconds: float, callback: Callable[[], None]) -> ThreadTimer:
        timer = ThreadTimer(callback)
        with self._monitor:
            entry = (time.monotonic() + seconds, next(self._number), timer)
            heapq.heappush(self._heap, entry)
            if self._process != os.getpid():
                self._process = os.getpid()
                self._primitives.start(self._run)
            elif self._heap[0] is entry:
                self._changed.set()
        return timer

    def _run(self) -> None:
        while True:
            with self._monitor:
                self._changed.clear()
                self._call_due()
                if not self._heap:
                    self._process = None
                    return
                seconds = self._heap[0][0] - time.monotonic()
            self._changed.wait(max(0.0, seconds))

    def _call_due(self) -> None:
        while self._heap and (self._heap[0][2].callback is None or self._heap[0][0] <= time.monotonic()):
            callback = heapq.heappop(self._heap)[2].callback
            if callback is not None:
                try:
                    callback()
                except Exception:
                    LOG.exception("a timer of the guard failed")


class LoopThread:
    """An event loop in a thread of its own, for what requires one: stores, and an application's coroutines."""

    def __init__(self, primitives: Primitives) -> None:
        self._primitives = primitives
        self._starting = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._process: int | None = None

    def running(self) -> asyncio.AbstractEventLoop:
        """Return the loop, which runs."""
        with self._starting:
            if self._loop is None or self._process != os.getpid():
                self._loop, self._process = asyncio.new_event_loop(), os.getpid()
                self._primitives.start_native(self._loop.run_forever)
            return self._loop
