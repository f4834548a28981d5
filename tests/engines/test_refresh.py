"""A later token on a live socket, and the end of the last one."""

from __future__ import annotations

import asyncio

import pytest
from support.live import Poll, until
from support.tokens import EXPIRED
from support.world import rooms_world

from roomkey.socketio import Authenticate, Handshake


@pytest.mark.parametrize("way", [Handshake(), Authenticate()], ids=["handshake", "authenticate"])
async def test_a_refresh_moves_the_deadline_and_the_rights(make_world, way):
    world = await rooms_world(make_world, via=way, grace=5)
    client = await world.client()
    first = {"token": world.token(expires_in=100)}
    await client.ask(first)
    if isinstance(way, Authenticate):
        await client.event("authenticate", first)
        await client.expect_event("authenticated")
    await world.tick(90)
    await client.event("authenticate", {"token": world.token(expires_in=100, rooms=["blue"])}, ack=7)
    assert await client.expect_event("authenticated") == [{"expires_in": 100}]
    await client.event("join-room", "blue", ack=1)
    assert (await client.expect_ack(1))[0]["ok"] is True
    await world.tick(100)
    assert client.inbox.empty()
    await world.tick(6)
    [told] = await client.expect_event("unauthorized")
    assert told["data"]["reason"] == "token_expired"


async def test_a_refresh_with_another_subject_closes_for_good(make_world):
    world = await make_world()
    client = await world.member("ada", expires_in=100)
    await client.event("authenticate", {"token": world.token("eve", expires_in=500)})
    [told] = await client.expect_event("unauthorized")
    assert told["data"]["reason"] == "subject_mismatch"
    assert await client.receive() == "41"
    assert await client.is_closed()


async def test_a_refresh_that_is_refused_keeps_the_old_token_until_its_time(make_world):
    world = await make_world(grace=0)
    client = await world.member("ada", expires_in=100)
    for token in (world.token(expires_in=50), "rubbish"):
        await client.event("authenticate", {"token": token})
        await client.expect_event("unauthorized")
    await world.tick(99)
    assert client.inbox.empty()
    await world.tick(1)
    assert (await client.expect_event("unauthorized"))[0]["data"]["reason"] == "token_expired"


async def test_expiry_says_why_and_lets_the_client_return(make_world):
    world = await make_world(grace=25)
    client = await world.member(expires_in=100)
    await world.tick(124.9)
    assert client.inbox.empty()
    await world.tick(0.2)
    [told] = await client.expect_event("unauthorized")
    assert told["data"] == EXPIRED | {"expired_at": 1_800_000_100}
    assert await client.is_closed()
    assert "41" not in client.seen


async def test_expiry_reaches_a_polling_client(make_world):
    world = await make_world(grace=0)
    poll = await Poll.member(world.host, world.token(expires_in=10))
    waiting = asyncio.create_task(poll.get())
    await asyncio.sleep(0.05)
    await world.tick(10)
    assert "token_expired" in str(await waiting)
    await until(lambda: not world.guard.registry.connections)
    await poll.close()
