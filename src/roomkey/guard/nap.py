"""A pause between two looks at a store, which ends early if there is something new."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

SHORTEST_SECONDS = 0.005
"""The shortest pause: whoever can write to the store must not keep its readers busy."""

Wait = Callable[[float], Coroutine[Any, Any, None]]
"""Waits until there may be something new, for so many seconds at most."""


class Nap:
    """Waits on an event loop until a time is over, the store has something new, or :meth:`wake` is called.

    Args:
        wait: the store's own way to wait; None if it has none.
    """

    def __init__(self, wait: Wait | None) -> None:
        self._wait = wait
        self._due = False
        self._event: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiting: asyncio.Task[None] | None = None

    def wake(self) -> None:
        """End the pause, or skip the next one. Every thread can call this."""
        self._due = True
        loop, event = self._loop, self._event
        if loop is not None and event is not None:
            with suppress(RuntimeError):  # the loop was closed: the next pause is on another one
                loop.call_soon_threadsafe(event.set)

    def begin(self) -> None:
        """Note that a look at the store begins. A later :meth:`wake` is about what this look may miss."""
        self._due = False

    async def take(self, seconds: float) -> None:
        """Pause for so many seconds at most."""
        self._event, self._loop = asyncio.Event(), asyncio.get_running_loop()
        await asyncio.sleep(min(seconds, SHORTEST_SECONDS))
        if self._due:
            return
        woken = asyncio.create_task(self._event.wait())
        news = self._news(seconds)
        try:
            ends = self._loop.time() + seconds
            await asyncio.wait(
                {woken, news} if news is not None else {woken}, timeout=seconds, return_when="FIRST_COMPLETED"
            )
            if news is not None and news.done() and news.exception() is not None:  # it must not look again and again
                await asyncio.wait({woken}, timeout=max(0.0, ends - self._loop.time()))
        except asyncio.CancelledError:
            self._stop_waiting()
            raise
        finally:
            woken.cancel()

    def _news(self, seconds: float) -> asyncio.Task[None] | None:
        """Return the task in which the store waits. It goes on during the next look, because it cannot be interrupted
        without closing its connection."""
        if self._wait is None:
            return None
        if self._waiting is None or self._waiting.done() or self._waiting.get_loop() is not self._loop:
            self._waiting = asyncio.create_task(self._wait(seconds))
            self._waiting.add_done_callback(_retrieve)
        return self._waiting

    def _stop_waiting(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None


def _retrieve(waiting: asyncio.Task[None]) -> None:
    """Retrieve the error of a wait that failed during a look, which finds and logs the same."""
    if not waiting.cancelled():
        waiting.exception()
