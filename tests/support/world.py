"""A guarded server with a clock, ready to be spoken to: fixtures for the conftest files of several folders."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest
import socketio
from support.clock import FakeClock
from support.live import Raw, new_server, serve
from support.tokens import issuer_at

from roomkey import Issuer, Policy
from roomkey.policies import rooms_claim
from roomkey.socketio import AsyncGuard


class World:
    """One server, its guard, its issuer, its clients."""

    def __init__(self, sio: socketio.AsyncServer, guard: AsyncGuard | None, issuer: Issuer, clock: FakeClock) -> None:
        self.sio, self.guard, self.issuer, self.clock = sio, guard, issuer, clock
        self.host = ""
        self.calls: list[tuple[Any, ...]] = []
        self.refusals: list[tuple[Exception, str]] = []
        self._clients: list[Raw] = []

    async def client(self, **arguments: Any) -> Raw:
        raw = await Raw.open(self.host, **arguments)
        self._clients.append(raw)
        return raw

    async def member(self, subject: str = "ada", namespace: str = "/", **claims: Any) -> Raw:
        """A client that is admitted."""
        raw = await self.client()
        reply = await raw.ask({"token": self.issuer.issue(subject, **claims)}, namespace)
        assert reply.startswith("40"), reply
        return raw

    def token(self, subject: str = "ada", **claims: Any) -> str:
        return self.issuer.issue(subject, **claims)

    async def tick(self, seconds: float) -> None:
        """Let time pass."""
        assert self.guard is not None
        self.clock.advance(seconds)
        self.guard.check_deadlines()
        await self.guard.settle()

    async def close(self) -> None:
        for raw in self._clients:
            await raw.close()


class Gate:
    """A rule that waits: ``policy.namespace("/")(gate)``; ``reached`` tells that it waits, ``open`` lets it go on."""

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
async def make_world(clock: FakeClock) -> AsyncIterator[MakeWorld]:
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
            sio = new_server(**(server or {}))
            guard = None
            if guarded:
                if "policy" not in settings:
                    settings["policy"] = Policy()
                    settings["policy"].room("*")(rooms_claim)
                guard = AsyncGuard(verifier or issuer.verifier(), clock=clock, **settings)
            world = World(sio, guard, issuer, clock)
            if guard is not None:
                guard.attach(sio, **(attach or {}))
                guard.on_refused(lambda error, address: world.refusals.append((error, address)))
            if prepare is not None:
                prepare(world)
            world.host = await stack.enter_async_context(serve(socketio.ASGIApp(sio)))
            stack.push_async_callback(world.close)
            return world

        yield make
