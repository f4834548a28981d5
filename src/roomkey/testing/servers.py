"""Find the guard of a server, and how test clients reach the server in memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any
from urllib.parse import urlencode

from roomkey.errors import ConfigError
from roomkey.guard.guard import AsyncioGuard

MOUNTS = 4
"""How deep applications are searched that are mounted in other ones."""


@dataclass(frozen=True)
class Entrance:
    """The way into a guarded server.

    Attributes:
        guard: its guard.
        app: an ASGI or WSGI application.
        path: where it serves Socket.IO, with slashes at both ends.
        server: the Socket.IO server, if it is python-socketio's.
    """

    guard: Any
    app: Any
    path: str
    server: Any = None


@dataclass(frozen=True)
class Opening:
    """What a test client sends to open a connection and to join a namespace.

    Attributes:
        payload: of the CONNECT packet.
        headers: of each HTTP request.
        query: of each HTTP request, besides the parameters of Engine.IO.
        later: the token for ``authenticate``, if the guard accepts none before.
    """

    payload: Any = None
    headers: list[tuple[str, str]] = field(default_factory=list)
    query: str = ""
    later: str | None = None


def find_entrance(server: Any, guard: Any, path: str | None) -> Entrance:
    """Return the way into a server.

    Args:
        server: a Socket.IO server, or an application in which one is mounted.
        guard: its guard, if that cannot be found.
        path: where it serves Socket.IO, if that is not known.

    Raises:
        ConfigError: it has no guard.
    """
    found = next(_entrances(server, "", MOUNTS), None)
    if found is None:
        found = Entrance(None, server, "/socket.io/")
    chosen = guard if guard is not None else found.guard
    if chosen is None:
        raise ConfigError(
            f"cannot find the guard of this {type(server).__name__}; pass the guarded Socket.IO server, the "
            "application that serves it, or guard=… and path=…"
        )
    return Entrance(chosen, found.app, found.path if path is None else _slashed(path), found.server)


def _entrances(app: Any, prefix: str, depth: int) -> Iterator[Entrance]:
    """Find guarded servers: the application itself, and those mounted in it."""
    if depth == 0 or app is None:
        return
    hub = app if _is_hub(app) else getattr(app, "_hub", None)
    server = _python_socketio(app)
    if hub is not None:
        whole = hub.asgi if app is hub else app
        yield Entrance(hub.guard, whole, _slashed(prefix + hub.path))
    elif server is not None:
        yield Entrance(
            getattr(server, "roomkey_guard", None), _application(app, server), _slashed(prefix + _path(app)), server
        )
    else:
        for route in getattr(app, "routes", None) or ():
            for inner in _entrances(getattr(route, "app", None), prefix + getattr(route, "path", ""), depth - 1):
                # The request goes through the whole application, with its middleware.
                yield Entrance(inner.guard, app, inner.path, inner.server)


def _is_hub(app: Any) -> bool:
    return isinstance(getattr(app, "guard", None), AsyncioGuard) and hasattr(app, "asgi")


def _python_socketio(app: Any) -> Any:
    """Return python-socketio's server: itself, or the one of ``ASGIApp``, ``WSGIApp`` or a Flask application."""
    extension = getattr(app, "extensions", {}).get("socketio") if hasattr(app, "extensions") else app
    for name in ("", "server", "engineio_server", "engineio_app"):
        server = getattr(extension, name, None) if name else extension
        if hasattr(server, "eio") and hasattr(server, "manager"):
            return server
    return None


def _application(app: Any, server: Any) -> Any:
    """Return the ASGI or WSGI application; one is made for a server alone."""
    if app is not server and callable(app):
        return app
    middleware = getattr(app, "sockio_mw", None)  # of Flask-SocketIO, which its handlers require
    if middleware is not None:
        return middleware
    if server.is_asyncio_based():
        return import_module("roomkey.socketio.in_memory").asgi_app(server)
    return import_module("socketio").WSGIApp(server)


def _path(app: Any) -> str:
    path = getattr(app, "engineio_path", None)
    return path if isinstance(path, str) else "/socket.io/"


def _slashed(path: str) -> str:
    return f"/{path.strip('/')}/".replace("//", "/")


def opening(guard: Any, token: str | None, auth: Any, headers: Any) -> Opening:
    """Return what a client sends, with the token where the guard accepts it.

    Args:
        guard: the guard of the server.
        token: the token, or None.
        auth: the rest of the payload of the CONNECT packet; or a payload of any type, without a token.
        headers: further headers, as a mapping or as pairs.
    """
    pairs = list(headers.items() if hasattr(headers, "items") else headers or ())
    if token is None:
        return Opening(auth, pairs)
    if auth is not None and not isinstance(auth, dict):
        raise ConfigError("cannot add the token to auth: it is not a dict; pass only one of token and auth")
    handshake = guard.settings.handshake
    if handshake is None:
        return Opening(auth, pairs, later=token)
    if handshake.auth:
        member = handshake.auth if isinstance(handshake.auth, str) else "token"
        return Opening({member: token, **(auth or {})}, pairs)
    if handshake.header:
        name = handshake.header if isinstance(handshake.header, str) else "Authorization"
        return Opening(auth, [*pairs, (name, f"Bearer {token}")])
    if handshake.cookie:
        return Opening(auth, [*pairs, ("Cookie", f"{handshake.cookie}={token}")])
    return Opening(auth, pairs, query=f"&{urlencode({handshake.query: token})}")
