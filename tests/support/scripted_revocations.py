"""A revocation store that tests control."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from roomkey.core.revocations import Revocation
from roomkey.errors import Unavailable


class ScriptedStore:
    """A journal in memory that can fail and hang.

    Attributes:
        fault: what every call does instead of its work: ``None``, an exception to raise, or an event to wait for.
        entries: the journal; another process is a test that appends to it.
        calls: the names of all calls.
        asked: is set by every call.
    """

    def __init__(self, *entries: Revocation) -> None:
        self.fault: Exception | asyncio.Event | None = None
        self.entries = list(entries)
        self.calls: list[str] = []
        self.asked = asyncio.Event()

    def go_away(self) -> None:
        self.fault = Unavailable("scripted")

    def come_back(self) -> None:
        if isinstance(self.fault, asyncio.Event):
            self.fault.set()
        self.fault = None

    async def _call(self, name: str) -> None:
        self.calls.append(name)
        self.asked.set()
        if isinstance(self.fault, asyncio.Event):
            await self.fault.wait()
        elif self.fault is not None:
            raise self.fault

    async def open(self) -> None:
        await self._call("open")

    async def add(self, revoked: Revocation) -> None:
        await self._call("add")
        self.entries.append(revoked)

    async def since(self, position: int) -> tuple[Sequence[Revocation], int]:
        await self._call("since")
        return self.entries[position:], len(self.entries)

    async def delete_expired(self, now: float) -> None:
        await self._call("delete_expired")

    async def close(self) -> None:
        await self._call("close")
