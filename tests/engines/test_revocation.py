"""Cancelled tokens, and the live sockets that they opened."""

from __future__ import annotations

import asyncio

import pytest
from support.world import rooms_world

from roomkey import ConfigError, PermissionDenied, Policy


@pytest.mark.parametrize("key", ["token_id", "session_id", "subject"])
async def test_revocation_ends_live_sockets_for_good(make_world, key):
    world = await make_world()
    mine = {"token_id": "t1", "session_id": "s1"}
    first = await world.member("ada", **mine)
    other = await world.member("grace", token_id="t2", session_id="s2")
    ended = await world.guard.revoke(**{key: {"subject": "ada"}.get(key) or mine[key]})
    assert ended == 1
    [told] = await first.expect_event("unauthorized")
    assert told["data"]["reason"] == "token_revoked"
    assert "retry" not in told["data"]
    assert await first.receive() == "41"
    assert await first.is_closed()
    assert other.inbox.empty()
    again = await world.client()
    assert (await again.ask_data({"token": world.token("ada", **mine)}))["message"] == "jwt revoked"


async def test_revoke_takes_exactly_one_name_and_no_future(make_world):
    world = await make_world()
    for wrong in ({}, {"token_id": "a", "subject": "b"}, {"subject": "a", "issued_before": 1_900_000_000}):
        with pytest.raises(ConfigError):
            await world.guard.revoke(**wrong)


async def test_a_join_that_waits_loses_against_a_revocation(make_world):
    gate, inside = asyncio.Event(), asyncio.Event()
    policy = Policy()

    @policy.room("*")
    async def slow(who, room):
        inside.set()
        await gate.wait()
        return True

    world = await rooms_world(make_world, policy=policy)
    client = await world.member()
    sid = world.sid()
    await client.event("join-room", "red")
    await inside.wait()
    await world.guard.revoke(subject="ada")
    gate.set()
    assert await client.is_closed()
    assert world.rooms() == {}
    with pytest.raises(PermissionDenied):
        await world.guard.enter_room(sid, "red")
