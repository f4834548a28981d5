"""Reports refused tokens and connections: to the audit log, and to the application."""

from __future__ import annotations

import inspect
from collections.abc import Callable

from roomkey.errors import AuthError
from roomkey.guard import audit
from roomkey.guard.waiting import Waiting

OnRefused = Callable[[AuthError, str], object]


class Refusals:
    """Reports refusals.

    Args:
        background: runs the callbacks.

    Attributes:
        callbacks: called with each refusal and the client's address.
    """

    def __init__(self, background: Waiting) -> None:
        self.callbacks: list[OnRefused] = []
        self._background = background

    def report(
        self, error: AuthError, address: str, socket: audit.AuditedSocket | None = None, token: str | None = None
    ) -> None:
        """Write a line to the audit log and start the callbacks."""
        audit.refused(error.without_frames(), address, socket, token)
        for callback in self.callbacks:
            self._background.spawn(self._call_back(callback, error, address))

    async def _call_back(self, callback: OnRefused, error: AuthError, address: str) -> None:
        result = await self._background.ask(callback, error, address)
        if inspect.isawaitable(result):
            await self._background.on_loop(result)
