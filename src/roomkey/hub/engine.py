"""All Engine.IO sessions of a hub: who may open one, whose requests they are, their heartbeat and their end."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import secrets
from collections import Counter
from collections.abc import Callable
from typing import Protocol

from roomkey.audit import record
from roomkey.errors import ConfigError, ProtocolViolation
from roomkey.guard import audit
from roomkey.guard.guard import Guard
from roomkey.guard.port import new_sid
from roomkey.guard.registry import Connection
from roomkey.guard.timers import Name, Timers
from roomkey.hub.http.origins import Origins
from roomkey.hub.http.requests import HttpRequest
from roomkey.hub.refusals import (
    BAD_REQUEST,
    FORBIDDEN,
    TOO_MANY,
    UNKNOWN_SID,
    UNKNOWN_TRANSPORT,
    UNSUPPORTED_VERSION,
    Refusal,
)
from roomkey.hub.session import POLICY_VIOLATION, SERVER_DISCONNECT, TRANSPORT_ERROR, EngineSession
from roomkey.wire import Limits, Packet, TransportState

LOG = logging.getLogger("roomkey.hub")

ATTACHMENT_SECONDS = 10.0
UPGRADE_SECONDS = 10.0
REQUEST_SECONDS = 10.0
"""How long attachments, an upgrade and a request's body may take."""

MAX_HEAD = 16_384
"""Bytes of a request's head."""

LINGER_SECONDS = 1.0
"""How long a poll may still fetch what an ended session had to say."""

BINDINGS = (None, "address", "cookie")
COOKIE = "roomkey-session"
OLD_PROTOCOL = "the Engine.IO protocol 3 of Socket.IO 2 clients: upgrade the client to Socket.IO 3 or later"


class Closable(Protocol):
    """Something that the stop of the server closes."""

    def shutdown(self) -> None:
        """Close."""


class Corked(Protocol):
    """A transport that holds back what it sends until the end of a turn."""

    def uncork(self) -> None:
        """Send it."""


