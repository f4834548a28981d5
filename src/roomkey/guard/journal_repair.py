"""The repair of a journal of revocations that has lost entries."""

from __future__ import annotations

import logging
import random
from collections.abc import Awaitable, Callable, Iterable, Sequence

from roomkey import audit
from roomkey.core.revocations import Revocation
from roomkey.guard.waiting import Waiting
from roomkey.guard.write_back import WriteBack

LOG = logging.getLogger("roomkey.guard")

WRITE_BACK_SECONDS = 0.5
"""After a journal was lost, how long a server waits at most before it writes: all of them notice at the same time."""

MAX_WRITES = 20
"""How often an entry is written that a journal loses before it can be read."""


class JournalRepair:
    """Writes the entries that a journal has lost: this server's last ones, or everything that this server knows.

    Args:
        add_all: writes entries to the journal.
        known: returns all entries that this server knows.
        horizon: returns the time up to which expired entries are left out.
        background: waits.
    """

    def __init__(
        self,
        add_all: Callable[[Sequence[Revocation]], Awaitable[None]],
        known: Callable[[], Iterable[Revocation]],
        horizon: Callable[[], float],
        background: Waiting,
    ) -> None:
        self._add_all = add_all
        self._known = known
        self._horizon = horizon
        self._background = background
        self._write_back: WriteBack | None = None
        self._unread: dict[Revocation, int] = {}  # our entries, until they are read, and how often they were written

    def wrote(self, entry: Revocation) -> None:
        """Note an entry of this server, which the journal must return."""
        self._unread[entry] = 1

    def unread(self) -> list[Revocation]:
        """Return the entries of this server that the journal has not returned yet."""
        return list(self._unread)

    def found(self, entry: Revocation) -> None:
        """Note an entry that was read."""
        if self._unread:
            self._unread.pop(entry, None)
        if self._write_back is not None:
            self._write_back.found(entry)

    def begin(self) -> None:
        """Restore the journal, because it has lost entries: compare with what is read from now on."""
        if self._write_back is None:
            audit.record("journal_lost", level=logging.WARNING)
            LOG.warning("the journal of revocations has lost entries; writing back those that this server knows")
        self._write_back = WriteBack()

    async def wrote_some(self, written: list[Revocation]) -> bool:
        """Write some of what is missing at the end of the journal; return False if nothing is.

        Args:
            written: the entries that the last read had to find; this adds those that the next one must find.

        Raises:
            Unavailable: some of them may be stored.
        """
        return await self._wrote_back(written) or await self._wrote_again(written)

    async def _wrote_back(self, written: list[Revocation]) -> bool:
        """Write back some of what a lost journal does not contain; return False if it contains everything.

        Args:
            written: the entries that the next read must find; this adds to them.
        """
        restoring = self._write_back
        if restoring is None:
            return False
        if not restoring.is_compared:
            for _ in restoring.compare_with(self._known(), self._horizon()):
                await self._background.sleep(0.001)
        batch = restoring.batch()
        if not batch:
            self._write_back = None
            return False
        if restoring.has_waited:
            await self._add_all(batch)
            for entry in batch:
                restoring.found(entry)
                self._unread[entry] = 1
            written += batch
        else:
            restoring.has_waited = True
            await self._background.sleep(random.uniform(0, WRITE_BACK_SECONDS))  # noqa: S311 - no secret
        return True

    async def _wrote_again(self, written: Sequence[Revocation]) -> bool:
        """Write our entries again that were lost before anybody could read them; return False if there are none."""
        lost = [entry for entry in written if entry in self._unread]
        for entry in lost:
            self._unread[entry] += 1
            if self._unread[entry] > MAX_WRITES:
                del self._unread[entry]
                LOG.error("the store does not return a revocation of a %s that was written", entry.kind)
        if lost:
            await self._add_all(lost)
        return bool(lost)
