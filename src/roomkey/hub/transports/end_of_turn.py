"""Work that waits for the end of a turn of the event loop."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Generic, TypeVar

LOG = logging.getLogger("roomkey.hub")

T = TypeVar("T")


class EndOfTurn(Generic[T]):
    """Acts when this turn of the event loop is over. One entry in the loop's queue serves all that wait.

    Args:
        act: called with each of those that wait.
        failure: the log message about an exception.
    """

    __slots__ = ("_act", "_due", "_failure")

    def __init__(self, act: Callable[[T], object], failure: str) -> None:
        self._act = act
        self._failure = failure
        self._due: list[T] = []

    def add(self, waiting: T) -> None:
        """Act on this when the turn is over."""
        if not self._due:
            asyncio.get_running_loop().call_soon(self._act_on_all)
        self._due.append(waiting)

    def _act_on_all(self) -> None:
        due, self._due = self._due, []
        for waiting in due:
            try:
                self._act(waiting)
            except Exception:  # the others have their turn all the same
                LOG.exception(self._failure)
