"""Connections that must do something within a fixed time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from operator import methodcaller
from typing import Generic, Protocol, TypeVar


class Late(Protocol):
    """A connection with a deadline."""

    def too_late(self) -> None:
        """Close, because the deadline has passed."""


C = TypeVar("C")


class Sweep(Generic[C]):
    """Tells connections that their time has passed. One timer serves all of them.

    All have the same time, so they are due in the order in which they were added. Adding a connection and forgetting it
    take no system call and no timer, as long as others were added before.

    Args:
        act: called with each connection whose time has passed. By default, its method :meth:`Late.too_late`.
    """

    def __init__(self, act: Callable[[C], object] = methodcaller("too_late")) -> None:
        self._act = act
        self._due: dict[C, float] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._wakes_at = 0.0

    def __contains__(self, connection: object) -> bool:
        return connection in self._due

    def add(self, connection: C, seconds: float) -> None:
        """Give a connection this time from now on."""
        due = time.monotonic() + seconds
        self._due.pop(connection, None)
        self._due[connection] = due
        if self._timer is None or due < self._wakes_at:
            self._wake(due, seconds)

    def discard(self, connection: C) -> None:
        """Forget a connection. Nothing happens if it has no deadline."""
        self._due.pop(connection, None)

    def _wake(self, due: float, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._wakes_at = due
        self._timer = asyncio.get_running_loop().call_later(seconds, self._sweep)

    def _sweep(self) -> None:
        now, late = time.monotonic(), []
        self._timer = None
        for connection, due in self._due.items():
            if due > now:
                self._wake(due, due - now)
                break
            late.append(connection)
        for connection in late:
            self.discard(connection)
            self._act(connection)
