"""Revocations in the memory of one process (internal; import from :mod:`roomkey.stores`)."""

from __future__ import annotations

import bisect
import heapq
import logging
import operator
import threading
from collections.abc import Sequence

from roomkey.core.revocations import MARGIN, MAX_REVOCATIONS, Revocation

__all__ = ["MemoryRevocations"]

LOG = logging.getLogger("roomkey.stores")


class MemoryRevocations:
    """A journal in memory, which the guards of one process can share. It is lost when the process exits."""

    def __init__(self) -> None:
        self._entries: list[tuple[int, Revocation]] = []
        self._last = 0
        self._lock = threading.Lock()  # a guard for threads has its own event loop

    async def open(self) -> None:
        """Do nothing."""

    async def add(self, revoked: Revocation) -> None:
        """Store a revocation."""
        with self._lock:
            self._last += 1
            self._entries.append((self._last, revoked))
            if len(self._entries) > MAX_REVOCATIONS:
                self._make_room()

    def _make_room(self) -> None:
        """Delete the tenth that expires first: those tokens have the shortest time left."""
        kept = heapq.nlargest(MAX_REVOCATIONS * 9 // 10, self._entries, key=lambda entry: entry[1].expires_at)
        LOG.error("dropped %d revocations before they expired: too many are in memory", len(self._entries) - len(kept))
        self._entries = sorted(kept, key=operator.itemgetter(0))

    async def since(self, position: int) -> tuple[Sequence[Revocation], int]:
        """Return the revocations after a position (0 is the beginning), and the new position.

        A position after the end belongs to another journal: then the result is the whole journal.
        """
        with self._lock:
            known = position if position <= self._last else 0
            start = bisect.bisect_right(self._entries, known, key=operator.itemgetter(0))
            return [revoked for _, revoked in self._entries[start:]], self._last

    async def delete_expired(self, now: float) -> None:
        """Delete revocations that no token can match any more: an hour after ``expires_at``.

        Args:
            now: seconds since the epoch.
        """
        with self._lock:
            self._entries = [kept for kept in self._entries if kept[1].expires_at + MARGIN > now]

    async def close(self) -> None:
        """Do nothing: another guard may still read the journal."""
