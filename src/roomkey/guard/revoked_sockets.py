"""Revocations in this process, and the end of the sockets that they include."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from roomkey.core.admission import LIVE, AdmissionEvent
from roomkey.core.revocations import FOREVER, MAX_REVOCATIONS, Revocation, Revocations
from roomkey.errors import RevokedToken
from roomkey.guard.socket import GuardContext
from roomkey.guard.waiting import Task

LOG = logging.getLogger("roomkey.guard")

LONGEST_WAY = 60.0
"""How long a revocation can take to other servers, in seconds. If it names an earlier time, the time was chosen."""


class RevokedSockets:
    """Adds revocations to those that every decision checks, and ends the connected sockets that they include.

    Args:
        revocations: those that every decision checks.
        context: the sockets and the clock.
        horizon: returns the time up to which expired revocations can be deleted.
    """

    def __init__(self, revocations: Revocations, context: GuardContext, horizon: Callable[[], float]) -> None:
        self._revocations = revocations
        self._context = context
        self._horizon = horizon

    def add(self, revoked: Revocation) -> bool:
        """Revoke in this process; return False if it was revoked already."""
        lost = self._revocations.lost
        is_new = self._revocations.add(revoked, self._horizon())
        if lost := self._revocations.lost - lost:
            LOG.error("dropped %d revocations before they expired: more than %d are in memory", lost, MAX_REVOCATIONS)
        return is_new

    def end(self, new: Sequence[Revocation], *, everybody: bool = False) -> list[Task]:
        """End every connected socket that these revocations include; return the tasks that notify the clients.

        Args:
            everybody: regardless of ``iat``, because a token that the guard saw before the revocation was issued before
                it.
        """
        named = self._context.index.named
        endings: list[Task] = []
        for revoked in new:
            if revoked.kind == "rights" or revoked.kind == "disconnect":
                continue
            before = len(endings)
            for socket in named(revoked.kind, revoked.name):
                who = socket.identity
                if who is None or socket.state not in LIVE:
                    continue
                meant = everybody and revoked.issuer in (None, who.issuer)
                if meant and who.token_id is not None:  # its clock may run ahead, and then it would come back
                    self.add(Revocation("token", who.token_id, who.issuer, expires_at=who.expires_at or FOREVER))
                if meant or self._revocations.is_revoked(who):
                    endings.append(socket.end(AdmissionEvent.REVOKE, RevokedToken("revoked while connected")))
            if len(endings) > before:
                self._context.background.start(self._measure(endings[before:], revoked))
        return endings

    async def _measure(self, endings: Sequence[Task], revoked: Revocation) -> None:
        """Wait until sockets are closed, and count how long after the revocation that was.

        The time of a revocation is known for a subject, if it is not an earlier one. Otherwise, it counts from now.
        """
        begun, known = self._context.clock.monotonic(), self._context.clock.now() - revoked.issued_before
        under_way = known if revoked.kind == "subject" and 0 <= known <= LONGEST_WAY else 0.0
        await self._context.background.wait(endings)
        self._context.closing_times.observe(self._context.clock.monotonic() - begun + under_way, len(endings))
