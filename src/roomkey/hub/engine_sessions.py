"""All Engine.IO sessions of a hub: their opening, their deadlines and their end."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable

from roomkey.audit import record
from roomkey.core.credentials import Request
from roomkey.errors import TooManyAttempts
from roomkey.guard.guard import AsyncioGuard
from roomkey.guard.host import SERVER_DISCONNECT, new_sid
from roomkey.hub.engine_session import TRANSPORT_ERROR, EngineSession, OpeningRequest
from roomkey.hub.settings import LINGER_SECONDS, HubSettings
from roomkey.wire import Packet, TransportState


class EngineSessions:
    """The Engine.IO sessions of a hub, by ID.

    Args:
        guard: decides about connections.
        settings: the hub's.
        counts: counts the connections that were closed, by reason.
        on_packet: called with ``(session, packet)``.
        new_sid: makes the sessions' IDs.

    Attributes:
        settings: the hub's.
        active: the sessions that have not ended.
        lingering: sessions that have ended, for the polls that have still to fetch their last packets.
        deliver: passes on a packet that arrived.
        timers: the deadlines of the guard and all sessions.
        now: the monotonic clock, in seconds.
        new_sid: makes the sessions' IDs.
    """

    def __init__(
        self,
        guard: AsyncioGuard,
        settings: HubSettings,
        counts: Counter[str],
        *,
        on_packet: Callable[[EngineSession, Packet], None],
        new_sid: Callable[[], str] = new_sid,
    ) -> None:
        self.settings = settings
        self.active: dict[str, EngineSession] = {}
        self.lingering: dict[str, EngineSession] = {}
        self.deliver = on_packet
        self.timers = guard.background.timers
        self.now = guard.clock.monotonic
        self.new_sid = new_sid
        self._guard = guard
        self._counts = counts
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
        session = EngineSession(self, request, state, self.now())
        try:
            session.connection = self._guard.accept(credentials, address, session)
        except TooManyAttempts:
            return None
        self.active[session.eio_sid] = session
        return session

    def greet(self, session: EngineSession) -> bytes:
        """Return the session's OPEN packet, and start its heartbeat."""
        self.timers.after(session.heartbeat_due, self.settings.ping_interval)
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

    def count_violation(self) -> None:
        """Count a violation of the protocol."""
        self._counts["closed: protocol violation"] += 1

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

    def linger(self, session: EngineSession) -> None:
        """Keep an ended session for a while, because a poll may still fetch its last packets."""
        self.lingering[session.eio_sid] = session
        self.timers.after(session.drained, LINGER_SECONDS)

    def drained(self, session: EngineSession) -> None:
        """Forget an ended session."""
        if self.lingering.pop(session.eio_sid, None) is not None:
            self.timers.cancel(session.drained)