class Engine:
    """What all sessions of a hub share.

    Args:
        guard: decides about connections.
        origins: which pages may connect.
        limits: how much a client may send.
        ping_interval: seconds between the server's pings.
        ping_timeout: seconds to wait for a pong.
        max_unsent: bytes that may wait for a client that does not read them.
        event_rate: events per second that one connection may send.
        session_binding: what a session is bound to besides the token of its handshake: ``"address"``, ``"cookie"``.
        on_packet: called with ``(session, packet)``.
        on_end: called with ``(session, reason)`` once, when a session has ended.

    Raises:
        ConfigError: a setting out of its range.
    """

    def __init__(
        self,
        guard: Guard,
        *,
        origins: Origins,
        limits: Limits,
        ping_interval: float,
        ping_timeout: float,
        max_unsent: int,
        event_rate: float,
        session_binding: str | None,
        on_packet: Callable[[EngineSession, Packet], None],
        on_end: Callable[[EngineSession, str], None],
    ) -> None:
        if session_binding not in BINDINGS:
            raise ConfigError("session_binding takes None, 'address' or 'cookie'")
        if not (0 < ping_interval < float("inf") and 0 < ping_timeout < float("inf")):
            raise ConfigError("ping_interval and ping_timeout take more than 0 seconds")
        if max_unsent < 1 or not event_rate >= 1:
            raise ConfigError("max_unsent takes at least 1 byte, event_rate at least 1 event per second")
        self.guard = guard
        self.origins = origins
        self.limits = limits
        self.ping_interval = ping_interval
        self.ping_timeout = ping_timeout
        self.max_unsent = max_unsent
        self.event_rate = event_rate
        self.anonymous_packet = min(limits.payload, guard.authenticator.max_anonymous_packet)
        self.anonymous_body = min(limits.payload, guard.authenticator.max_anonymous_body)
        self.session_binding = session_binding
        self.deliver = on_packet
        self.on_end = on_end
        self.timers = Timers(guard.clock, self._due)
        self.sessions: dict[str, EngineSession] = {}
        self.lingering: dict[str, EngineSession] = {}
        self._corked: list[Corked] = []
        self.pending: set[Closable] = set()  # connections that have not said yet what they want
        self.counts: Counter[str] = Counter()
        numbers = (ping_interval * 1000, ping_timeout * 1000, limits.payload)
        self._opening = b'0{"sid":"%%b","upgrades":[%%b],"pingInterval":%d,"pingTimeout":%d,"maxPayload":%d}' % numbers

    # Requests

    def check(self, request: HttpRequest, parameters: dict[str, str]) -> Refusal | None:
        """What is wrong with a request, whichever session it is for; None if nothing is."""
        if parameters.get("EIO") != "4":
            return UNSUPPORTED_VERSION._replace(detail=OLD_PROTOCOL if parameters.get("EIO") == "3" else "")
        transport = parameters.get("transport")
        if transport not in ("polling", "websocket"):
            return UNKNOWN_TRANSPORT
        if "j" in parameters:  # JSONP hands a session to any page that includes a script
            return BAD_REQUEST._replace(detail="JSONP is not served")
        if (transport == "websocket") != request.is_upgrade():
            return BAD_REQUEST._replace(detail="a WebSocket that is no upgrade, or the other way round")
        if not self.origins.allows(request):
            return FORBIDDEN._replace(detail="an origin that is not allowed")
        return None

    def refused(self, address: str, refusal: Refusal) -> Refusal:
        """Write down that a request from an address was refused, and count it."""
        self.counts[f"refused: {refusal.message}"] += 1
        audit.refused(ProtocolViolation(refusal.detail or refusal.message), address)
        return refusal

    def open(self, request: HttpRequest, state: TransportState) -> EngineSession | Refusal:
        """Open a session; its transport is set next, and then :meth:`greet` tells the client."""
        eio_sid = new_sid()
        credentials = request.credentials(cookies_count=self.origins.cookies_count(request))
        connection = Connection(eio_sid, request.address, credentials)
        if not self.guard.authenticator.opened(connection):
            return TOO_MANY
        session = EngineSession(self, connection, request.after_handshake(), state)
        self.sessions[eio_sid] = session
        return session

    def greet(self, session: EngineSession) -> bytes:
        """The OPEN packet; the heartbeat begins."""
        self.beat_after(session, self.ping_interval)
        upgrades = b"" if session.upgraded else b'"websocket"'
        return self._opening % (session.eio_sid.encode(), upgrades)

    async def find(self, eio_sid: str, request: HttpRequest) -> EngineSession | Refusal:
        """The session that a request names, if the request comes from whoever opened it."""
        session = self.sessions.get(eio_sid) or self.lingering.get(eio_sid)
        if session is None:
            return UNKNOWN_SID
        credentials = request.credentials(cookies_count=self.origins.cookies_count(request))
        owners, connection = self.guard.authenticator.owners, session.connection
        if not self._is_bound(session, request) or not await owners.is_owner(connection, credentials, request.address):
            owners.intruder(connection, request.address)
            self.counts["refused: not the owner of the session"] += 1
            return FORBIDDEN
        return session

    def _is_bound(self, session: EngineSession, request: HttpRequest) -> bool:
        if self.session_binding == "address":
            return request.address == session.request.address
        if session.binding is not None:
            shown = request.cookie(_cookie_name(session)) or ""
            return hmac.compare_digest(shown.encode(), session.binding.encode())
        return True

    def bind_by_cookie(self, session: EngineSession) -> bytes | None:
        """Bind a polling session to a cookie, where that is wanted; returns the cookie to set."""
        if self.session_binding != "cookie":
            return None
        session.binding = secrets.token_urlsafe(24)
        request = session.request
        # Another site's page gets it only where its origin is allowed by name, and not by an image of our address.
        elsewhere = request.header("origin") is not None and request.header("sec-fetch-site") == "cross-site"
        same_site = "; SameSite=None" if elsewhere and request.scheme == "https" else "; SameSite=Lax"
        secure = "; Secure" if request.scheme == "https" else ""
        return f"{_cookie_name(session)}={session.binding}; Path=/; HttpOnly{same_site}{secure}".encode()

    # What sessions ask for

    def beat_after(self, session: EngineSession, seconds: float) -> None:
        """Beat again later."""
        self.timers.after(("beat", session.eio_sid), seconds)

    def await_attachments(self, session: EngineSession) -> None:
        """A packet began whose attachments have to follow; before admission none is collected."""
        if not session.connection.admitted:
            session.violation("a binary packet before admission")
            return
        self.timers.after(("attachments", session.eio_sid), ATTACHMENT_SECONDS)

    def await_upgrade(self, session: EngineSession) -> None:
        """A WebSocket opened that has to become the transport."""
        self.timers.after(("upgrade", session.eio_sid), UPGRADE_SECONDS)

    def switched(self, session: EngineSession) -> None:
        """A WebSocket is the transport now."""
        self.timers.cancel(("upgrade", session.eio_sid))

    def too_slow(self, session: EngineSession) -> None:
        """More waits for a client than may."""
        if session.eio_sid in self.sessions:
            self.counts["closed: reads too slowly"] += 1
            record(
                "closed",
                level=logging.WARNING,
                reason="reads too slowly",
                address=session.connection.address,
                max_unsent=self.max_unsent,
            )
            session.end(TRANSPORT_ERROR, abort=True)

    def violation(self, session: EngineSession, detail: str, code: int = POLICY_VIOLATION) -> None:
        """Something arrived that no honest client sends."""
        self.counts["closed: protocol violation"] += 1
        session.transport.close(code)  # before the guard does it, with a code that tells nothing
        self.guard.teardown.violation(session.connection, detail)

    def cork(self, transport: Corked) -> None:
        """Uncork a transport when this turn of the event loop is over."""
        if not self._corked:
            asyncio.get_running_loop().call_soon(self._uncork)
        self._corked.append(transport)

    def _uncork(self) -> None:
        corked, self._corked = self._corked, []
        for transport in corked:
            try:
                transport.uncork()
            except Exception:  # the others get theirs all the same
                LOG.exception("a connection could not be written to")

    # The end

    def forget(self, session: EngineSession) -> bool:
        """Take a session out of the list; False if it was out already."""
        if self.sessions.pop(session.eio_sid, None) is None:
            return False
        for kind in ("beat", "attachments", "upgrade"):
            self.timers.cancel((kind, session.eio_sid))
        return True

    def ended(self, session: EngineSession, reason: str, *, drained: bool) -> None:
        """A session has ended; unless all has left, a poll may still fetch its last packets for a while."""
        if not drained:
            self.lingering[session.eio_sid] = session
            self.timers.after(("linger", session.eio_sid), LINGER_SECONDS)
        self.on_end(session, reason)

    def heard(self, session: EngineSession) -> None:
        """What an ended session had to say was fetched."""
        if self.lingering.pop(session.eio_sid, None) is not None:
            self.timers.cancel(("linger", session.eio_sid))

    def close_all(self) -> None:
        """End every session, because the server stops."""
        for pending in list(self.pending):
            pending.shutdown()
        for session in list(self.sessions.values()):
            session.end(SERVER_DISCONNECT)

    def _due(self, what: Name) -> None:
        kind, eio_sid = what
        if kind == "linger":
            self.lingering.pop(eio_sid, None)
            return
        session = self.sessions.get(eio_sid)
        if session is None:
            return
        if kind == "beat":
            session.beat()
        elif kind == "upgrade":
            session.candidate_lost()
        elif session.attachments_missing:
            session.violation("attachments that did not all arrive in time")


def _cookie_name(session: EngineSession) -> str:
    """One for each session: two pages of one browser have two. The session's id does not stand in it."""
    return f"{COOKIE}-{hashlib.sha256(session.eio_sid.encode()).hexdigest()[:12]}"
