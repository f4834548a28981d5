"""The user of a Socket.IO handler or of a request: the same tokens, the same verifier, the same revocations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from flask import Request as FlaskRequest
from flask import current_app, has_request_context, request
from werkzeug.local import LocalProxy

from roomkey.core.credentials import Handshake, find_credential, missing_credential
from roomkey.core.http_tokens import route_request
from roomkey.core.identity import Identity
from roomkey.core.origins import Origin
from roomkey.errors import ConfigError
from roomkey.socketio import Guard

EXTENSION = "roomkey"


@dataclass(frozen=True, slots=True)
class Protection:
    """What protects one application.

    Attributes:
        guard: verifies tokens, and has the identities of sockets.
        sources: where requests present tokens.
        allowed_origins: origins of other pages whose cookies are accepted.
    """

    guard: Guard
    sources: Handshake
    allowed_origins: frozenset[Origin]

    def identity(self, asked: FlaskRequest) -> Identity:
        """Return the identity of a request, or of the socket whose handler runs.

        Raises:
            AuthError: the request has no valid token, or the socket has no identity.
        """
        sid = socket_id(asked)
        if sid is not None:
            return self.guard.identity(sid, asked.namespace)  # type: ignore[attr-defined]
        who: Identity | None = getattr(asked, "roomkey_identity", None)
        if who is None:  # kept with the request: an application context, and so flask.g, can have several requests
            who = asked.roomkey_identity = self._verify(asked)  # type: ignore[attr-defined]
        return who

    def _verify(self, asked: FlaskRequest) -> Identity:
        headers = asked.headers
        found = find_credential(
            self.sources,
            None,
            route_request(
                authorization=headers.get(self.sources.header_name),
                cookie=headers.get("Cookie"),
                query=asked.query_string.decode("latin-1"),
                origin=headers.get("Origin"),
                fetch_site=headers.get("Sec-Fetch-Site"),
                scheme=asked.scheme,
                host=headers.get("Host"),
                allowed_origins=self.allowed_origins,
            ),
        )
        if found is not None:
            return self.guard.verify(found.token, source=found.source)
        if self.guard.settings.required:
            raise missing_credential(self.sources)
        return Identity.guest()


def protection() -> Protection:
    """Return what protects the current application.

    Raises:
        ConfigError: nothing does.
    """
    found: Protection | None = current_app.extensions.get(EXTENSION)
    if found is None:
        raise ConfigError("this app is not protected: it has no RoomKey; call RoomKey(app, socketio, verifier)")
    return found


def socket_id(asked: FlaskRequest) -> str | None:
    """Return the ID of the socket whose handler runs; None in a route."""
    return getattr(asked, "sid", None)


def _current() -> Identity:
    if not has_request_context():
        raise RuntimeError(
            "current_identity is not available here: it requires a Socket.IO handler or a request; "
            "for another thread, pass it current_identity._get_current_object()"
        )
    return protection().identity(cast(LocalProxy[FlaskRequest], request)._get_current_object())


current_identity: Identity = LocalProxy(_current)  # type: ignore[assignment]
"""The identity of the socket whose handler runs; in a route, that of the request's token.

It is looked up at each access: in a handler, it has the rights and the expiry that the socket has now. In a route, the
first access verifies the token.

Raises:
    AuthError: in a route, the token is missing or not valid. The response is then 401 (RFC 6750), unless the
        application has an error handler.
    RuntimeError: there is neither a handler nor a request.
"""
