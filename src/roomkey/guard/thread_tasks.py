"""Coroutines that run in threads or greenlets, one after the other between two waits.

A coroutine of the guard runs to its end in the thread that calls it, or in one of the background. While it runs, its
thread has the monitor; whatever must wait is a request, which its thread carries out without the monitor. So the code
between two waits is atomic, as on an event loop.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Coroutine, Generator, Hashable
from types import TracebackType
from typing import Any, Generic, Protocol, Self, TypeVar

from roomkey.guard.kept_logs import Entries, KeptLogs, write_logs

T = TypeVar("T")


class NativeLock(Protocol):
    """A lock of the threads or greenlets that the server runs on."""

    def acquire(self) -> object: ...

    def release(self) -> object: ...


class NativeEvent(Protocol):
    """An event of the threads or greenlets that the server runs on."""

    def set(self) -> object: ...

    def clear(self) -> object: ...

    def wait(self, timeout: float | None = None) -> object: ...


class Primitives(Protocol):
    """The threads or greenlets that a server runs on.

    Attributes:
        max_workers: the number of background tasks that can wait at the same time.
    """

    max_workers: int

    def start(self, function: Callable[[], object]) -> object:
        """Call a function in a new thread or greenlet."""

    def start_native(self, function: Callable[[], object]) -> object:
        """Call a function in a new thread of the operating system."""

    def current(self) -> Hashable:
        """Return what identifies the current thread or greenlet."""

    def lock(self) -> NativeLock:
        """Return a new lock."""

    def event(self) -> NativeEvent:
        """Return a new event, which every thread of the operating system can set."""


class Monitor:
    """A lock that one thread has as often as it likes, and gives back completely while it waits.

    What the thread logs meanwhile is written after it has given the lock back: see :mod:`roomkey.guard.kept_logs`.
    """

    def __init__(self, primitives: Primitives) -> None:
        self._new_lock = primitives.lock
        self._lock = primitives.lock()
        self._current = primitives.current
        self._owner: Hashable | None = None
        self._depth = 0
        self._logs = KeptLogs()

    def __enter__(self) -> Self:
        me = self._current()
        if self._owner != me:  # only this thread can have set it to itself
            self._lock.acquire()
            self._owner = me
            self._logs.begin()
        self._depth += 1
        return self

    def __exit__(self, *_: object) -> None:
        self._depth -= 1
        if not self._depth:
            write_logs(self._release())

    def _release(self) -> Entries:
        self._owner, kept = None, self._logs.end()
        self._lock.release()
        return kept

    def is_mine(self) -> bool:
        """Return True if the current thread has it."""
        return self._owner == self._current()

    def release_of_others(self) -> None:
        """Take it from a thread that does not exist any more, since the process has forked."""
        self._lock, self._owner, self._depth, self._logs = self._new_lock(), None, 0, KeptLogs()

    def give_back(self) -> tuple[int, Entries]:
        """Give it back completely; return what :meth:`take_again` needs, and what to write to the log."""
        depth, self._depth = self._depth, 0
        return depth, self._release()

    def take_again(self, depth: int) -> BaseException | None:
        """Take it as often as before.

        Returns:
            What interrupted the wait, such as :class:`gevent.Timeout`: this thread has the lock all the same.
        """
        interruption = None
        while True:
            try:
                self._lock.acquire()
                break
            except BaseException as error:  # a killed greenlet, too: raised in its coroutine afterwards
                interruption = error
        self._owner, self._depth = self._current(), depth
        self._logs.begin()
        return interruption


class Request(Protocol):
    """Something that a coroutine waits for."""

    def carry_out(self, task: ThreadTask[Any]) -> object:
        """Wait for it, without the monitor."""


class _Awaitable:
    """The base class of requests: awaiting one hands it to the thread that runs the coroutine."""

    def __await__(self) -> Generator[Any, Any, Any]:
        return (yield self)


class Call(_Awaitable):
    """Call a function that may block."""

    def __init__(self, function: Callable[..., Any], *arguments: Any, **named: Any) -> None:
        self._function, self._arguments, self._named = function, arguments, named

    def carry_out(self, task: ThreadTask[Any]) -> object:
        """Call it."""
        return self._function(*self._arguments, **self._named)


class Wait(_Awaitable):
    """Wait for an event, for so many seconds at most.

    It may also end earlier: whoever waits looks again whether what it waits for has happened.
    """

    def __init__(self, event: NativeEvent, seconds: float | None = None) -> None:
        self.event = event
        self._until = None if seconds is None else time.monotonic() + seconds

    def carry_out(self, task: ThreadTask[Any]) -> object:
        """Wait, unless the task is canceled or its time is over."""
        if not task.is_interrupted():
            ends = [end for end in (self._until, *(deadline.ends_at for deadline in task.deadlines)) if end is not None]
            self.event.wait(max(0.0, min(ends) - time.monotonic()) if ends else None)
        task.check_interrupted()
        return None


class _TimeOver(BaseException):
    """Raised where a coroutine waits when the time of its deadline is over. It is none of Exception's: it must not be
    mistaken for a failure of what is waited for."""

    def __init__(self, deadline: ThreadDeadline) -> None:
        self.deadline = deadline
        super().__init__()


class ThreadTask(Generic[T]):
    """A coroutine that runs in threads or greenlets.

    Args:
        run: what all tasks share.
        work: the coroutine.

    Attributes:
        deadlines: of what it waits for now, the outermost first.
        watchers: events that are set when it ends.
    """

    def __init__(self, run: Runner, work: Coroutine[Any, Any, T]) -> None:
        self._run = run
        self._work = work
        self._request: Any = None
        self._is_canceled = False
        self._claimed = self._ended = False
        self._result: T
        self._error: BaseException | None = None
        self.deadlines: list[ThreadDeadline] = []
        self.watchers: list[NativeEvent] = []

    def done(self) -> bool:
        """Return True if it has ended."""
        return self._ended

    def result(self) -> T:
        """Return the result of the coroutine that has ended, or raise its error."""
        if self._error is not None:
            error, self._error = self._error, None  # its frames refer to this task
            raise error
        return self._result

    @property
    def error(self) -> BaseException | None:
        """The error with which it ended."""
        return self._error

    # Running; the caller of these has the monitor

    def begin(self) -> None:
        """Run up to where it first waits."""
        self._step(self._work.send, None)

    def claim(self) -> bool:
        """Return True for the first caller, which has to :meth:`drive` it."""
        claimed, self._claimed = self._claimed, True
        return not claimed

    def cancel(self) -> None:
        """End it where it waits."""
        self._is_canceled = True
        self.wake()

    def wake(self) -> None:
        """Let it look whether it can go on."""
        if isinstance(self._request, Wait):
            self._request.event.set()

    def _step(self, resume: Callable[[Any], Any], value: Any) -> None:
        before, self._run.current = self._run.current, self
        try:
            self._request = resume(value)
        except StopIteration as end:
            self._end(end.value, None)
        except BaseException as error:  # whoever waits for the task gets it
            self._end(None, error)
        finally:
            self._run.current = before

    def _end(self, result: Any, error: BaseException | None) -> None:
        self._request, self._ended = None, True
        self._result, self._error = result, error
        for event in self.watchers:
            event.set()
        self._run.ended(self)

    def drive(self) -> None:
        """Run it to its end, and carry out what it waits for in this thread. The caller may have the monitor."""
        monitor = self._run.monitor
        with monitor:
            while not self._ended:
                request, failure = self._request, None
                depth, logs = monitor.give_back()
                try:
                    write_logs(logs)
                    value = request.carry_out(self)
                except BaseException as error:  # it belongs to the coroutine that asked
                    failure = error
                finally:
                    failure = monitor.take_again(depth) or failure
                if failure is None:
                    self._step(self._work.send, value)
                else:
                    self._step(self._work.throw, failure)
                request = value = failure = None  # an error has a traceback that refers to them

    # What a wait asks

    def is_interrupted(self) -> bool:
        """Return True if it is canceled, or a deadline has passed."""
        return self._is_canceled or any(deadline.expired() for deadline in self.deadlines)

    def check_interrupted(self) -> None:
        """Raise an error if it is canceled, or a deadline has passed."""
        if self._is_canceled:
            self._is_canceled = False
            raise asyncio.CancelledError
        for deadline in self.deadlines:
            if deadline.expired():
                raise _TimeOver(deadline)


class Runner(Protocol):
    """What all tasks of a guard share.

    Attributes:
        monitor: held by the task that runs.
        current: that task.
    """

    monitor: Monitor
    current: ThreadTask[Any] | None

    def ended(self, task: ThreadTask[Any]) -> None:
        """Note that a task has ended."""


class ThreadDeadline:
    """A limited time to wait, for the body of an ``async with``."""

    def __init__(self, run: Runner, seconds: float) -> None:
        self._run = run
        self._task: ThreadTask[Any] | None = None
        self.ends_at = time.monotonic() + seconds

    def expired(self) -> bool:
        """Return True if the time is over."""
        return time.monotonic() >= self.ends_at

    def expire(self) -> None:
        """Let the time be over now."""
        self.ends_at = 0.0
        if self._task is not None:
            self._task.wake()

    async def __aenter__(self) -> Self:
        self._task = self._run.current
        assert self._task is not None
        self._task.deadlines.append(self)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        assert self._task is not None
        self._task.deadlines.remove(self)
        self._task = None
        if isinstance(error, _TimeOver) and error.deadline is self:
            raise TimeoutError from None


class ThreadEvent:
    """As :class:`asyncio.Event`."""

    def __init__(self, primitives: Primitives) -> None:
        self._primitives = primitives
        self._is_set = False
        self._waiting: list[NativeEvent] = []

    def is_set(self) -> bool:
        """Return True after :meth:`set`."""
        return self._is_set

    def set(self) -> None:
        """Let everybody continue who waits for it."""
        self._is_set = True
        for event in self._waiting:
            event.set()

    async def wait(self) -> None:
        """Wait until it is set."""
        if self._is_set:
            return
        event = self._primitives.event()
        self._waiting.append(event)
        try:
            while not self._is_set:
                await Wait(event)
        finally:
            self._waiting.remove(event)


class ThreadLock:
    """As :class:`asyncio.Lock`: who asks first is served first."""

    def __init__(self, primitives: Primitives) -> None:
        self._primitives = primitives
        self._is_taken = False
        self._waiting: deque[NativeEvent] = deque()

    async def acquire(self) -> None:
        """Wait for the lock, and take it."""
        if self._is_taken or self._waiting:
            event = self._primitives.event()
            self._waiting.append(event)
            try:
                while self._is_taken or self._waiting[0] is not event:
                    await Wait(event)
                    event.clear()
            except BaseException:  # an interruption, too, must not stop those behind it
                self._waiting.remove(event)
                self._wake_next()
                raise
            self._waiting.popleft()
        self._is_taken = True

    def release(self) -> None:
        """Give it back."""
        self._is_taken = False
        self._wake_next()

    def _wake_next(self) -> None:
        if self._waiting and not self._is_taken:
            self._waiting[0].set()

    async def __aenter__(self) -> None:
        await self.acquire()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        self.release()
