"""The application of the contract tests on synchronous servers: python-socketio's and Flask-SocketIO's."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import socketio
from hosts.host import HEARTBEAT, NAMESPACES, REFUSAL, Options
from hosts.settings import guard_settings
from socketio.exceptions import ConnectionRefusedError as Refusal
from support.clock import FakeClock
from support.djangosite.configured import configure
from support.tokens import issuer_at

from roomkey import PermissionDenied
from roomkey.socketio import Guard

__all__ = ["Site", "site_class"]


class Site(ABC):
    """A guarded server with the application, and what the tests can tell it: the methods are those of ``Server``.

    Attributes:
        wsgi: the server.
        sio: python-socketio's server.
        guard: its guard.
    """

    wsgi: Callable[..., Any]
    sio: socketio.Server
    guard: Guard

    def __init__(self, options: Options, async_mode: str) -> None:
        self.options = options
        self.clock = FakeClock()
        self.calls: list[tuple[Any, ...]] = []
        settings = guard_settings(options, self.clock)
        self.make(issuer_at(self.clock).verifier(), settings, {"async_mode": async_mode, "ping_interval": HEARTBEAT})
        self.guard.serve_rooms()
        self._waits, self._may_continue = self.sio.eio.create_event(), self.sio.eio.create_event()
        for namespace in NAMESPACES:
            self.register(namespace)

    @abstractmethod
    def make(self, verifier: Any, settings: dict[str, Any], server: dict[str, Any]) -> None:
        """Create the server and its guard."""

    @abstractmethod
    def register(self, namespace: str) -> None:
        """Register the handlers of a namespace."""

    def connect(self, namespace: str, subject: str, auth: Any) -> None:
        self.calls.append(("connect", namespace, subject, auth))
        if self.options.connect == "refuse":
            raise Refusal(*REFUSAL)
        if self.options.connect == "raise":
            raise KeyError("a claim that is not there")
        if self.options.connect == "wait":
            self._waits.set()
            self._may_continue.wait()

    def connect_waits(self) -> None:
        self._waits.wait()

    def continue_connect(self) -> None:
        self._may_continue.set()

    def emit(self, event: str, arguments: list[Any], room: str | None, namespace: str) -> None:
        self.sio.emit(event, tuple(arguments), room=room, namespace=namespace)

    def disconnect(self, sid: str) -> None:
        self.sio.disconnect(sid)

    def revoke(self, subject: str) -> int:
        return self.guard.revoke(subject=subject)

    def update(self, subject: str, rooms: list[str]) -> int:
        return self.guard.update(subject, rooms=rooms)

    def clock_has_moved(self, time: float) -> None:
        self.clock.time = time
        self.guard.check_deadlines()
        self.guard.settle()

    def settle(self) -> None:
        self.guard.settle()

    def recorded(self) -> list[tuple[Any, ...]]:
        return self.calls

    def remains(self) -> dict[str, int]:
        members = [sid for sids in self.sio.manager.rooms.values() for sid in sids]
        return {
            "connections": len(self.guard.index.connections),
            "sockets": len(self.guard.index.sockets) + len(members),
        }

    def close(self) -> None:
        self.continue_connect()
        self.guard.close()


class SocketIOSite(Site):
    """The application on a :class:`socketio.Server`."""

    def make(self, verifier: Any, settings: dict[str, Any], server: dict[str, Any]) -> None:
        self.sio = socketio.Server(**server)
        self.guard = Guard(verifier, **settings)
        self.guard.attach(self.sio)
        self.wsgi = socketio.WSGIApp(self.sio)

    def _subject(self, sid: str) -> str:
        try:
            return self.guard.identity(sid).subject
        except PermissionDenied:
            return ""

    def register(self, namespace: str) -> None:
        on: Any = lambda name: self.sio.on(name, namespace=namespace)  # noqa: E731

        @on("connect")
        def connect(sid: str, _environ: Any, auth: Any) -> None:
            self.connect(namespace, self._subject(sid), auth)

        @on("disconnect")
        def disconnect(sid: str, _reason: str = "") -> None:
            self.calls.append(("disconnect", namespace, self._subject(sid)))

        @on("echo")
        def echo(sid: str, argument: Any = None) -> Any:
            self.calls.append(("echo", namespace, self._subject(sid), argument))
            return argument

        @on("enter")
        def enter(sid: str, room: str) -> str:
            self.guard.enter_room(sid, room)
            return "entered"

        @on("vote")
        def vote(sid: str) -> None:
            self.calls.append(("vote", namespace, self._subject(sid)))


class DjangoSite(SocketIOSite):
    """The application in a Django project."""

    def make(self, verifier: Any, settings: dict[str, Any], server: dict[str, Any]) -> None:
        configure()
        from django.core.wsgi import get_wsgi_application

        from roomkey.django import Guard as DjangoGuard

        self.sio = socketio.Server(**server)
        self.guard = DjangoGuard(verifier=verifier, **settings)
        self.guard.attach(self.sio)
        self.wsgi = socketio.WSGIApp(self.sio, get_wsgi_application())


def site_class(kind: str) -> type[Site]:
    """Return the class of a kind of application: ``socketio``, ``django`` or ``flask``."""
    if kind == "flask":
        from hosts.flask_site import FlaskSite  # not with the oldest python-socketio

        return FlaskSite
    return {"socketio": SocketIOSite, "django": DjangoSite}[kind]
