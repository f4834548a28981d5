"""What this process knows and a journal does not, after the journal was lost."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence

from roomkey.core.revocations import MARGIN, Revocation, Revocations
from roomkey.core.rights_overrides import RightsOverrides

BATCH = 500
"""Entries that are written at once. Before each batch the journal is read, because other servers write, too."""

CHUNK = 1000
"""Entries that are compared before other tasks get their turn."""


class WriteBack:
    """Compares what this process knows with what it reads from a journal.

    Attributes:
        has_waited: this process has let others begin.
    """

    def __init__(self) -> None:
        self._revocations = Revocations()
        self._rights = RightsOverrides()
        self._disconnects: dict[str, float] = {}
        self._missing: list[Revocation] | None = None
        self.has_waited = False

    def found(self, entry: Revocation) -> None:
        """Note an entry of the journal."""
        if entry.kind == "rights":
            self._rights.follow(entry, float("-inf"))
        elif entry.kind == "disconnect":
            self._disconnects[entry.name] = max(entry.issued_before, self._disconnects.get(entry.name, 0.0))
        else:
            self._revocations.add(entry, float("-inf"))

    def _lacks(self, entry: Revocation) -> bool:
        """Return True if the journal does not contain an entry, or one that includes it."""
        if entry.kind == "rights":
            return not self._rights.covers(entry)
        if entry.kind == "disconnect":
            return self._disconnects.get(entry.name, 0.0) < entry.issued_before
        return not self._revocations.covers(entry)

    @property
    def is_compared(self) -> bool:
        """True after :meth:`compare_with`."""
        return self._missing is not None

    def compare_with(self, known: Iterable[Revocation], horizon: float) -> Iterable[None]:
        """Compare with what this process knows, some entries at a time: run the iterator to its end.

        Args:
            known: the entries.
            horizon: time up to which expired entries are left out.
        """
        missing = []
        for number, entry in enumerate(known):
            if number % CHUNK == CHUNK - 1:
                yield
            if entry.expires_at + MARGIN > horizon and self._lacks(entry):
                missing.append(entry)
        random.shuffle(missing)  # servers that do this at the same time should write different ones
        self._missing = missing

    def batch(self) -> Sequence[Revocation]:
        """Return some entries that are still missing. They stay missing until they are :meth:`found`."""
        batch: list[Revocation] = []
        missing = self._missing or []
        while missing and len(batch) < BATCH:
            entry = missing.pop()
            if self._lacks(entry):
                batch.append(entry)
        missing.extend(batch)
        return batch
