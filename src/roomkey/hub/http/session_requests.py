"""Which Engine.IO session an HTTP request opens or continues, and why another request is refused."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections import Counter
from typing import Protocol

from roomkey.core.credentials import Request
from roomkey.errors import ProtocolViolation
from roomkey.guard import audit
from roomkey.guard.guard import AsyncioGuard
from roomkey.hub.engine_session import EngineSession
from roomkey.hub.engine_sessions import EngineSessions
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
from roomkey.wire import TransportState

COOKIE = "roomkey-session"
OLD_PROTOCOL = "the Engine.IO protocol 3 of Socket.IO 2 clients: upgrade the client to Socket.IO 3 or later"


class Pending(Protocol):
    """A connection that has not yet opened or continued a session."""

    def shutdown(self) -> None:
        """Close it, because the server stops."""


class SessionRequests:
    """Opens a session for a request, or finds the one that the request names.

    Args:
        sessions: the hub's.
        guard: decides about connections.
        origins: decides which web pages may connect.
        counts: counts the refused requests, by reason.

    Attributes:
        sessions: the hub's.
        settings: the hub's.
        origins: decides which web pages may connect.
        path: the path that Socket.IO is served at, with a slash at its end.
        pending: the connections that have not yet opened or continued a session.
    """

    def __init__(self, sessions: EngineSessions, guard: AsyncioGuard, origins: Origins, counts: Counter[str]) -> None:
        self.sessions = sessions
        self.settings = sessions.settings
        self.origins = origins
        self.path = f"/{self.settings.path.strip('/')}/".replace("//", "/")
        self.pending: set[Pending] = set()
        self._guard = guard
        self._token_header = guard.settings.token_header
        self._counts = counts

    def serves(self, path: str) -> bool:
        """Return True if Socket.IO is served at a path."""
        return path == self.path or path == self.path[:-1]

    def check(self, request: HttpRequest, parameters: dict[str, str]) -> Refusal | None:
        """Return why a request is refused, whichever session it is for, or None."""
        if parameters.get("EIO") != "4":
            return UNSUPPORTED_VERSION._replace(detail=OLD_PROTOCOL if parameters.get("EIO") == "3" else "")
        transport = parameters.get("transport")
        if transport not in ("polling", "websocket"):
            return UNKNOWN_TRANSPORT
        if "j" in parameters:  # JSONP hands a session to any page that includes a script
            return BAD_REQUEST._replace(detail="JSONP is not supported")
        if (transport == "websocket") != request.is_upgrade():
            return BAD_REQUEST._replace(detail="the transport does not match the request's Upgrade header")
        if not self.origins.allows(request):
            return FORBIDDEN._replace(detail="the origin is not allowed")
        return None

    def refuse(self, address: str, refusal: Refusal) -> Refusal:
        """Count and log a refused request, and return the refusal."""
        self._counts[f"refused: {refusal.message}"] += 1
        audit.refused(ProtocolViolation(refusal.detail or refusal.message), address)
        return refusal

    def open(self, request: HttpRequest, state: TransportState) -> EngineSession | Refusal:
        """Open a session. Set its transport next, then greet the client."""
        credentials = self._credentials(request)
        return self.sessions.open(credentials, request.address, request.after_handshake(), state) or TOO_MANY

    async def find(self, eio_sid: str, request: HttpRequest) -> EngineSession | Refusal:
        """Return the session that a request names, if the request comes from the client that opened it."""
        found = self.find_now(eio_sid, request)
        if found is not None:
            return found
        session = self.sessions.find(eio_sid)
        if session is None:
            return UNKNOWN_SID
        if not await session.connection.owns(self._credentials(request), request.address):
            return self._not_the_owner()
        return session

    def find_now(self, eio_sid: str, request: HttpRequest) -> EngineSession | Refusal | None:
        """Return what :meth:`find` returns, or None if a token must be verified first: then call that."""
        session = self.sessions.find(eio_sid)
        if session is None:
            return UNKNOWN_SID
        is_bound = self._is_bound(session, request)
        if is_bound and session.connection.credential is None:  # most sessions: their token is in a CONNECT packet
            return session
        owns = session.connection.owns_now(self._credentials(request), request.address, is_bound=is_bound)
        if owns is None:
            return None
        return session if owns else self._not_the_owner()

    def _not_the_owner(self) -> Refusal:
        self._counts["refused: not the owner of the session"] += 1
        return FORBIDDEN

    def _credentials(self, request: HttpRequest) -> Request:
        may_use_cookies = self.origins.may_use_cookies(request)
        return request.credentials(may_use_cookies=may_use_cookies, header=self._token_header)

    def _is_bound(self, session: EngineSession, request: HttpRequest) -> bool:
        if self.settings.session_binding == "address":
            return request.address == session.connection.address
        if session.binding is not None:
            presented = request.cookie(_cookie_name(session)) or ""
            return hmac.compare_digest(presented.encode(), session.binding.encode())
        return True

    def bind_by_cookie(self, session: EngineSession, request: HttpRequest) -> bytes | None:
        """Bind a polling session to a new cookie and return that, or None if ``session_binding`` is not "cookie"."""
        if self.settings.session_binding != "cookie":
            return None
        session.binding = secrets.token_urlsafe(24)
        # Another site's page gets it only where its origin is allowed by name, and not by an image of our address.
        elsewhere = request.header("origin") is not None and request.header("sec-fetch-site") == "cross-site"
        same_site = "; SameSite=None" if elsewhere and request.scheme == "https" else "; SameSite=Lax"
        secure = "; Secure" if request.scheme == "https" else ""
        return f"{_cookie_name(session)}={session.binding}; Path=/; HttpOnly{same_site}{secure}".encode()

    def close(self) -> None:
        """Close the connections that have not yet opened or continued a session."""
        for connection in list(self.pending):
            connection.shutdown()


def _cookie_name(session: EngineSession) -> str:
    """Return the cookie's name, which differs by session (two pages of one browser) and does not contain its ID."""
    return f"{COOKIE}-{hashlib.sha256(session.eio_sid.encode()).hexdigest()[:12]}"
