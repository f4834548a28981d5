"""A guarded server with a clock that tests advance: fixtures for the conftest files of several folders."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest
import socketio
from support.clock import FakeClock
from support.live import Raw, new_server, serve, until
from support.tokens import issuer_at

from roomkey import Issuer, Policy
from roomkey.guard.guard import AsyncioGuard
from roomkey.hub import Hub, Limits, Namespace
from roomkey.policies import rooms_claim
from roomkey.socketio import AsyncGuard

HEARTBEAT = {"ping_interval": 6e4, "ping_timeout": 6e4}  # longer than any test advances the clock


ENGINES = ("python-socketio", "hub")
BOTH = pytest.mark.parametrize("engine", ENGINES)
"""Runs a test, or a module's tests as its ``pytestmark``, against python-socketio with the guard and the hub."""

NOT_THE_OWNER = (403, '{"code":4,"message":"Forbidden"}')
"""What a poll receives that does not come from the owner of its session."""


class World:
    """One server, its guard, its issuer, its clients.

    Attributes:
        sio: a guarded ``socketio.AsyncServer``, or a :class:`Hub`: they have the same verbs.
        engine: which of them.
        Namespace: the base class of class-based namespaces.
    """

    def __init__(self, sio: Any, guard: AsyncioGuard | None, issuer: Issuer, clock: FakeClock) -> None:
        self.sio, self.guard, self.issuer, self.clock = sio, guard, issuer, clock
        self.engine = "hub" if isinstance(sio, Hub) else "python-socketio"
        self.Namespace: Any = Namespace if isinstance(sio, Hub) else socketio.AsyncNamespace
        self.host = ""
        self.calls: list[tuple[Any, ...]] = []
        self.refusals: list[tuple[Exception, str]] = []
        self._clients: list[Raw] = []

    async def client(self, **arguments: Any) -> Raw:
        raw = await Raw.open(self.host, **arguments)
        self._clients.append(raw)
        return raw

    async def member(self, subject: str = "ada", namespace: str = "/", **claims: Any) -> Raw:
        """Return an admitted client."""
        raw = await self.client()
        reply = await raw.ask({"token": self.issuer.issue(subject, **claims)}, namespace)
        assert reply.startswith("40"), reply
        return raw

    def token(self, subject: str = "ada", **claims: Any) -> str:
        return self.issuer.issue(subject, **claims)

    async def tick(self, seconds: float) -> None:
        """Advance the clock, and finish what is due."""
        assert self.guard is not None
        self.clock.advance(seconds)
        self.check_deadlines()
        await self.settle()

    def check_deadlines(self) -> None:
        """Start what is due, without waiting for it."""
        assert self.guard is not None
        (self.sio if isinstance(self.sio, Hub) else self.guard).check_deadlines()

    def sid(self, subject: str | None = None, namespace: str = "/") -> str:
        """Return a socket ID: the first in the namespace, or the subject's."""
        assert self.guard is not None
        of_namespace = (admission for admission in self.guard.index if admission.namespace == namespace)
        return next(
            a.sid for a in of_namespace if subject is None or (a.identity is not None and a.identity.subject == subject)
        )

    def rooms(self, namespace: str = "/") -> dict[str, set[str]]:
        """Return the rooms of a namespace and their members, without the rooms of socket IDs and users."""
        if isinstance(self.sio, Hub):
            table = self.sio.application.rooms
            names = [name for where, name in table._rooms if where == namespace]
            found = {name: {socket.sid for socket in table.in_room(namespace, name)} for name in names}
        else:
            found = {str(name): set(inner) for name, inner in self.sio.manager.rooms.get(namespace, {}).items() if name}
        return {name: sids for name, sids in found.items() if sids != {name} and not name.startswith("user:")}

    async def polled(self) -> None:
        """Wait until the poll of the only session waits for a packet."""
        if isinstance(self.sio, Hub):
            [session] = self.sio.sessions.active.values()
            await until(lambda: session.transport.busy)
        else:
            [socket] = self.sio.eio.sockets.values()
            await until(lambda: socket.queue._getters)

    @property
    def is_empty(self) -> bool:
        """Return True if nobody is in any namespace, according to the server's tables."""
        return not (self.sio.application.rooms.by_sid if isinstance(self.sio, Hub) else self.sio.manager.rooms)

    async def settle(self) -> None:
        """Wait until all background work is done."""
        assert self.guard is not None
        await (self.sio if isinstance(self.sio, Hub) else self.guard).settle()

    async def close(self) -> None:
        for raw in self._clients:
            await raw.close()


