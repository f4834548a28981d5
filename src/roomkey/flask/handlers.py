"""Flask-SocketIO's calls of handlers, and the environs that they run with."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from contextvars import ContextVar
from functools import partial
from typing import Any

import flask_socketio

from roomkey.core.callables import accepts
from roomkey.errors import ConfigError
from roomkey.flask.requirements import check_order
from roomkey.socketio import Guard

SEAM = ("handler", "message", "namespace", "sid")
_FIRST_USER, _OTHER_USERS = "roomkey.first_user", "roomkey.other_users"
_OF_ONE_USER = frozenset({_FIRST_USER, _OTHER_USERS, "saved_session"})

_CALL: ContextVar[ConnectCall] = ContextVar("roomkey_connect_call")


class ConnectCall:
    """The call of a connect handler.

    Attributes:
        failure: the exception that the handler raised, even if an error handler has dealt with it.
    """

    failure: Exception | None = None

    def run(self, handler: Callable[..., Any], *arguments: Any) -> Any:
        """Call the handler once: Flask-SocketIO calls again, without arguments, after a TypeError."""
        if self.failure is not None:
            raise self.failure
        try:
            return handler(*(arguments if accepts(handler, *arguments) else ()))
        except Exception as failure:  # of the application's handler: Flask-SocketIO may swallow it
            self.failure = failure
            raise


class FlaskGuard(Guard):
    """The guard of a Flask-SocketIO server.

    A connect handler that fails refuses its client. Flask-SocketIO alone would admit the client if the application has
    an error handler, because that returns.
    """

    def _around_handlers(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def around(event: str, namespace: str, *arguments: Any) -> Any:
            if event != "connect":
                return call(event, namespace, *arguments)
            connect = ConnectCall()
            token = _CALL.set(connect)
            try:
                result = call(event, namespace, *arguments)
            finally:
                _CALL.reset(token)
            if connect.failure is not None:
                raise connect.failure
            return result

        return around


def install(socketio: flask_socketio.SocketIO) -> None:
    """Check each handler before Flask-SocketIO calls it.

    Raises:
        ConfigError: this version of Flask-SocketIO calls handlers differently.
    """
    inner = getattr(socketio, "_handle_event", None)
    if isinstance(getattr(inner, "__self__", None), _Handlers):
        return  # an application factory protects several applications with one object
    if inner is None or tuple(inspect.signature(inner).parameters)[: len(SEAM)] != SEAM:
        raise ConfigError(
            f"cannot protect the app: this version of Flask-SocketIO has no _handle_event({', '.join(SEAM)}); "
            "install a supported version (5.6.1 to 5.7 are tested)"
        )
    socketio._handle_event = _Handlers(inner).call


class _Handlers:
    def __init__(self, inner: Callable[..., Any]) -> None:
        self._inner = inner

    def call(self, handler: Callable[..., Any], message: str, namespace: str, sid: str, *arguments: Any) -> Any:
        """Call a handler with a request context, a session and the application's error handlers."""
        check_order(handler)
        connect = _CALL.get(None)
        if message == "connect" and connect is not None:
            handler = partial(connect.run, handler)
        return self._inner(handler, message, namespace, sid, *arguments)


class Environs:
    """The WSGI environs of a server's connections, with a copy for each further user of a connection.

    Flask-SocketIO keeps the session in the environ. A connection can have sockets of several users, at the same time or
    one after the other. They must not share a session.

    Args:
        inner: the server's own ``get_environ``.
        guard: knows the users of sockets.
    """

    def __init__(self, inner: Callable[..., Any], guard: Guard) -> None:
        self._inner = inner
        self._guard = guard

    def get_environ(self, sid: str, namespace: str | None = None) -> dict[str, Any] | None:
        """Return the environ of a socket; None if it is gone."""
        environ: dict[str, Any] | None = self._inner(sid, namespace)
        socket = self._guard.index.sockets.get(sid)
        if not environ or socket is None or socket.identity is None:
            return environ
        user = socket.identity.subject
        first = environ.setdefault(_FIRST_USER, user)
        if not first:  # a guest who has presented a token meanwhile
            environ[_FIRST_USER] = user
        elif first != user:
            return self._copy(environ, user)
        return environ

    def _copy(self, environ: dict[str, Any], user: str) -> dict[str, Any]:
        copies: dict[str, dict[str, Any]] = environ.setdefault(_OTHER_USERS, {})
        if user not in copies:
            while len(copies) >= self._guard.settings.max_namespaces:
                copies.pop(next(iter(copies)), None)
            copies[user] = {name: value for name, value in environ.items() if name not in _OF_ONE_USER}
        return copies[user]
