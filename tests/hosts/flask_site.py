"""The application of the contract tests on Flask-SocketIO."""

from __future__ import annotations

from typing import Any

from flask import Flask, request
from flask_socketio import SocketIO
from hosts.sites import Site

from roomkey.flask import RoomKey, current_identity


class FlaskSite(Site):
    """The application on Flask-SocketIO, with a handler of all errors: it must not admit anybody."""

    def make(self, verifier: Any, settings: dict[str, Any], server: dict[str, Any]) -> None:
        app = Flask("contract")
        self.socketio = SocketIO(app, **server)
        self.guard = RoomKey(app, self.socketio, verifier, **settings).guard
        self.sio, self.wsgi = self.socketio.server, app
        self.socketio.on_error_default(self._handle)

    @staticmethod
    def _handle(error: Exception) -> None:
        if request.event["message"] != "connect":
            raise error

    def register(self, namespace: str) -> None:
        on: Any = lambda name: self.socketio.on(name, namespace=namespace)  # noqa: E731

        @on("connect")
        def connect(auth: Any) -> None:
            self.connect(namespace, current_identity.subject, auth)

        @on("disconnect")
        def disconnect(_reason: str = "") -> None:
            self.calls.append(("disconnect", namespace, current_identity.subject))

        @on("echo")
        def echo(argument: Any = None) -> Any:
            self.calls.append(("echo", namespace, current_identity.subject, argument))
            return argument

        @on("enter")
        def enter(room: str) -> str:
            self.guard.enter_room(request.sid, room)
            return "entered"

        @on("vote")
        def vote() -> None:
            self.calls.append(("vote", namespace, current_identity.subject))
