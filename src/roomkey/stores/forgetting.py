"""Dropping expired rows: next to the requests, and never inside one."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from math import inf
from time import monotonic

from roomkey.core.confirmed_time import ConfirmedTime

__all__ = ["Forgetting"]

LOG = logging.getLogger("roomkey.stores")

FORGET_SECONDS = 3600.0
RETRY_SECONDS = 60.0
"""How often expired rows are dropped, and how soon it is tried again after it failed."""


class Forgetting:
    """Deletes expired records in a task of its own, once :mod:`roomkey.core.confirmed_time` confirms the time.

    Args:
        what: what is dropped, for the log.
        forget: drops everything that has expired at a time, however long that takes.
        clock: seconds on a monotonic clock; the machine's if absent.
    """

    def __init__(
        self, what: str, forget: Callable[[float], Awaitable[None]], *, clock: Callable[[], float] | None = None
    ) -> None:
        self._what = what
        self._forget = forget
        self._task: asyncio.Task[None] | None = None
        self._horizon = ConfirmedTime()
        self._monotonic = clock
        self._begun_at = 0.0
        self._pause = 0.0

    def soon(self, now: float) -> None:
        """Begin, if it is time for it again; call this as often as you like.

        Args:
            now: seconds since the epoch. If the clock was set back, it is time.
        """
        horizon = self._horizon.at(now, (self._monotonic or monotonic)())
        running = self._task is not None and not self._task.done()
        if running or horizon == -inf or 0 <= now - self._begun_at < self._pause:
            return
        self._begun_at = now
        self._task = asyncio.create_task(self._run(horizon))

    async def _run(self, now: float) -> None:
        self._pause = RETRY_SECONDS
        try:
            await self._forget(now)
        except Exception as error:
            LOG.warning("could not delete expired %s (%s); trying again in a minute", self._what, error)
        else:
            self._pause = FORGET_SECONDS

    async def settle(self) -> None:
        """Wait until nothing is being dropped."""
        if self._task is not None and not self._task.done():
            await asyncio.wait({self._task})

    async def close(self) -> None:
        """Stop; what has not been dropped is dropped the next time."""
        if self._task is not None:
            self._task.cancel()
            await self.settle()
