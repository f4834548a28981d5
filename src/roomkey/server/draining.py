"""A stop that lets clients move to the other nodes without a rush.

At first, ``/readyz`` turns false and connections are still accepted, until load balancers have noticed. Then no new
ones are, and the existing ones close one after the other, as fast as the other nodes can take over their clients.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Protocol

from roomkey.guard.host import SERVER_DISCONNECT

__all__ = ["ADMISSIONS_PER_SECOND", "Drain", "closing_period"]

ADMISSIONS_PER_SECOND = 500
"""Clients that a node can admit in a second next to its usual work: a core takes about 0.6 ms for one of them."""

STEP = 0.05
"""Seconds between two groups of connections that close."""


class Closing(Protocol):
    """A session that can end."""

    def end(self, reason: str) -> None:
        """End it, and close its transport."""


def closing_period(connections: int, others: int, longest: float) -> float:
    """Return the seconds over which a node closes its connections.

    Args:
        connections: how many it has.
        others: how many other nodes take over its clients. Without any, there is nothing to wait for.
        longest: the limit, in seconds.
    """
    return min(longest, connections / (others * ADMISSIONS_PER_SECOND)) if others else 0.0


class Drain:
    """Drains a node: once, when it stops.

    Args:
        delay: seconds between :meth:`announce` and the end of accepting.
        longest: the limit of the period in which connections close, in seconds.
        timeout: seconds from the beginning until everything must have ended.

    Attributes:
        begun: True once the node is about to stop.
        sessions: returns the sessions to close.
        others: returns how many other nodes take over their clients. By default, there are none.
        delay: as above.
    """

    def __init__(
        self,
        *,
        delay: float,
        longest: float,
        timeout: float,
    ) -> None:
        self.begun = False
        self.sessions: Callable[[], Sequence[Closing]] = list
        self.others: Callable[[], int] = int
        self.delay = delay
        self._longest = longest
        self._timeout = timeout
        self._ends = 0.0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._hurried = asyncio.Event()

    def problem(self) -> str | None:
        """Return why the node is not ready, or None."""
        return "the server is stopping" if self.begun else None

    async def announce(self) -> None:
        """Turn ``/readyz`` false, and wait until load balancers have noticed."""
        self._loop = asyncio.get_running_loop()
        self._ends = self._loop.time() + self._timeout
        self.begun = True
        await self._pause(self.delay)

    async def close_connections(self) -> None:
        """Close the connections, at even intervals over the period that the other nodes need."""
        sessions = self.sessions()
        period = closing_period(len(sessions), self.others(), self._longest)
        steps = max(1, round(period / STEP))
        for step in range(steps):
            for session in sessions[step::steps]:
                session.end(SERVER_DISCONNECT)
            if step < steps - 1:
                await self._pause(period / steps)

    def seconds_left(self) -> float:
        """Return the seconds until everything must have ended."""
        return self._timeout if self._loop is None else max(0.0, self._ends - self._loop.time())

    def hurry(self) -> None:
        """Wait for nobody any longer. Signal handlers can call it."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._hurried.set)

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._hurried.wait(), min(seconds, self.seconds_left()))
