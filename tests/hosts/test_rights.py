"""What an admitted client may do: rooms, events, and the limits of its packets and of its subject."""

from __future__ import annotations

import json

import pytest
from hosts.clients import replies
from hosts.host import needs
from support.live import Poll
from support.world import NOT_THE_OWNER


async def ask(client, event, *arguments, ack=1):
    await client.event(event, *arguments, ack=ack)
    return (await client.expect_ack(ack))[0]


async def test_room_of_the_token_can_be_joined_and_left(start, transport):
    bench = await start()
    client, other = await bench.member("ada", transport, rooms=["red"]), await bench.member("eve", transport)
    assert (await ask(client, "join-room", "red"))["ok"] is True
    await bench.server.emit("news", 1, room="red")
    assert await client.expect_event("news") == [1]
    assert (await ask(client, "leave-room", "red"))["ok"] is True
    await bench.server.emit("news", 2, room="red")
    await bench.server.emit("news", 3)
    assert await client.expect_event("news") == [3]
    assert await other.expect_event("news") == [3]


@pytest.mark.parametrize("event", ["join-room", "enter"])
async def test_other_room_is_denied_to_client_and_application(start, transport, event):
    bench = await start()
    client = await bench.member(transport=transport, rooms=["red"])
    answer = await ask(client, event, "blue")
    assert (answer["ok"], answer["error"]["reason"]) == (False, "permission_denied")
    await bench.server.emit("news", 1, room="blue")
    await bench.server.emit("news", 2)
    assert await client.expect_event("news") == [2]


@pytest.mark.checklist("K16")
async def test_room_of_another_user_is_denied(start):
    bench = await start()
    victim, client = await bench.client(), await bench.member("eve", rooms=["*"])
    sid = json.loads((await victim.ask({"token": bench.token("victim")}))[2:])["sid"]
    for number, room in enumerate((sid, "user:victim")):
        assert (await ask(client, "join-room", room, ack=number + 1))["ok"] is False


async def test_user_room_reaches_its_subject_only(start):
    bench = await start()
    ada, eve = await bench.member("ada"), await bench.member("eve")
    await bench.server.emit("news", "for ada", room="user:ada")
    await bench.server.emit("news", "for all")
    assert await ada.expect_event("news") == ["for ada"]
    assert await eve.expect_event("news") == ["for all"]


@needs("update")
async def test_update_leaves_rooms_and_informs_the_client(start, transport):
    bench = await start()
    client = await bench.member(transport=transport, rooms=["red", "blue"])
    assert (await ask(client, "join-room", "red"))["ok"] is True
    assert await bench.server.update("ada", rooms=["blue"]) == 1
    assert await client.expect_event("permissions_changed") == [{"left": ["red"]}]
    await bench.server.emit("news", 1, room="red")
    await bench.server.emit("news", 2)
    assert await client.expect_event("news") == [2]


async def test_event_rule_denies_and_the_socket_stays(start):
    bench = await start()
    client = await bench.member()
    answer = await ask(client, "vote")
    assert answer["error"]["reason"] == "permission_denied"
    assert await replies(client)
    assert "vote" not in [call[0] for call in bench.server.calls]
    voter = await bench.member("eve", roles=["voter"])
    await voter.event("vote")
    assert await replies(voter)
    assert ("vote", "/", "eve") in bench.server.calls


@pytest.mark.checklist("K14")
@pytest.mark.parametrize("name", ["connect", "disconnect", "connect_error", "disconnecting", "newListener"])
async def test_reserved_event_name_closes_and_calls_nothing(start, name):
    bench = await start()
    client = await bench.member()
    await client.event(name, {"forged": 1}, {"token": "forged"})
    assert await client.is_closed()
    await bench.server.settle()
    assert not any("forged" in str(call) for call in bench.server.calls)


@pytest.mark.checklist("K12", "K17", "K19")
@pytest.mark.parametrize("packet", ['4511-["x"]', '450-["x"]', '42["echo",NaN]', "42[1]x", "42{}"])
async def test_malformed_packet_closes_its_connection_only(start, packet):
    bench = await start()
    client, other = await bench.member("ada"), await bench.member("eve")
    await client.send(packet)
    assert await client.is_closed()
    assert await replies(other)


async def test_large_packet_before_admission_closes(start, transport):
    bench = await start()
    client = await bench.client(transport)
    await client.send("40" + json.dumps({"token": "x" * 20_000}))
    assert await client.is_closed()


async def test_connections_without_a_token_are_bounded_per_address(start):
    bench = await start(max_anonymous=2)
    waiting = [await bench.client() for _ in range(2)]
    poll = Poll(bench.server.address)
    assert (await poll.http.get(poll.url())).status_code in (401, 403, 429)
    assert (await waiting[0].ask({"token": bench.token()})).startswith("40")
    assert await replies(await bench.member("eve"))
    await poll.close()


@needs("subject_limits")
async def test_sockets_of_a_subject_are_bounded(start):
    bench = await start(sockets_per_subject=1)
    first = await bench.member("ada")
    second = await bench.client()
    assert (await second.ask_data({"token": bench.token("ada")}))["data"]["reason"] == "limit_exceeded"
    assert await replies(await bench.member("eve"))
    assert await replies(first)


@pytest.mark.checklist("K15")
@needs("polling", "session_binding")
@pytest.mark.parametrize("token", [None, "eve"])
async def test_poll_of_another_owner_is_refused(start, token):
    bench = await start()
    owner = await bench.client("polling", headers={"Authorization": f"Bearer {bench.token()}"})
    assert (await owner.ask()).startswith("40")
    headers = None if token is None else {"Authorization": f"Bearer {bench.token(token)}"}
    thief = Poll(bench.server.address, headers)
    thief.sid = owner.poll.sid
    assert await thief.answer() == NOT_THE_OWNER
    assert (await thief.post('42["echo","forged"]')).status_code == 403
    assert await replies(owner)
    assert not any("forged" in str(call) for call in bench.server.calls)
    await thief.close()
