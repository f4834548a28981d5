"""What the operator learns of rejected tokens, and what counts as one, with both engines."""

from __future__ import annotations

import json
import logging

import pytest
from support.live import Poll
from support.world import NOT_THE_OWNER

NOT_SIGNED_HERE = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhZGEifQ.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"


async def refused(world, token):
    client = await world.client()
    await client.send("40" + json.dumps({"token": token}))
    return json.loads(str(await client.receive())[2:])["data"]["code"]


@pytest.mark.checklist("C47")
async def test_address_over_the_limit_is_reported_once_per_minute(make_world, engine, caplog):
    world = await make_world(max_bad_tokens=2)
    told = []
    world.guard.on_refused(lambda error, address: told.append(error.code))
    with caplog.at_level(logging.WARNING, "roomkey.audit"):
        codes = [await refused(world, NOT_SIGNED_HERE) for _ in range(8)]
    await world.guard.settle()
    lines = [json.loads(record.getMessage())["code"] for record in caplog.records if record.name == "roomkey.audit"]
    assert codes == ["invalid_token"] * 2 + ["too_many_attempts"] * 6
    assert told == lines == ["invalid_token"] * 2 + ["too_many_attempts"]
    assert world.guard.statistics.refused["too_many_attempts"] == 6


async def test_renewal_with_an_older_valid_token_does_not_count(make_world, engine):
    world = await make_world(max_bad_tokens=1)
    older = world.token("ada", expires_in=500)
    client = await world.client()
    await client.ask({"token": world.token("ada", expires_in=600)})
    for _ in range(2):
        await client.event("authenticate", {"token": older}, ack=1)
        assert (await client.expect_ack(1))[0]["error"]["code"] == "invalid_token"
    assert await refused(world, NOT_SIGNED_HERE) == "invalid_token"


async def test_tokens_of_later_requests_of_a_session_count(make_world, engine):
    world = await make_world(max_bad_tokens=1)
    owner = await Poll(world.host, headers={"Authorization": f"Bearer {world.token()}"}).open()
    thief = Poll(world.host, headers={"Authorization": f"Bearer {NOT_SIGNED_HERE}"})
    thief.sid = owner.sid
    assert await thief.answer() == NOT_THE_OWNER
    assert await refused(world, NOT_SIGNED_HERE) == "too_many_attempts"
    for poll in (owner, thief):
        await poll.close()
