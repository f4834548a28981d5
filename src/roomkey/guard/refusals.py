"""Reports refused tokens and connections: to the audit log, and to the application."""

from __future__ import annotations

import inspect
import logging
from collections import Counter, deque
from collections.abc import Callable

from roomkey.errors import AuthError
from roomkey.guard import audit
from roomkey.guard.waiting import Waiting

LOG = logging.getLogger("roomkey.guard")

OnRefused = Callable[[AuthError, str], object]

MAX_CALLS = 50
"""Callbacks that run at the same time."""

MAX_WAITING = 1000
"""Callbacks that wait for these. Strangers cause refusals, and must not fill the memory if callbacks are slow."""


class Refusals:
    """Reports refusals.

    Args:
        background: runs the callbacks.

    Attributes:
        callbacks: called with each refusal and the client's address.
        counts: the number of refusals, by reason.
    """

    def __init__(self, background: Waiting) -> None:
        self.callbacks: list[OnRefused] = []
        self.counts: Counter[str] = Counter()
        self._background = background
        self._waiting: deque[tuple[OnRefused, AuthError, str]] = deque()
        self._calls = 0
        self._omits = False

    def report(
        self, error: AuthError, address: str, socket: audit.AuditedSocket | None = None, token: str | None = None
    ) -> None:
        """Write a line to the audit log and start the callbacks."""
        self.count(error)
        audit.refused(error.without_frames(), address, socket, token)
        for callback in self.callbacks:
            if len(self._waiting) >= MAX_WAITING:
                self._omit()
                return
            self._waiting.append((callback, error, address))
            if self._calls < MAX_CALLS:
                self._calls += 1
                self._background.spawn(self._call_back())

    def count(self, error: AuthError) -> None:
        """Count a refusal of which nothing else is to be reported."""
        self.counts[error.reason or error.code] += 1

    def _omit(self) -> None:
        if not self._omits:
            LOG.error("on_refused: %d callbacks wait, and further ones are omitted; make them faster", MAX_WAITING)
        self._omits = True

    async def _call_back(self) -> None:
        """Call what waits, one after the other."""
        try:
            while self._waiting:
                callback, error, address = self._waiting.popleft()
                try:
                    result = await self._background.ask(callback, error, address)
                    if inspect.isawaitable(result):
                        await self._background.on_loop(result)
                except Exception:  # of the application
                    LOG.exception("a callback of on_refused failed")
        finally:
            self._calls -= 1
            self._omits = self._omits and bool(self._waiting)
