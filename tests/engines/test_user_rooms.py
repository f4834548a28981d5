"""A room for each subject, with which an application reaches all devices of a user."""

from __future__ import annotations

import pytest

from roomkey import ConfigError, Policy
from roomkey.socketio import Authenticate, Handshake

WAYS = pytest.mark.parametrize("via", [Handshake(), Authenticate()], ids=["handshake", "authenticate"])


async def enter(server, subject, via=None):
    client = await server.client()
    token = server.token(subject)
    if isinstance(via, Authenticate):
        client.begin_connect(None)
        await server.settle()
        assert server.sid(client) not in server.members(f"user:{subject}")
        client.begin_event("authenticate", {"token": token})
    else:
        client.begin_connect(token)
    await server.settle()
    return client


@WAYS
async def test_user_room_reaches_every_socket_of_its_subject_only(offline, via):
    server = offline(via=via)
    phone, desk, eve = [await enter(server, name, via) for name in ("ada", "ada", "eve")]
    await server.sio.emit("news", "for ada", room=server.guard.subject_room("ada"))
    await server.settle()
    assert [client.heard("news") for client in (phone, desk, eve)] == [["for ada"], ["for ada"], []]
    await phone.session.lose()
    await server.settle()
    assert server.members("user:ada") == {server.sid(desk)}


@pytest.mark.parametrize("engine", ["hub"])
async def test_hub_can_emit_to_a_subject(offline):
    server = offline(namespaces=("/", "/chat"))
    ada, eve = await enter(server, "ada"), await enter(server, "eve")
    ada.begin_connect(server.token("ada"), "/chat")
    await server.settle()
    await server.sio.emit("news", 1, to_subject="ada")
    await server.sio.emit("news", 2, to_subject="nobody")
    await server.sio.emit("news", 3, to_subject="ada", namespace="/chat")
    await server.sio.emit("news", 4, to_subject="ada", skip_sid=server.sid(ada))
    await server.settle()
    assert [packet for packet in ada.got if "news" in packet] == ['2["news",1]', '2/chat,["news",3]']
    assert eve.heard("news") == []
    with pytest.raises(ConfigError):
        await server.sio.emit("news", 5, to="red", to_subject="ada")


async def test_user_room_belongs_to_its_namespace(offline):
    server = offline(namespaces=("/", "/chat"))
    client = await enter(server, "ada")
    assert server.members("user:ada", "/chat") == set()
    client.begin_connect(server.token("ada"), "/chat")
    await server.settle()
    assert server.members("user:ada") == {server.sid(client)}
    assert server.members("user:ada", "/chat") == {server.sid(client, "/chat")}


async def test_guest_has_no_user_room_until_it_authenticates(offline):
    server = offline(required=False)
    client = await server.client()
    client.begin_connect(None)
    await server.settle()
    assert server.members("user:") == server.members("user:guest") == set()
    client.begin_event("authenticate", {"token": server.token()})
    await server.settle()
    assert server.members("user:ada") == {server.sid(client)}


async def test_user_rooms_can_be_turned_off(offline):
    server = offline(user_rooms=False)
    await enter(server, "ada")
    assert server.members("user:ada") == set()


async def test_update_and_refresh_keep_the_user_room(offline):
    server = offline(policy=Policy())
    client = await server.member(expires_in=100)
    await server.guard.update("ada", roles=[], rooms=[])
    await server.tick(10)
    client.begin_event("authenticate", {"token": server.token(expires_in=100)})
    await server.settle()
    assert server.members("user:ada") == {server.sid(client)}
    assert client.heard("permissions_changed") == []


async def test_client_cannot_leave_its_user_room(offline):
    server = offline()
    client = await server.member()
    client.begin_event("leave-room", "user:ada")
    await server.settle()
    assert server.members("user:ada") == {server.sid(client)}


async def test_rule_for_user_rooms_keeps_the_membership(offline):
    policy = Policy()
    policy.room("user:{name}")(lambda who, name: who.has_role("member") and who.subject == name)
    server = offline(policy=policy)
    client = await server.client()
    client.begin_connect(server.token("ada", roles=["member"]))
    await server.settle()
    await server.guard.enter_room(server.sid(client), "user:ada")
    await server.guard.update("ada", roles=[])
    await server.guard.leave_room(server.sid(client), "user:ada")
    assert server.members("user:ada") == {server.sid(client)}
