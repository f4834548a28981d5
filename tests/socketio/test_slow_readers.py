"""A client that does not read what is sent to it is closed, and keeps nobody else waiting."""

from __future__ import annotations

import json

import pytest
from support.live import Poll, until
from support.rawsocket import PATIENCE
from support.sync_live import join, serving
from support.sync_world import SyncWorld

LARGE = "x" * 10_000


@pytest.mark.checklist("E75")
async def test_client_that_does_not_poll_is_closed(make_world, caplog):
    world = await make_world(max_unsent=200_000)
    poll = await Poll.member(world.host, world.token())
    for _ in range(20):
        await world.sio.emit("news", LARGE)
    assert len(world.guard.sockets()) == 1
    for _ in range(20):
        await world.sio.emit("news", LARGE)
    assert not world.guard.sockets()
    await until(lambda: not world.guard.index.connections)
    told = [json.loads(one.getMessage()) for one in caplog.records if "reads too slowly" in one.getMessage()]
    assert [(line["event"], line["address"], line["max_unsent"]) for line in told] == [("closed", "127.0.0.1", 200_000)]
    await poll.close()


@pytest.mark.checklist("E75")
async def test_client_that_never_reads_is_closed_and_others_are_served(make_world):
    world = await make_world(max_unsent=200_000)
    deaf, other = await world.member(), await world.member("eve")
    deaf.ws.transport.pause_reading()
    for number in range(3000):
        if len(world.guard.sockets()) == 1:
            break
        await world.sio.emit("news", LARGE + str(number))
        assert str(number) in str(await other.receive())
    assert [socket.identity.subject for socket in world.guard.sockets()] == ["eve"]
    await until(lambda: len(world.guard.index.connections) == 1)
    deaf.ws.transport.abort()


@pytest.mark.checklist("E75")
def test_thread_server_closes_a_client_that_never_reads_and_serves_others():
    world = SyncWorld(max_unsent=200_000)
    with serving(world) as host, join(host, world.token()), join(host, world.token("eve")) as other:
        for number in range(3000):
            if len(world.guard.sockets()) == 1:
                break
            world.sio.emit("news", LARGE + str(number))
            assert str(number) in str(other.recv(PATIENCE))
        assert [socket.identity.subject for socket in world.guard.sockets()] == ["eve"]
        world.guard.settle()
        assert len(world.guard.index.connections) == 1
