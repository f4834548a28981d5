"""Deletion of expired records, next to the requests and never within one (internal)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from math import inf
from time import monotonic

from roomkey.core.confirmed_time import ConfirmedTime

__all__ = ["Cleanup"]

LOG = logging.getLogger("roomkey.stores")

INTERVAL_SECONDS = 3600.0
RETRY_SECONDS = 60.0
"""Seconds between two deletions, and until the next attempt after one failed."""


class Cleanup:
    """Deletes expired records in a task, as soon as :mod:`roomkey.core.confirmed_time` confirms the time.

    Args:
        what: the kind of records, for the log.
        delete_expired: deletes everything that has expired at a time in seconds since the epoch. It may take long.
        clock: seconds on a monotonic clock. Default: the machine's.
    """

    def __init__(
        self,
        what: str,
        delete_expired: Callable[[float], Awaitable[None]],
        *,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self._what = what
        self._delete_expired = delete_expired
        self._task: asyncio.Task[None] | None = None
        self._confirmed_time = ConfirmedTime()
        self._monotonic = clock
        self._started_at = 0.0
        self._pause = 0.0

    def start_if_due(self, now: float) -> None:
        """Start the deletion if the last one was an hour ago. Call this as often as you like.

        Args:
            now: seconds since the epoch. If the clock was set back, the deletion is due.
        """
        confirmed = self._confirmed_time.at(now, (self._monotonic or monotonic)())
        running = self._task is not None and not self._task.done()
        if running or confirmed == -inf or 0 <= now - self._started_at < self._pause:
            return
        self._started_at = now
        self._task = asyncio.create_task(self._run(confirmed))

    async def _run(self, now: float) -> None:
        self._pause = RETRY_SECONDS
        try:
            await self._delete_expired(now)
        except Exception as error:
            LOG.warning("could not delete expired %s (%s); trying again in a minute", self._what, error)
        else:
            self._pause = INTERVAL_SECONDS

    async def settle(self) -> None:
        """Wait until no deletion is running."""
        if self._task is not None and not self._task.done():
            await asyncio.wait({self._task})

    async def close(self) -> None:
        """Cancel a running deletion; the next one deletes the rest."""
        if self._task is not None:
            self._task.cancel()
            await self.settle()
