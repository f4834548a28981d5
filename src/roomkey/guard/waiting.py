"""What the guard waits with: a host runs on an event loop, on threads or on greenlets.

The guard's own code is the same everywhere. It is made of coroutine functions, and everything in it that waits, runs
beside it or belongs to somebody else goes through one object: :class:`roomkey.guard.background.Background` for an event
loop.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Coroutine
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any, Protocol, TypeVar

from roomkey.errors import Lookup
from roomkey.guard.timers import Timers

T = TypeVar("T")


class Task(Protocol):
    """A coroutine that runs in the background."""

    def done(self) -> bool:
        """Return True if it has ended."""

    def cancel(self) -> object:
        """End it where it waits next, with :class:`asyncio.CancelledError`."""


class Lock(Protocol):
    """As :class:`asyncio.Lock`; who asks first is served first."""

    async def acquire(self) -> object:
        """Wait for the lock, and take it."""

    def release(self) -> None:
        """Give it back."""

    async def __aenter__(self) -> object: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None: ...


class Event(Protocol):
    """As :class:`asyncio.Event`."""

    def is_set(self) -> bool:
        """Return True after :meth:`set`."""

    def set(self) -> None:
        """Let everybody continue who waits for it."""

    async def wait(self) -> object:
        """Wait until it is set."""


class Deadline(Protocol):
    """A limited time to wait, as :class:`asyncio.Timeout`."""

    def expired(self) -> bool:
        """Return True if the time is over."""


class Waiting(Protocol):
    """Runs and waits for what the guard cannot do at once.

    Attributes:
        timers: the deadlines of the guard and its host.
    """

    timers: Timers

    # Tasks

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine, if possible up to where it first waits before this returns."""

    def spawn(self, work: Coroutine[Any, Any, None]) -> Task:
        """Run a coroutine in the background, and return its task. Its exceptions are logged."""

    def task(self, work: Coroutine[Any, Any, None]) -> Task:
        """Run a coroutine that can take for ever: :meth:`settle` does not wait for it."""

    async def wait(self, tasks: Collection[Task], seconds: float | None = None) -> object:
        """Wait until all these tasks have ended, or for so many seconds."""

    async def settle(self) -> None:
        """Wait until all tasks, and the tasks that they started, have ended. Tasks that also wait here do not count."""

    # Time and order

    async def sleep(self, seconds: float) -> None:
        """Wait for so many seconds."""

    def lock(self) -> Lock:
        """Return a new lock."""

    def event(self) -> Event:
        """Return a new event."""

    def deadline(self, seconds: float) -> AbstractAsyncContextManager[Deadline]:
        """Limit the time in which the body of an ``async with`` waits; it then raises :class:`TimeoutError`."""

    def expire(self, deadline: Deadline) -> None:
        """Let the time of a deadline be over now."""

    # What belongs to others

    async def ask(self, function: Callable[..., T], *arguments: Any) -> T:
        """Call a function of the application that may block, and return what it returns, awaitable or not."""

    def perform(self, function: Callable[..., Any], *arguments: Any, **named: Any) -> Awaitable[Any]:
        """Call a function of the host: a coroutine function on an event loop, and one that blocks elsewhere."""

    def at_once(self, function: Callable[..., Any], *arguments: Any, **named: Any) -> Awaitable[Any]:
        """Call a function of the host that does not wait, so that nothing else happens until it has returned."""

    def on_loop(self, work: Awaitable[T]) -> Awaitable[T]:
        """Await something that requires an event loop, such as a store."""

    async def look_up(self, lookup: Lookup, seconds: float) -> None:
        """Wait for something that is being fetched, for so many seconds at most."""
