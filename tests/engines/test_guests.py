"""Clients without a token can be admitted as guests, and can authenticate on the same socket."""

from __future__ import annotations

import pytest
from support.live import refused_status, until

from roomkey import Policy
from roomkey.socketio import Authenticate, Handshake

WAYS = pytest.mark.parametrize(
    "via", [Handshake(), Authenticate(), (Handshake(), Authenticate())], ids=["handshake", "authenticate", "both"]
)


@pytest.fixture
def hall(offline):
    """``hall(**settings)``: a server where everybody may join ``hall`` and guests may not join ``club``."""

    def make(**settings):
        policy = Policy()
        policy.room("hall")(lambda who: True)
        policy.room("club")(lambda who: not who.is_guest)
        server = offline(policy=policy, required=False, **settings)
        server.connected = []

        @server.sio.event
        async def connect(sid, environ, auth=None):
            server.connected.append((sid, server.guard.identity(sid).is_guest))

        return server

    return make


async def guest(server):
    client = await server.client()
    client.begin_connect(None)
    await server.settle()
    assert client.got[0].startswith("0"), client.got
    return client


async def join(server, client, room, ack=1):
    client.begin_event("join-room", room, ack=ack)
    await server.settle()
    return client.answered(ack)[-1]["ok"]


@WAYS
async def test_client_without_a_token_is_a_guest(hall, via):
    server = hall(via=via)
    client = await guest(server)
    who = server.guard.identity(server.sid(client))
    assert (who.is_guest, who.subject, who.roles, who.rooms, who.source) == (True, "", frozenset(), (), "guest")
    assert server.connected == [(server.sid(client), True)]
    assert await join(server, client, "hall")
    assert not await join(server, client, "club", ack=2)
    await server.tick(10_000)  # nothing runs out
    assert not client.session.closed


@pytest.mark.checklist("C34")
@pytest.mark.parametrize("via", [Handshake(), (Handshake(), Authenticate())], ids=["handshake", "both"])
@pytest.mark.parametrize("auth", ['{"token":"rubbish"}', '{"token":"Basic x"}', '{"token":42}', "[]"])
async def test_bad_token_does_not_make_a_guest(hall, via, auth):
    server = hall(via=via)
    client = await server.client()
    client.begin("0" + auth)
    await server.settle()
    assert client.got[0].startswith("4")
    assert client.session.closed


NOTHING = pytest.mark.parametrize("auth", [{"token": None}, {"token": ""}, {"nick": "ada"}], ids=str)
BASIC = {"Authorization": "Basic eDp5"}  # a browser repeats the credentials for its proxy


@NOTHING
async def test_empty_token_makes_a_guest(make_world, auth):
    world = await make_world(required=False)
    client = await world.client(headers=BASIC)
    assert (await client.ask(auth)).startswith("40")
    assert world.guard.identity(world.sid()).is_guest


@NOTHING
async def test_empty_token_waits_for_authenticate(make_world, auth):
    world = await make_world(via=(Handshake(), Authenticate()))
    client = await world.client(headers=BASIC)
    assert (await client.ask(auth)).startswith("40")
    await world.sio.emit("news", 1)
    assert await client.quiet(0.05) == []
    await client.event("authenticate", {"token": world.token()})
    await client.expect_event("authenticated")


@pytest.mark.checklist("C34")
@NOTHING
async def test_empty_token_is_refused_as_missing(make_world, auth):
    world = await make_world()
    client = await world.client(headers=BASIC)
    assert (await client.ask_data(auth))["data"]["code"] == "credentials_required"
    assert await client.is_closed()


async def test_basic_authorization_header_does_not_hide_the_token(make_world):
    world = await make_world()
    client = await world.client(headers=BASIC)
    assert (await client.ask({"token": world.token()})).startswith("40")


@WAYS
async def test_guest_can_authenticate_on_the_same_socket(hall, via):
    server = hall(via=via)
    client = await guest(server)
    sid = server.sid(client)
    await join(server, client, "hall")
    client.begin_event("authenticate", {"token": server.token(roles=["member"], expires_in=100)}, ack=2)
    await server.settle()
    assert client.answered(2) == [{"expires_in": 100}]
    assert server.sid(client) == sid
    who = server.guard.identity(sid)
    assert (who.subject, who.is_guest, who.source) == ("ada", False, "event")
    assert server.members("hall") == {sid}
    assert await join(server, client, "club", ack=3)
    assert server.connected == [(sid, True)]  # called once
    await server.tick(80)
    assert len(client.heard("token_expiring")) == 1
    await server.tick(45)
    assert client.session.closed


@pytest.mark.checklist("C47")
async def test_bad_token_keeps_the_guest_and_counts_as_an_attempt(hall):
    server = hall()
    client = await guest(server)
    for _ in range(2):
        client.begin_event("authenticate", {"token": "rubbish"})
        await server.settle()
        assert server.guard.identity(server.sid(client)).is_guest
    client.begin_event("authenticate", {"token": "rubbish"})
    await server.settle()
    assert client.session.closed


@pytest.mark.checklist("J4")
async def test_authenticated_guest_keeps_its_subject(hall):
    server = hall()
    client = await guest(server)
    for subject in ("ada", "eve"):
        client.begin_event("authenticate", {"token": server.token(subject)})
        await server.settle()
    assert [told["data"]["reason"] for told in client.heard("unauthorized")] == ["subject_mismatch"]
    assert client.session.closed


@pytest.mark.checklist("J3")
async def test_guest_rooms_are_left_after_authentication(offline):
    policy = Policy()
    policy.room("lounge")(lambda who: who.is_guest)
    server = offline(policy=policy, required=False)
    client = await guest(server)
    await join(server, client, "lounge")
    client.begin_event("authenticate", {"token": server.token()})
    await server.settle()
    assert client.heard("permissions_changed") == [{"left": ["lounge"]}]
    assert server.members("lounge") == set()


async def test_namespace_can_be_closed_to_guests(offline):
    policy = Policy()
    policy.namespace("/")(lambda who: not who.is_guest)
    server = offline(policy=policy, required=False)
    client = await server.client()
    client.begin_connect(None)
    await server.settle()
    assert "Insufficient permissions" in client.got[0]


@pytest.mark.checklist("E76")
async def test_address_limit_counts_guests_and_not_users(make_world):
    world = await make_world(required=False, max_anonymous=2)
    first, _second = await world.client(), await world.client()
    for client in (first, _second):
        assert (await client.ask()).startswith("40")
    assert await refused_status(world.host) in (400, 401, 403, 429)
    await first.event("authenticate", {"token": world.token()})
    await first.expect_event("authenticated")
    third = await world.client()
    assert (await third.ask()).startswith("40")
    await first.close()  # it was subtracted when it authenticated, and not a second time
    await until(lambda: len(world.guard.index.connections) == 2)
    assert world.guard.index._anonymous == {"127.0.0.1": 2}


async def test_revoking_a_subject_keeps_guests(hall):
    server = hall()
    client = await guest(server)
    assert await server.guard.revoke(subject="ada") == 0
    assert server.admission(client).admitted
    assert server.admission(await guest(server)).admitted


async def test_relayed_emit_of_a_guest_has_no_sender(hall):
    server = hall()
    server.guard.relay("say")
    client, other = await guest(server), await guest(server)
    for one in (client, other):
        await join(server, one, "hall")
    client.begin_event("say", "hall", "hello")
    await server.settle()
    assert other.heard("say") == [{"room": "hall", "from": "", "data": "hello"}]
