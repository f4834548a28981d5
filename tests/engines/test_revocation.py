"""Revoked tokens, and the sockets that they admitted."""

from __future__ import annotations

import asyncio

import jwt
import pytest
from support.world import Gate, rooms_world

from roomkey import ConfigError, PermissionDenied, Policy, Verifier

SECRET = "kT9vX2mQ8rL4wZ7yB1nC6dF3gH5jP0sA"


@pytest.mark.checklist("J2")
@pytest.mark.parametrize("key", ["token_id", "session_id", "subject"])
async def test_revocation_disconnects_sockets_permanently(make_world, key):
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


async def test_revoke_requires_exactly_one_name_and_no_future_time(make_world):
    world = await make_world()
    for wrong in ({}, {"token_id": "a", "subject": "b"}, {"subject": "a", "issued_before": 1_900_000_000}):
        with pytest.raises(ConfigError):
            await world.guard.revoke(**wrong)


@pytest.mark.checklist("F88")
async def test_join_waiting_for_a_rule_is_denied_by_a_revocation(make_world):
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


RACES = 1000


@pytest.mark.checklist("F88")
async def test_join_during_a_revocation_never_leaves_a_member(offline):
    """Repeated a thousand times, with the revocation at every turn of the event loop that the join takes."""
    policy, waits = Policy(), 0

    @policy.room("*")
    async def rule(who, room):
        for _ in range(waits):
            await asyncio.sleep(0)
        return True

    server = offline(policy=policy)
    joined_first = 0
    for number in range(RACES):
        waits, turns_before = number % 5, number // 5 % 10
        client = await server.member(token_id=f"t{number}")
        sid = server.sid(client)
        client.begin_event("join-room", "red")
        for _ in range(turns_before):
            await asyncio.sleep(0)
        joined_first += sid in server.members("red")
        assert await server.guard.revoke(token_id=f"t{number}") == 1
        await server.settle()
        assert client.session.closed
        assert server.members("red") == set()
        server.clients.clear()
    assert 100 < joined_first < RACES - 100  # the revocation came before some joins and after others


@pytest.mark.checklist("F88")
async def test_join_during_a_role_loss_never_leaves_a_member(offline):
    policy, waits = Policy(), 0

    @policy.room("*")
    async def rule(who, room):
        for _ in range(waits):
            await asyncio.sleep(0)
        return who.has_role("member")

    server = offline(policy=policy)
    joined_first = 0
    for number in range(RACES):
        waits, turns_before = number % 5, number // 5 % 10
        client = await server.member(f"user {number}", roles=["member"])
        client.begin_event("join-room", "red", ack=1)
        for _ in range(turns_before):
            await asyncio.sleep(0)
        joined_first += server.sid(client) in server.members("red")
        assert await server.guard.update(f"user {number}", roles=[]) == 1
        await server.settle()
        assert server.members("red") == set()
        assert server.admission(client).rooms == frozenset()
        await client.session.lose()
        server.clients.clear()
    assert 100 < joined_first < RACES - 100


@pytest.mark.parametrize("issuer", [None, "https://login.example", "https://another.example"])
async def test_revoke_can_be_limited_to_an_issuer(offline, issuer):
    server = offline()
    client = await server.member()
    ended = await server.guard.revoke(subject="ada", issuer=issuer)
    assert ended == (issuer != "https://another.example")
    await server.settle()
    assert client.session.closed == bool(ended)


async def test_revoking_a_subject_includes_earlier_tokens_only(offline):
    server = offline()
    old = await server.member()
    await server.tick(10)
    before = server.clock.now() - 1
    new = await server.member()
    assert await server.guard.revoke(subject="ada", issued_before=before) == 1
    await server.settle()
    assert [old.session.closed, new.session.closed] == [True, False]


@pytest.mark.checklist("G103")
async def test_revocation_refuses_a_connection_being_decided(offline):
    gate, policy = Gate(), Policy()
    policy.namespace("/")(gate)
    server = offline(policy=policy)
    client = await server.client()
    client.begin_connect(server.token())
    await asyncio.wait_for(gate.reached.wait(), 20)
    await server.guard.revoke(subject="ada")
    gate.open.set()
    await server.settle()
    assert client.got[0].startswith("4")
    assert "jwt revoked" in client.got[0]
    assert client.session.closed


UNDATED = Verifier.hs256(SECRET)


def undated(server, lifetime):
    """Return a token without ``iat``, as fastapi-users issues them."""
    return jwt.encode({"sub": "ada", "exp": server.clock.now() + lifetime}, SECRET, algorithm="HS256")


async def connect(server, token):
    client = await server.client()
    client.begin_connect(token)
    return client, (await client.settle())[0][0] == "0"


@pytest.mark.checklist("I119")
async def test_revoked_subject_returns_with_a_newer_token_without_iat(offline):
    """A token without ``iat`` counts as old, unless it expires after all revoked tokens."""
    server = offline(verifier=UNDATED)
    old = undated(server, 900)
    await connect(server, old)
    assert await server.guard.revoke(subject="ada", expires_at=server.clock.now() + 900) == 1
    server.clock.advance(1)
    assert [(await connect(server, token))[1] for token in (old, undated(server, 900))] == [False, True]


@pytest.mark.checklist("I119")
async def test_revocation_requires_an_expiry_if_tokens_have_no_iat(offline):
    server = offline(verifier=UNDATED)
    client, _ = await connect(server, undated(server, 900))
    with pytest.raises(ConfigError, match="pass expires_at"):
        await server.guard.revoke(subject="ada")
    assert not client.session.closed
    assert await server.guard.revoke(token_id="another") == 0  # a token's own name needs no date
    assert await server.guard.revoke(subject="ada", expires_at=float("inf")) == 1  # permanently, as requested


async def test_revocation_reaches_a_connected_token_that_expires_later_than_it_says(offline):
    server = offline(verifier=UNDATED)
    token = undated(server, 3600)
    await connect(server, token)
    assert await server.guard.revoke(subject="ada", expires_at=server.clock.now() + 10) == 1
    assert not (await connect(server, token))[1]


async def test_refusal_of_a_token_without_iat_says_why_in_the_log(offline, caplog):
    server = offline(verifier=UNDATED)
    await server.guard.revoke(subject="ada", expires_at=server.clock.now() + 900)
    await connect(server, undated(server, 900))
    assert "no iat" in caplog.text


@pytest.mark.parametrize("unnamed", [("ada",), ("ada", "login")])
async def test_revocation_of_something_unnamed_says_how_to_name_it(offline, unnamed):
    with pytest.raises(ConfigError, match=r"revoke\(subject='ada'\)"):
        await offline().guard.revoke(*unnamed)
