"""A journal in memory that tests take away, flush, shorten and cut off from single servers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from roomkey.core.revocations import JournalPart, Revocation
from roomkey.errors import Unavailable

PART = 3
"""Entries of one part: few, so that tests read several."""


class SharedJournal:
    """What all servers share.

    Attributes:
        entries: each with a number that is never used again.
        epoch: changes with each :meth:`flush`.
    """

    def __init__(self) -> None:
        self.epoch = 0
        self.entries: list[tuple[int, Revocation]] = []
        self.grown = asyncio.Event()
        self._number = 0

    def append(self, revoked: Revocation) -> None:
        self._number += 1
        self.entries.append((self._number, revoked))
        self.grown.set()
        self.grown = asyncio.Event()

    def flush(self) -> None:
        """Lose everything, as Redis does that restarts without persistence."""
        self.entries, self.epoch = [], self.epoch + 1

    def lose_tail(self, number: int) -> None:
        """Lose the last entries, as Redis does that restarts with an older snapshot."""
        del self.entries[max(0, len(self.entries) - number) :]

    @property
    def found(self) -> list[Revocation]:
        return [entry for _, entry in self.entries]


class LosableMemory:
    """One server's access to a :class:`SharedJournal`.

    Attributes:
        is_cut_off: every call raises ``Unavailable``.
        loses_answers: :meth:`add` writes, and raises ``Unavailable`` all the same.
        under_way: what an answer to :meth:`read` waits for on its way.
    """

    def __init__(self, shared: SharedJournal) -> None:
        self.shared = shared
        self.is_cut_off = self.loses_answers = False
        self.under_way: Callable[[], Awaitable[object]] | None = None
        self._seen: tuple[int, int] | None = None  # the epoch, and the number of the last entry

    def _check(self) -> None:
        if self.is_cut_off:
            raise Unavailable("cut off")

    async def open(self) -> None:
        self._check()

    async def add(self, revoked: Revocation) -> None:
        await self.add_all([revoked])

    async def add_all(self, revoked: Sequence[Revocation]) -> None:
        self._check()
        for entry in revoked:
            self.shared.append(entry)
        if self.loses_answers:
            raise Unavailable("the answer was lost")

    async def read(self, position: int) -> JournalPart:
        self._check()
        entries, epoch = self.shared.entries, self.shared.epoch
        known = entries[position - 1][0] if 0 < position <= len(entries) else 0
        is_another = self._seen is not None and self._seen != (epoch, known)
        start = 0 if is_another else position
        part = entries[start : start + PART]
        end = start + len(part)
        self._seen = (epoch, part[-1][0] if part else 0 if is_another else known)
        answer = JournalPart([entry for _, entry in part], end, end < len(entries), is_another)
        if self.under_way is not None:
            await self.under_way()
        return answer

    async def since(self, position: int) -> tuple[Sequence[Revocation], int]:
        raise AssertionError("a guard reads with read()")

    async def wait(self, seconds: float) -> None:
        self._check()
        grown = self.shared.grown
        last = self.shared.entries[-1][0] if self.shared.entries else 0
        if self._seen is None or last <= self._seen[1]:  # otherwise there is more already
            await grown.wait()

    async def delete_expired(self, now: float) -> None:
        self._check()

    async def close(self) -> None:
        pass
