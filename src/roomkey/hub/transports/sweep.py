"""Connections that must do something within a fixed time."""

from __future__ import annotations

import asyncio
import time
from typing import Protocol


class Late(Protocol):
    """A connection with a deadline."""

    def too_late(self) -> None:
        """Close, because the deadline has passed."""


class Sweep:
    """Tells connections that their time has passed. One timer serves all of them.

    All have the same time, so they are due in the order in which they were added.

    Args:
        seconds: the time.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._due: dict[Late, float] = {}
        self._timer: asyncio.TimerHandle | None = None

    def __contains__(self, connection: Late) -> bool:
        return connection in self._due

    def add(self, connection: Late) -> None:
        """Give a connection the time from now on."""
        self._due.pop(connection, None)
        self._due[connection] = time.monotonic() + self._seconds
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._seconds, self._sweep)

    def discard(self, connection: Late) -> None:
        """Forget a connection. Nothing happens if it has no deadline."""
        self._due.pop(connection, None)

    def _sweep(self) -> None:
        now, late = time.monotonic(), []
        self._timer = None
        for connection, due in self._due.items():
            if due > now:
                self._timer = asyncio.get_running_loop().call_later(due - now, self._sweep)
                break
            late.append(connection)
        for connection in late:
            self.discard(connection)
            connection.too_late()
