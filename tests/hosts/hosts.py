"""The hosts that exist."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import socketio
from hosts.host import HEARTBEAT, NAMESPACES, REFUSAL, Host, Options, Server
from hosts.processes import OnWSGI
from hosts.settings import guard_settings
from socketio.exceptions import ConnectionRefusedError as Refusal
from support.clock import FakeClock
from support.djangosite.configured import configure
from support.live import new_server, serve
from support.tokens import issuer_at

from roomkey import PermissionDenied
from roomkey.hub import Hub
from roomkey.socketio import AsyncGuard


@dataclass
class AsyncioServer(Server):
    """A server of this event loop, with the methods of ``socketio.AsyncServer``."""

    sio: Any
    guard: Any
    options: Options
    address: str = ""
    calls: list[tuple[Any, ...]] = field(default_factory=list)
    reached: asyncio.Event = field(default_factory=asyncio.Event)
    may_continue: asyncio.Event = field(default_factory=asyncio.Event)

    def install(self) -> None:
        """Register the handlers of the application."""
        self.guard.serve_rooms()
        for namespace in NAMESPACES:
            for event in ("connect", "disconnect", "echo", "enter", "vote"):
                self.sio.on(event, self._handler(event, namespace), namespace=namespace)

    def _handler(self, event: str, namespace: str) -> Any:
        def subject(sid: str) -> str:
            try:
                return str(self.guard.identity(sid).subject)
            except PermissionDenied:
                return ""

        async def connect(sid: str, environ: Any, auth: Any) -> None:
            self.calls.append(("connect", namespace, subject(sid), auth))
            if self.options.connect == "refuse":
                raise Refusal(*REFUSAL)
            if self.options.connect == "raise":
                raise KeyError("a claim that is not there")
            if self.options.connect == "wait":
                self.reached.set()
                await self.may_continue.wait()

        async def disconnect(sid: str, _reason: str = "") -> None:
            self.calls.append(("disconnect", namespace, subject(sid)))

        async def echo(sid: str, argument: Any) -> Any:
            self.calls.append(("echo", namespace, subject(sid), argument))
            return argument

        async def enter(sid: str, room: str) -> str:
            await self.guard.enter_room(sid, room)
            return "entered"

        async def vote(sid: str) -> None:
            self.calls.append(("vote", namespace, subject(sid)))

        return {"connect": connect, "disconnect": disconnect, "echo": echo, "enter": enter, "vote": vote}[event]

    async def connect_waits(self) -> None:
        await self.reached.wait()

    async def continue_connect(self) -> None:
        self.may_continue.set()

    async def emit(self, event: str, *arguments: Any, room: str | None = None, namespace: str = "/") -> None:
        await self.sio.emit(event, arguments, room=room, namespace=namespace)

    async def disconnect(self, sid: str) -> None:
        await self.sio.disconnect(sid)

    async def revoke(self, *, subject: str) -> int:
        return int(await self.guard.revoke(subject=subject))

    async def update(self, subject: str, *, rooms: list[str]) -> int:
        return int(await self.guard.update(subject, rooms=rooms))

    async def clock_has_moved(self) -> None:
        (self.sio if isinstance(self.sio, Hub) else self.guard).check_deadlines()
        await self.settle()

    async def settle(self) -> None:
        await (self.sio if isinstance(self.sio, Hub) else self.guard).settle()

    def remains(self) -> dict[str, int]:
        hub = isinstance(self.sio, Hub)
        members = (
            self.sio.application.rooms.by_sid
            if hub
            else [sid for sids in self.sio.manager.rooms.values() for sid in sids]
        )
        return {
            "connections": len(self.guard.index.connections) + (len(self.sio.sessions.active) if hub else 0),
            "sockets": len(self.guard.index.sockets) + len(members),
        }


class OnHub(Host):
    """roomkey's own server."""

    name = "hub"

    @asynccontextmanager
    async def start(self, options: Options, clock: FakeClock) -> AsyncIterator[Server]:
        settings = {"ping_interval": HEARTBEAT, "ping_timeout": HEARTBEAT, **guard_settings(options, clock)}
        hub = Hub(issuer_at(clock).verifier(), **settings)
        server = AsyncioServer(hub, hub.guard, options)
        server.install()
        async with serve(hub) as server.address:
            yield server


class OnSocketIO(Host):
    """python-socketio's asyncio server with the guard attached."""

    name = "python-socketio"

    @asynccontextmanager
    async def start(self, options: Options, clock: FakeClock) -> AsyncIterator[Server]:
        sio = new_server()
        guard = self.make_guard(verifier=issuer_at(clock).verifier(), **guard_settings(options, clock))
        guard.attach(sio)
        server = AsyncioServer(sio, guard, options)
        server.install()
        async with serve(socketio.ASGIApp(sio, self.other_app())) as server.address:
            yield server

    def make_guard(self, **settings: Any) -> Any:
        """Return a guard."""
        return AsyncGuard(**settings)

    def other_app(self) -> Any:
        """Return the application for the paths that are not Socket.IO's."""
        return None


class OnDjango(OnSocketIO):
    """Django under ASGI."""

    name = "django"

    @asynccontextmanager
    async def start(self, options: Options, clock: FakeClock) -> AsyncIterator[Server]:
        configure()
        from roomkey.django import guards

        async with super().start(options, clock) as server:
            yield server
        guards.ATTACHED.clear()

    def make_guard(self, **settings: Any) -> Any:
        from roomkey.django import AsyncGuard

        return AsyncGuard(**settings)

    def other_app(self) -> Any:
        from django.core.asgi import get_asgi_application

        return get_asgi_application()


SERVERS = (
    "threading",
    "gevent",
    "gevent-unpatched",
    "eventlet",
    "gunicorn-gthread",
    "gunicorn-gevent",
    "gunicorn-geventwebsocket",
)
"""What serves a ``socketio.Server``: see :mod:`hosts.wsgi`."""

FLASK_SERVERS = ("threading", "gunicorn-gthread", "gunicorn-gevent")
"""What serves Flask-SocketIO."""

HOSTS: tuple[Host, ...] = (
    OnHub(),
    OnSocketIO(),
    OnDjango(),
    *(OnWSGI("socketio", server) for server in SERVERS),
    OnWSGI("django", "gunicorn-gthread"),
    *(OnWSGI("flask", server) for server in FLASK_SERVERS),
)
