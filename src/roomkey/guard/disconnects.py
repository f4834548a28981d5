"""Disconnects of all sockets of a subject, on every server that reads the journal."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator

from roomkey.core.revocations import Revocation
from roomkey.guard.socket import GuardContext
from roomkey.guard.waiting import Task

KEPT_SECONDS = 3600.0
"""How long a disconnect reaches servers that were cut off."""

SKEW_SECONDS = 10.0
"""How far apart the clocks of two servers can be. A client that returns sooner may be disconnected again by a server
that reads the disconnect late."""

MAX_KEPT = 100_000
"""The most subjects; beyond that, the oldest disconnect is forgotten."""


class Disconnects:
    """The latest disconnect of each subject. It ends the sockets that were connected then, and only once.

    Args:
        context: the sockets and the clock.
    """

    def __init__(self, context: GuardContext) -> None:
        self._context = context
        self._known: OrderedDict[str, float] = OrderedDict()

    def apply(self, entry: Revocation) -> list[Task]:
        """Disconnect the subject's sockets, unless this or a later entry did that already.

        Returns:
            The tasks that disconnect them.
        """
        now = self._context.clock.now()
        subject, at = entry.name, entry.issued_before
        if at <= self._known.get(subject, 0.0) or entry.expires_at <= now:
            return []
        self._known[subject] = at
        self._known.move_to_end(subject)
        while len(self._known) > MAX_KEPT or next(iter(self._known.values()), now) + KEPT_SECONDS <= now:
            self._known.popitem(last=False)
        # The time of day at which a connection opened, from the clock that does not jump.
        latest = at + SKEW_SECONDS - now + self._context.clock.monotonic()
        sockets = self._context.index.named("subject", subject)
        return [one.disconnect() for one in sockets if one.admitted and one.connection.opened_at <= latest]

    def entries(self) -> Iterator[Revocation]:
        """Return those that other servers may not have read yet, as entries of a journal."""
        for subject, at in list(self._known.items()):
            yield Revocation("disconnect", subject, None, at, at + KEPT_SECONDS)
