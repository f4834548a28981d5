"""What a guard has counted since it was created, and its present state in numbers."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from roomkey.core.histogram import Histogram


@dataclass(frozen=True, slots=True)
class JournalState:
    """How far a guard has read the store of revocations.

    Attributes:
        position: the position that it has read to.
        age: seconds since it last knew that it had read everything; infinite before the first time.
        problem: why the store cannot be used now, or None.
        unwritten: revocations that apply here and are not saved in the store yet.
    """

    position: int
    age: float
    problem: str | None
    unwritten: int


@dataclass(frozen=True, slots=True)
class Statistics:
    """The numbers of a guard. The mappings are its own: read them immediately, and do not change them.

    Attributes:
        admitted: sockets that were admitted.
        ended: admitted sockets that the guard ended, by reason.
        refused: refused tokens and connections, by reason.
        closing_times: seconds from revocations to closed sockets.
        journal: the store of revocations; None without one.
    """

    admitted: int
    ended: Counter[str]
    refused: Counter[str]
    closing_times: Histogram
    journal: JournalState | None
