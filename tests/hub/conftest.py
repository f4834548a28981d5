"""A live hub. Whatever a test sends, no exception may reach the log or the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
import pytest_asyncio
import uvloop
from support.calm import calm, calmly
from support.clock import FakeClock
from support.live import serve, until
from support.tokens import issuer_at
from support.world import World, clock, make_world

from roomkey.hub import Hub

__all__ = ["calm", "clock", "make_world"]

ON_BOTH_LOOPS = ("test_acceptor", "test_forwarding", "test_polling_protocol", "test_websocket_protocol")


def pytest_asyncio_loop_factories(item: pytest.Item) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """asyncio's event loop and uvloop differ below the frames; above them, one of the two is enough."""
    loops: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {"asyncio": asyncio.new_event_loop}
    return loops | {"uvloop": uvloop.new_event_loop} if item.path.stem in ON_BOTH_LOOPS else loops


@pytest.fixture
def engine() -> str:
    return "hub"


@pytest.fixture(autouse=True)
def _calm(request: pytest.FixtureRequest) -> None:
    """Check the log in every test of this folder that runs on an event loop."""
    if "world" in request.fixturenames:
        request.getfixturevalue("shared_calm")
    elif request.node.get_closest_marker("asyncio") is not None:
        request.getfixturevalue("calm")


# One hub for all tests of a module, in the module's event loop: starting one takes longer than most tests.


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    """A hub with the module's ``SETTINGS`` and ``application(world)``."""
    clock = FakeClock()
    issuer = issuer_at(clock)
    hub = Hub(issuer.verifier(), clock=clock, **getattr(request.module, "SETTINGS", {}))
    world = World(hub, hub.guard, issuer, clock)
    request.module.application(world)
    async with serve(hub) as world.host:
        yield world


@pytest_asyncio.fixture(loop_scope="module")
async def world(server: World) -> AsyncIterator[World]:
    """The module's hub, without clients; after the test, nothing is left of its clients."""
    server.calls.clear()
    yield server
    hub = server.sio
    hub.sessions.close_all()
    await until(lambda: not hub.guard.index.connections)
    await server.settle()
    assert (hub.sessions.active, hub.application.rooms.by_sid, hub.guard.index.sockets) == ({}, {}, {})


@pytest_asyncio.fixture(loop_scope="module")
async def shared_calm(caplog: pytest.LogCaptureFixture) -> AsyncIterator[None]:
    async with calmly(caplog):
        yield