class Gate:
    """A rule that waits: ``policy.namespace("/")(gate)``. ``reached`` is set when it waits, ``open`` lets it return."""

    def __init__(self) -> None:
        self.reached, self.open = asyncio.Event(), asyncio.Event()

    async def __call__(self, who: Any, **fields: Any) -> bool:
        self.reached.set()
        await self.open.wait()
        return True


MakeWorld = Callable[..., Any]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def engine() -> str:
    """Return the name of the server that the test's world has. A test runs with both if it is marked with ``BOTH``."""
    return "python-socketio"


@pytest.fixture
async def make_world(clock: FakeClock, engine: str) -> AsyncIterator[MakeWorld]:
    """``await make_world(guarded=True, server={…}, **guard_settings)``: a server that listens."""
    async with AsyncExitStack() as stack:

        async def make(
            guarded: bool = True,
            server: dict[str, Any] | None = None,
            prepare: Callable[[World], None] | None = None,
            attach: dict[str, Any] | None = None,
            verifier: Any = None,
            **settings: Any,
        ) -> World:
            issuer = issuer_at(clock)
            if guarded and "policy" not in settings:
                settings["policy"] = Policy()
                settings["policy"].room("*")(rooms_claim)
            sio: Any
            guard: AsyncioGuard | None = None
            if engine == "hub":
                settings = _for_hub({**settings, **(server or {}), **(attach or {})})
                sio = Hub(verifier or issuer.verifier(), clock=clock, **{**HEARTBEAT, **settings})
                guard = sio.guard
            else:
                sio = new_server(**(server or {}))
            if guarded and engine != "hub":
                guard = AsyncGuard(verifier or issuer.verifier(), clock=clock, **settings)
                guard.attach(sio, **(attach or {}))
            world = World(sio, guard, issuer, clock)
            if guard is not None:
                guard.on_refused(lambda error, address: world.refusals.append((error, address)))
            if prepare is not None:
                prepare(world)
            app = sio if engine == "hub" else socketio.ASGIApp(sio)
            world.host = await stack.enter_async_context(serve(app))
            stack.push_async_callback(world.close)
            return world

        yield make


def echo(world: World) -> None:
    """Echo the arguments of each ``message``; for ``prepare``, or as a module's ``application``."""

    @world.sio.event
    async def message(sid, *arguments):
        await world.sio.emit("back", arguments, to=sid)


def rooms_world(make_world: MakeWorld, **settings: Any) -> Any:
    """``await rooms_world(make_world)``: a world with the room events, and with handlers that use rooms."""

    def prepare(world: World) -> None:
        world.guard.serve_rooms()

        @world.sio.on("enter")
        async def enter(sid, room):
            await world.guard.enter_room(sid, room)
            return "entered"

        @world.sio.on("say")
        async def say(sid, room, text):
            await world.sio.emit("said", text, room=room)

    return make_world(prepare=prepare, **settings)


def _for_hub(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings by the hub's names: bounds on what is read are its ``Limits``."""
    names = {"max_namespaces": "namespaces", "max_http_buffer_size": "payload"}
    limits = {name: settings.pop(old) for old, name in names.items() if old in settings}
    return {**settings, "limits": Limits(**limits)} if limits else settings
