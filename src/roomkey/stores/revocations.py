"""Where revocations are kept, so that they outlast a process and reach the others."""

from __future__ import annotations

import bisect
import heapq
import logging
import operator
import threading
from collections.abc import Sequence
from typing import Protocol

from roomkey.core.revocations import MAX_REVOCATIONS, Revocation

__all__ = ["KEPT_AFTER_EXPIRY", "MemoryRevocations", "RevocationStore"]

LOG = logging.getLogger("roomkey.stores")

KEPT_AFTER_EXPIRY = 3600.0
"""Seconds that a revocation outlives the tokens it is about: more than the leeway of any verifier."""


class RevocationStore(Protocol):
    """A journal of revocations: each has a position, and whoever has read up to one asks for what came after."""

    async def open(self) -> None:
        """Make it ready; whatever else is called afterwards."""

    async def add(self, revoked: Revocation) -> None:
        """Keep a revocation. When this returns it outlasts a crash and a loss of power, as far as the store can.

        Raises:
            Unavailable: the store is out of reach, and nothing is certain.
        """

    async def since(self, position: int) -> tuple[Sequence[Revocation], int]:
        """What was added after a position (0 is the beginning), and the position after it.

        It need not be all at once: when nothing is found, that was all.

        Raises:
            Unavailable: the store is out of reach.
        """

    async def forget_expired(self, now: float) -> None:
        """Drop what no token can match any more (``expires_at`` and an hour are over).

        Raises:
            Unavailable: the store is out of reach.
        """

    async def close(self) -> None:
        """Give back what it holds open."""


class MemoryRevocations:
    """A journal in memory, which the guards of one process may share. It ends with the process."""

    def __init__(self) -> None:
        self._entries: list[tuple[int, Revocation]] = []
        self._last = 0
        self._lock = threading.Lock()  # a guard for threads has an event loop of its own

    async def open(self) -> None:
        """Nothing to do."""

    async def add(self, revoked: Revocation) -> None:
        """Keep a revocation."""
        with self._lock:
            self._last += 1
            self._entries.append((self._last, revoked))
            if len(self._entries) > MAX_REVOCATIONS:
                self._make_room()

    def _make_room(self) -> None:
        """Forget the tenth that ends first: those tokens have the shortest time left."""
        kept = heapq.nlargest(MAX_REVOCATIONS * 9 // 10, self._entries, key=lambda entry: entry[1].expires_at)
        LOG.error("dropped %d revocations before they expired: too many are in memory", len(self._entries) - len(kept))
        self._entries = sorted(kept, key=operator.itemgetter(0))

    async def since(self, position: int) -> tuple[Sequence[Revocation], int]:
        """Everything that was added after a position (0 is the beginning), and the position after it.

        A position that lies after the end is of another journal: then everything is told again.
        """
        with self._lock:
            known = position if position <= self._last else 0
            start = bisect.bisect_right(self._entries, known, key=operator.itemgetter(0))
            return [revoked for _, revoked in self._entries[start:]], self._last

    async def forget_expired(self, now: float) -> None:
        """Drop what no token can match any more (``expires_at`` and an hour are over).

        Args:
            now: seconds since the epoch.
        """
        with self._lock:
            self._entries = [kept for kept in self._entries if kept[1].expires_at + KEPT_AFTER_EXPIRY > now]

    async def close(self) -> None:
        """Nothing to do: another guard may still read it."""
