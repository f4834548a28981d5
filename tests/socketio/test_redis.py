"""Two guarded servers on one real Redis: the quarantine holds for what comes from another node."""

from __future__ import annotations

import asyncio

import pytest
import socketio
from support.live import until
from support.rawsocket import PATIENCE
from support.redis_server import redis_server

__all__ = ["redis_server"]


@pytest.fixture
async def two_nodes(make_world, redis_server):
    url = redis_server.url
    worlds = []
    for _node in range(2):
        manager = socketio.AsyncRedisManager(url)
        worlds.append(await make_world(server={"client_manager": manager}, prepare=lambda w: w.guard.serve_rooms()))
    yield worlds
    for world in worlds:
        if task := getattr(world.sio.manager, "thread", None):
            task.cancel()


async def listening(*worlds):
    """Both nodes hear each other: python-socketio subscribes when the first client comes."""
    for world in worlds:
        raw = await world.client()
        await raw.close()
    async with worlds[0].sio.manager.redis.client() as client, asyncio.timeout(PATIENCE):
        while (await client.pubsub_numsub("socketio"))[0][1] < len(worlds):
            await asyncio.sleep(0.01)


async def test_broadcast_from_another_node_reaches_admitted_sockets_only(two_nodes):
    here, there = two_nodes
    await listening(here, there)
    member = await there.member("ada", rooms=["red"])
    await member.event("join-room", "red", ack=1)
    await member.expect_ack(1)
    silent = await there.client()
    for room in (None, "red"):
        await here.sio.emit("news", "secret", room=room)
        assert await member.expect_event("news") == ["secret"]
    assert silent.inbox.empty()


async def test_quarantine_holds_across_nodes_while_a_decision_waits(make_world, redis_server):
    from roomkey import Policy

    gate, inside = asyncio.Event(), asyncio.Event()
    policy = Policy()

    @policy.namespace("/")
    async def slow(who):
        if who.subject == "slow":
            inside.set()
            await gate.wait()
        return True

    url = redis_server.url
    here = await make_world(server={"client_manager": socketio.AsyncRedisManager(url)})
    there = await make_world(server={"client_manager": socketio.AsyncRedisManager(url)}, policy=policy)
    await listening(here, there)
    fast = await there.member("fast")
    waiting = await there.client()
    asking = asyncio.create_task(waiting.ask({"token": there.token("slow")}))
    await inside.wait()
    await here.sio.emit("news", "secret")
    assert await fast.expect_event("news") == ["secret"]
    gate.set()
    assert (await asking).startswith("40")
    assert not any("secret" in str(packet) for packet in waiting.seen)
    for world in (here, there):
        world.sio.manager.thread.cancel()


@pytest.mark.checklist("F87")
async def test_room_named_like_a_socket_id_of_another_node_is_denied(two_nodes):
    here, there = two_nodes
    await listening(here, there)
    victim = await there.member("victim")
    sid = next(iter(there.guard.index)).sid
    eve = await here.member("eve", roles=["admin"])
    await eve.event("join-room", sid, ack=1)
    assert (await eve.expect_ack(1))[0]["ok"] is False
    await there.sio.emit("private", 1, to=sid)
    assert await victim.expect_event("private") == [1]
    assert await eve.quiet() == []


@pytest.mark.checklist("K20", "H110")
async def test_redis_failure_keeps_decisions_closed_and_sockets_connected(two_nodes, redis_server):
    here, _there = two_nodes
    member = await here.member("ada")
    redis_server.kill()
    stranger = await here.client()
    assert (await stranger.ask()).startswith("44")
    assert await stranger.is_closed()
    assert (await here.member("grace")).ws.close_code is None
    assert await here.guard.revoke(subject="ada") == 1
    assert await member.is_closed()
    await until(lambda: len(here.guard.index.sockets) == 1)
