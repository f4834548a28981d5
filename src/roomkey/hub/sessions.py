"""All Engine.IO sessions of a hub: their opening, their deadlines and their end."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable

from roomkey.audit import record
from roomkey.core.credentials import Request
from roomkey.guard.guard import Guard
from roomkey.guard.port import new_sid
from roomkey.guard.registry import Connection
from roomkey.guard.timers import Name, Timers
from roomkey.hub.session import (
    ATTACHMENTS,
    HEARTBEAT,
    SERVER_DISCONNECT,
    TRANSPORT_ERROR,
    UPGRADE,
    EngineSession,
    OpeningRequest,
)
from roomkey.hub.settings import LINGER_SECONDS, HubSettings
from roomkey.wire import Packet, TransportState

LINGER = "linger"


class Sessions:
    """The Engine.IO sessions of a hub, by ID.

    Args:
        guard: decides about connections.
        settings: the hub's.
        counts: counts the connections that were closed, by reason.
        on_packet: called with ``(session, packet)``.
        on_end: called with ``(session, reason)`` once, when a session has ended.

    Attributes:
        settings: the hub's.
        active: the sessions that have not ended.
        lingering: sessions that have ended, for the polls that have still to fetch their last packets.
        deliver: passes on a packet that arrived.
        timers: the deadlines of all sessions.
    """

    def __init__(
        self,
        guard: Guard,
        settings: HubSettings,
        counts: Counter[str],
        *,
        on_packet: Callable[[EngineSession, Packet], None],
        on_end: Callable[[EngineSession, str], None],
    ) -> None:
        self.settings = settings
        self.active: dict[str, EngineSession] = {}
        self.lingering: dict[str, EngineSession] = {}
        self.deliver = on_packet
        self.timers = Timers(guard.clock, self._due)
        self._guard = guard
        self._counts = counts
        self._on_end = on_end
        numbers = (settings.ping_interval * 1000, settings.ping_timeout * 1000, settings.limits.payload)
        self._open = b'0{"sid":"%%b","upgrades":[%%b],"pingInterval":%d,"pingTimeout":%d,"maxPayload":%d}' % numbers

    # From the opening to the end

    def open(
        self, credentials: Request, address: str, request: OpeningRequest, state: TransportState
    ) -> EngineSession | None:
        """Open a session. Set its transport next, then :meth:`greet` the client.

        Args:
            credentials: the parts of the request that may contain tokens.
            address: the client's address.
            request: the request itself, for connect handlers.
            state: the transport on which the session begins.

        Returns:
            The session, or None if the guard refuses the connection.
        """
        eio_sid = new_sid()
        connection = Connection(eio_sid, address, credentials)
        if not self._guard.authenticator.opened(connection):
            return None
        session = self.active[eio_sid] = EngineSession(self, connection, request, state)
        return session

    def greet(self, session: EngineSession) -> bytes:
        """Return the session's OPEN packet, and start its heartbeat."""
        self.set_deadline(session, HEARTBEAT, self.settings.ping_interval)
        upgrades = b"" if session.upgraded else b'"websocket"'
        return self._open % (session.eio_sid.encode(), upgrades)

    def find(self, eio_sid: str) -> EngineSession | None:
        """Return the session with this ID, even if it has just ended, or None."""
        return self.active.get(eio_sid) or self.lingering.get(eio_sid)

    def close_all(self) -> None:
        """End every session, because the server stops."""
        for session in list(self.active.values()):
            session.end(SERVER_DISCONNECT)

    # For the sessions

    def set_deadline(self, session: EngineSession, kind: str, seconds: float) -> None:
        """Set or move one of a session's deadlines; :meth:`EngineSession.deadline_passed` is called then."""
        self.timers.after((kind, session.eio_sid), seconds)

    def cancel_deadline(self, session: EngineSession, kind: str) -> None:
        """Cancel one of a session's deadlines."""
        self.timers.cancel((kind, session.eio_sid))

    def violated(self, session: EngineSession, detail: str) -> None:
        """Report a violation of the protocol to the guard, which closes the connection."""
        self._counts["closed: protocol violation"] += 1
        self._guard.teardown.violation(session.connection, detail)

    def too_slow(self, session: EngineSession) -> None:
        """End a session for which too much waits unsent."""
        if session.eio_sid in self.active:
            self._counts["closed: reads too slowly"] += 1
            record(
                "closed",
                level=logging.WARNING,
                reason="reads too slowly",
                address=session.connection.address,
                max_unsent=self.settings.max_unsent,
            )
            session.end(TRANSPORT_ERROR, abort=True)

    def remove(self, session: EngineSession) -> bool:
        """Remove a session that ends, with its deadlines. Returns False if it has already ended."""
        if self.active.pop(session.eio_sid, None) is None:
            return False
        self.cancel_deadline(session, HEARTBEAT)
        self.cancel_deadline(session, ATTACHMENTS)
        self.cancel_deadline(session, UPGRADE)
        return True

    def ended(self, session: EngineSession, reason: str, *, drained: bool) -> None:
        """Pass on that a session has ended.

        Args:
            session: the session.
            reason: what disconnect handlers are told.
            drained: False if a poll may still fetch the session's last packets for a while.
        """
        if not drained:
            self.lingering[session.eio_sid] = session
            self.set_deadline(session, LINGER, LINGER_SECONDS)
        self._on_end(session, reason)

    def drained(self, session: EngineSession) -> None:
        """Forget an ended session: its last packets were fetched."""
        if self.lingering.pop(session.eio_sid, None) is not None:
            self.cancel_deadline(session, LINGER)

    def _due(self, deadline: Name) -> None:
        kind, eio_sid = deadline
        if kind == LINGER:
            self.lingering.pop(eio_sid, None)
        elif (session := self.active.get(eio_sid)) is not None:
            session.deadline_passed(kind)
