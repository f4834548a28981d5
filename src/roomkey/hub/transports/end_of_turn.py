"""Work that waits for the end of a turn of the event loop."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

LOG = logging.getLogger("roomkey.hub")


class EndOfTurn:
    """Calls functions when this turn of the event loop is over. One entry in the loop's queue serves all of them."""

    __slots__ = ("_due",)

    def __init__(self) -> None:
        self._due: list[Callable[[], None]] = []

    def call(self, function: Callable[[], None]) -> None:
        """Call a function when this turn is over."""
        if not self._due:
            asyncio.get_running_loop().call_soon(self._call_all)
        self._due.append(function)

    def _call_all(self) -> None:
        due, self._due = self._due, []
        for function in due:
            try:
                function()
            except Exception:  # the others are called all the same
                LOG.exception("could not answer a request")
