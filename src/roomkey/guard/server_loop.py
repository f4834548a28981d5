"""The event loop that a server runs on, and calls from other threads and loops."""

from __future__ import annotations

import asyncio
import inspect
import sys
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from roomkey.errors import ConfigError

P = ParamSpec("P")
T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])


class ServerLoop:
    """The event loop of a guard and its host, which is the first one that they run on.

    Sockets, timers and tasks belong to that loop and must not be used from another thread.
    """

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None

    def use_running_loop(self) -> asyncio.AbstractEventLoop:
        """Note that the server runs on the running loop, and return that."""
        loop = self._loop = asyncio.get_running_loop()
        return loop

    @property
    def running(self) -> asyncio.AbstractEventLoop | None:
        """The loop while it runs; None before the server has started, and after it has stopped."""
        return self._loop if self._loop is not None and self._loop.is_running() else None

    def is_elsewhere(self) -> bool:
        """Return True if the server runs on a loop, and the caller runs on another one or on none."""
        loop = self.running
        if loop is None:
            return False
        try:
            return asyncio.get_running_loop() is not loop
        except RuntimeError:
            return True

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the server's loop, and wait for it on the caller's loop."""
        if self._loop is None or not self.is_elsewhere():
            return await work
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._loop))

    def check_here(self, verb: str) -> None:
        """Check that a method is called on the server's own loop.

        Raises:
            ConfigError: it is called from another thread or loop.
        """
        if self.is_elsewhere():
            raise ConfigError(
                f"cannot call {verb} outside the server's event loop and thread; "
                "use loop.call_soon_threadsafe(…) or asyncio.run_coroutine_threadsafe(…, loop)"
            )


class HasServerLoop(Protocol):
    """An object that belongs to a server's event loop."""

    @property
    def server_loop(self) -> ServerLoop:
        """The loop."""


S = TypeVar("S", bound=HasServerLoop)


def on_server_loop(
    verb: Callable[Concatenate[S, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[S, P], Coroutine[Any, Any, T]]:
    """Let a coroutine method be awaited on any event loop, in any thread; it runs on the server's loop."""

    @wraps(verb)
    def call(self: S, /, *arguments: P.args, **named: P.kwargs) -> Coroutine[Any, Any, T]:
        work = verb(self, *arguments, **named)
        return self.server_loop.run(work) if self.server_loop.is_elsewhere() else work

    return _marked(call)


def _marked(function: F) -> F:
    """Mark a function that returns a coroutine as a coroutine function, which tools such as ``async_to_sync`` expect.

    A real one around the coroutine would cost time in every call.
    """
    if sys.version_info >= (3, 12):
        return inspect.markcoroutinefunction(function)
    vars(function)["_is_coroutine"] = vars(asyncio.coroutines)["_is_coroutine"]
    return function
