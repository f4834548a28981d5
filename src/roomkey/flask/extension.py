"""The extension: attaches a guard to a Flask-SocketIO server, and protects the routes of its application."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Concatenate, ParamSpec, TypeVar, cast, overload

import flask_socketio
from flask import Flask, current_app, request

from roomkey.core.credentials import Handshake
from roomkey.core.origins import Origin, origin_of
from roomkey.errors import ConfigError
from roomkey.flask.handlers import Environs, FlaskGuard, install
from roomkey.flask.identity import EXTENSION, Protection
from roomkey.flask.replaced import close_replacements, protecting
from roomkey.flask.requirements import check_order
from roomkey.flask.responses import handle_errors
from roomkey.flask.settings import FlaskSettings
from roomkey.guard.settings import takes_settings
from roomkey.socketio import Guard

Arguments = ParamSpec("Arguments")
OwnerT = TypeVar("OwnerT")
SettingsT = TypeVar("SettingsT")
Method = Callable[[OwnerT, Flask, flask_socketio.SocketIO, SettingsT], None]
MethodWithFields = Callable[Concatenate[OwnerT, Flask, flask_socketio.SocketIO, Arguments], None]


def _takes_app_and_settings(
    _settings: Callable[Arguments, SettingsT],
) -> Callable[[Method[OwnerT, SettingsT]], MethodWithFields[OwnerT, Arguments]]:
    """Declare a method that takes an application, its server, and the fields of the settings; for type checkers."""
    return lambda method: cast(Any, method)


class RoomKey:
    """Protects the sockets and the routes of a Flask application with one verifier.

    Two forms::

        roomkey = RoomKey(app, socketio, verifier, policy=policy)

        roomkey = RoomKey(verifier, policy=policy)      # in a module
        roomkey.init_app(app, socketio)                 # in an application factory

    Further arguments are those of :class:`roomkey.socketio.Guard`, ``session_binding``,
    ``own_joins`` and ``allowed_origins``.

    Raises:
        ConfigError: a setting is invalid, the server has a setting with which it would leak, or
            ``socketio.init_app(app)`` was not called before.
    """

    @overload
    @_takes_app_and_settings(FlaskSettings)
    def __init__(self, app: Flask, socketio: flask_socketio.SocketIO, settings: FlaskSettings) -> None: ...
    @overload
    @takes_settings(FlaskSettings)
    def __init__(self, settings: FlaskSettings) -> None: ...
    @overload
    def __init__(self) -> None: ...
    def __init__(self, *arguments: Any, **settings: Any) -> None:
        self._settings: FlaskSettings | None = None
        self._guard: Guard | None = None
        if "app" in settings or (arguments and isinstance(arguments[0], (Flask, flask_socketio.SocketIO))):
            self.init_app(*arguments, **settings)
        elif arguments or settings:
            self._settings = FlaskSettings(*arguments, **settings)

    @overload
    @_takes_app_and_settings(FlaskSettings)
    def init_app(self, app: Flask, socketio: flask_socketio.SocketIO, settings: FlaskSettings) -> None: ...
    @overload
    def init_app(self, app: Flask, socketio: flask_socketio.SocketIO) -> None: ...
    def init_app(self, app: Flask, socketio: Any, *verifier: Any, **settings: Any) -> None:
        """Protect an application. An application factory calls this for each application that it creates.

        Args:
            app: the application.
            socketio: its :class:`flask_socketio.SocketIO`, for which ``init_app`` was called before.
            verifier: the verifier, if it was not passed to :class:`RoomKey`.
            settings: likewise.

        Raises:
            ConfigError: as for :class:`RoomKey`.
        """
        if not isinstance(app, Flask) or not isinstance(socketio, flask_socketio.SocketIO):
            raise ConfigError(
                "cannot protect the app: it requires the Flask application and its SocketIO, in this order; "
                "write RoomKey(app, socketio, verifier)"
            )
        chosen = FlaskSettings(*verifier, **settings) if verifier or settings else self._settings
        if chosen is None:
            raise ConfigError("there is no verifier; pass one to RoomKey(…) or to init_app(app, socketio, …)")
        server = getattr(socketio, "server", None)
        if server is None:
            raise ConfigError("cannot protect the app: socketio has no server yet; call socketio.init_app(app) first")
        guard = FlaskGuard.of(chosen)
        with protecting(server):
            guard.attach(
                server,
                session_binding=chosen.session_binding,
                own_joins=chosen.own_joins,
                allowed_origins=chosen.allowed_origins,
            )
        close_replacements(socketio)
        server.get_environ = Environs(server.get_environ, guard).get_environ
        install(socketio)
        sources = chosen.handshake or Handshake()
        app.extensions[EXTENSION] = Protection(
            guard, replace(sources, header=sources.header or True), _origins(server, chosen)
        )
        app.before_request(_check_route)
        handle_errors(app)
        self._guard = guard

    @property
    def guard(self) -> Guard:
        """The guard, with all methods for live control: ``roomkey.guard.revoke(subject="ada")``.

        Raises:
            ConfigError: :meth:`init_app` was not called.
        """
        if self._guard is None:
            raise ConfigError("there is no guard yet; call roomkey.init_app(app, socketio) first")
        return self._guard


def _origins(server: Any, chosen: FlaskSettings) -> frozenset[Origin]:
    """Return the origins of other pages that are allowed by name; for their cookies in requests to routes."""
    listed = server.eio.cors_allowed_origins if chosen.allowed_origins is None else chosen.allowed_origins
    if callable(listed) or not listed:
        return frozenset()
    found = map(origin_of, [listed] if isinstance(listed, str) else listed)
    return frozenset(origin for origin in found if origin is not None)


def _check_route() -> None:
    check_order(current_app.view_functions.get(request.endpoint or ""))
