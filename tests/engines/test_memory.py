"""roomkey keeps nothing of a closed connection."""

from __future__ import annotations

import asyncio
import gc
import weakref
from types import ModuleType
from typing import Any

import pytest
from support.live import Poll, until

from roomkey.hub import Hub
from roomkey.socketio import Authenticate, Handshake


class Marker(dict[Any, Any]):
    """A dictionary that can be referenced weakly, to observe when its owner is collected."""


def watch(world) -> list[weakref.ref[Marker]]:
    """Return weak references to what is kept of the only connection and of its opening request."""
    [connection] = world.guard.index.connections
    connection.sockets = Marker(connection.sockets)
    if isinstance(world.sio, Hub):
        request = world.sio.sessions.active[connection.host.eio_sid].request
        request.headers = Marker(request.headers)
        kept = request.headers
    else:
        kept = world.sio.environ[connection.host.eio_sid]["marker"] = Marker()
    return [weakref.ref(connection.sockets), weakref.ref(kept)]


def holds(kept: object, token: str) -> bool:
    """Return True if an object leads to a token, through the frames of a traceback or otherwise."""
    seen, left = set(), [kept]
    while left:
        one = left.pop()
        if one == token:
            return True
        if id(one) not in seen and not isinstance(one, type | ModuleType):
            seen.add(id(one))
            left += gc.get_referents(one)
    return False


@pytest.mark.checklist("H113")
@pytest.mark.parametrize("form", ["{}x", "a*c.{}", "{}.x", "x{}", "Bearer {} x"], ids=str)
async def test_error_of_a_refusal_does_not_hold_the_token(make_world, form):
    """Callbacks and the guard keep errors: their frames and causes would keep the token and the connection."""
    world = await make_world()
    token = form.format(world.token())
    client = await world.client()
    assert (await client.ask({"token": token})).startswith("44")
    await client.is_closed()
    [(error, _address)] = world.refusals
    assert not holds(error, token)


class OverWebSocket:
    async def open(self, world):
        self.client = await world.client()

    async def connect(self, payload):
        return await self.client.ask(payload)

    async def close(self):
        await self.client.close()


class OverPolling:
    async def open(self, world):
        self.client = await Poll(world.host).open()

    async def connect(self, payload):
        await self.client.post(f'40{{"token":"{payload["token"]}"}}')
        return (await self.client.get())[0]

    async def close(self):
        await self.client.post("1")
        await self.client.close()


@pytest.mark.checklist("J7")
@pytest.mark.parametrize("transport", [OverWebSocket, OverPolling])
@pytest.mark.parametrize(
    ("way", "says"), [(Handshake(), "40"), (Handshake(), "44"), (Authenticate(), "40"), (Handshake(), None)], ids=str
)
async def test_closed_connection_leaves_nothing(make_world, way, says, transport):
    """Neither the guard's state nor the opening request is kept, whoever closes and whatever was sent."""
    gc.collect()
    gc.freeze()  # or each of the following collections would visit what all tests before have left
    world = await make_world(via=way)
    client = transport()
    await client.open(world)
    markers = watch(world)
    if says is not None:
        assert (await client.connect({"token": world.token() if says == "40" else "bad"})).startswith(says)
    await client.close()
    await until(lambda: not world.guard.index.connections)
    await world.tick(2.0)

    def is_gone():
        gc.collect()
        return all(marker() is None for marker in markers)

    await until(is_gone)
    # engineio waits for its next ping up to ping_interval, and keeps the connection's queue so long.
    await until(lambda: not any("_heartbeat" in repr(task.get_coro()) for task in asyncio.all_tasks()))
