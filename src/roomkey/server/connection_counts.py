"""The numbers of connections of all workers of a machine, in memory that they share."""

from __future__ import annotations

import mmap
import os
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress

__all__ = ["MAX_WORKERS", "SLOTS", "ConnectionCounts", "new_table"]

MAX_WORKERS = 64

SLOTS = 2 * MAX_WORKERS  # while workers are restarted, each has a successor
_SIZE = SLOTS * 16

FRESH_SECONDS = 2.0
"""A worker whose entry is older has stalled, and nobody waits for it."""

SLACK = 4
"""A worker is ahead with this many connections more than the mean, or with 2 % more."""


def new_table() -> int:
    """Return the file descriptor of an empty table, for :class:`ConnectionCounts` in this process and its children."""
    with tempfile.TemporaryFile() as file:
        file.truncate(_SIZE)
        return os.dup(file.fileno())


class ConnectionCounts:
    """One worker's entry in the table, and the comparison with the others.

    An entry has two integers of 8 bytes, the number of connections and the time of the last heartbeat. Only its own
    worker writes to it while it runs, so no lock is necessary.

    Args:
        table: the file descriptor from :func:`new_table`.
        slot: the number of the entry.
        slots: how many entries may be in use.
        clock: seconds of the machine's monotonic clock, which its processes share.
    """

    def __init__(self, table: int, slot: int, slots: int = SLOTS, clock: Callable[[], float] = time.monotonic) -> None:
        self._memory = mmap.mmap(table, _SIZE)
        self._entries = memoryview(self._memory).cast("q")[: 2 * max(slots, slot + 1)]
        self._mine = 2 * slot
        self._clock = clock

    def opened(self) -> None:
        """Count a connection that opened."""
        self._entries[self._mine] += 1

    def closed(self) -> None:
        """Count a connection that closed."""
        self._entries[self._mine] -= 1

    def beat(self) -> None:
        """Say that this worker accepts connections. Call it once a second."""
        self._entries[self._mine + 1] = int(self._clock() * 1000)

    def leave(self) -> None:
        """Say that this worker accepts no more connections."""
        self._entries[self._mine + 1] = 0

    def clear(self) -> None:
        """Empty the entry, because its worker has ended."""
        self._entries[self._mine] = 0
        self.leave()

    def is_ahead(self) -> bool:
        """Return True if this worker has more connections than the others that accept some."""
        oldest = int((self._clock() - FRESH_SECONDS) * 1000)
        entries = self._entries.tolist()
        counts = [count for count, beat in zip(entries[::2], entries[1::2], strict=True) if beat > oldest]
        if len(counts) < 2:
            return False
        mean = sum(counts) / len(counts)
        return bool(entries[self._mine] > mean + max(SLACK, mean / 50))

    def close(self) -> None:
        """Release the memory."""
        self._entries.release()
        with suppress(BufferError):
            self._memory.close()
