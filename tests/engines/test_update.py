"""Changed rights of connected sockets: immediate, also for pending decisions, and valid until a newer token."""

from __future__ import annotations

import asyncio

import pytest
from support.offline import turns
from support.world import Gate

from roomkey import ConfigError, Policy


def staff_policy(**settings) -> Policy:
    policy = Policy(**settings)
    policy.namespace("/admin")(lambda who: who.has_role("admin"))
    policy.room("staff")(lambda who: who.has_role("admin"))
    policy.room("*")(lambda who, room: who.grants(room))
    return policy


async def join(server, client, *rooms, namespace=""):
    for room in rooms:
        client.begin_event("join-room", room, namespace=namespace)
    await server.settle()


@pytest.mark.checklist("J3")
async def test_update_leaves_rooms_immediately_and_informs_the_client(offline):
    server = offline(policy=staff_policy())
    ada = await server.member(roles=["admin"], rooms=["red", "blue"])
    eve = await server.member("eve", roles=["admin"], rooms=["red"])
    await join(server, ada, "red", "blue", "staff")
    await join(server, eve, "red", "staff")
    assert await server.guard.update("ada", roles=[], rooms=["blue"]) == 1
    await server.settle()
    assert ada.heard("permissions_changed") == [{"left": ["red", "staff"]}]
    assert server.members("red") == server.members("staff") == {server.sid(eve)}
    assert server.members("blue") == {server.sid(ada)}
    assert eve.heard("permissions_changed") == []
    assert not ada.session.closed


async def test_update_applies_new_rights_immediately(offline):
    server = offline(policy=staff_policy())
    ada = await server.member()
    await server.guard.update("ada", roles=["admin"], rooms={"team-*": ["join"]})
    await join(server, ada, "staff", "team-red")
    assert server.members("staff") == server.members("team-red") == {server.sid(ada)}
    who = server.guard.identity(server.sid(ada))
    assert (who.grants("team-red"), who.grants("team-red", "message")) == (True, False)


async def test_update_reaches_every_socket_of_the_subject(offline):
    server = offline(policy=staff_policy(), namespaces=("/", "/chat"))
    clients = [await server.member(rooms=["red"]), await server.member(rooms=["red"])]
    clients[0].begin_connect(server.token(rooms=["red"]), "/chat")
    await server.settle()
    assert await server.guard.update("ada", rooms=[]) == 3
    assert await server.guard.update("nobody", rooms=[]) == 0


@pytest.mark.checklist("F90")
async def test_losing_a_namespace_right_disconnects_that_namespace_only(offline):
    server = offline(policy=staff_policy(), namespaces=("/", "/admin"))
    left = []
    server.sio.on("disconnect", lambda sid, *reason: left.append(sid), namespace="/admin")
    ada = await server.member(roles=["admin"], rooms=["red"])
    ada.begin_connect(server.token(roles=["admin"]), "/admin")
    await server.settle()
    sid = server.sid(ada, "/admin")
    await join(server, ada, "red")
    ada.got.clear()
    await server.guard.update("ada", roles=["member"])
    await server.settle()
    assert server.admission(ada, "/admin") is None
    assert [packet.split("[")[0] for packet in ada.got] == ["2/admin,", "1/admin,"]
    assert [told["data"]["code"] for told in ada.heard("unauthorized")] == ["permission_denied"]
    assert left == [sid]
    assert not ada.session.closed
    assert server.members("red") == {server.sid(ada)}
    ada.begin_event("leave-room", "red", ack=1)  # the others go on
    ada.begin_event("anything", namespace="/admin")  # a packet that was under way harms nobody
    await server.settle()
    assert ada.answered(1) == [{"ok": True}]
    ada.begin_connect(server.token(roles=["admin"]), "/admin")  # an older token does not bring it back
    await server.settle()
    assert ada.got[-1].startswith("4/admin,")
    assert not ada.session.closed


async def test_losing_the_last_namespace_right_closes_the_connection(offline):
    server = offline(policy=staff_policy(), namespaces=("/", "/admin"))
    ada = await server.member("ada", "/admin", roles=["admin"])
    await server.guard.update("ada", roles=[])
    await server.settle()
    assert ada.session.closed


@pytest.mark.parametrize(("seconds", "older"), [(-5, True), (0, True), (0.9, True), (1, False)])
async def test_update_overrides_older_tokens_and_not_newer_ones(offline, seconds, older):
    server = offline(policy=staff_policy())
    server.clock.advance(10)
    await server.guard.update("ada", roles=["member"], rooms=[])
    server.clock.advance(seconds)
    token = server.token(roles=["admin"], rooms=["red"])
    server.clock.advance(6)
    client = await server.client()
    client.begin_connect(token)
    await server.settle()
    who = server.guard.identity(server.sid(client))
    assert (set(who.roles), who.rooms) == (({"member"}, ()) if older else ({"admin"}, ("red",)))


async def test_refresh_with_an_older_token_keeps_the_updated_rights(offline):
    server = offline(policy=staff_policy())
    older = server.token(roles=["admin"], rooms=["red"], expires_in=500)
    client = await server.member(roles=["admin"], rooms=["red"], expires_in=100)
    await join(server, client, "red", "staff")
    await server.tick(10)
    await server.guard.update("ada", roles=[], rooms=[])
    client.begin_event("authenticate", {"token": older}, ack=1)
    await server.settle()
    assert client.answered(1) == [{"expires_in": 490}]
    assert server.members("red") == server.members("staff") == set()
    await server.tick(10)
    client.begin_event("authenticate", {"token": server.token(roles=["admin"], expires_in=900)})
    await server.settle()
    await join(server, client, "staff")
    assert server.members("staff") == {server.sid(client)}


async def test_role_hierarchy_applies_to_rules_and_identity(offline):
    server = offline(policy=staff_policy(roles=["owner > admin > member"]))
    client = await server.member(roles=["owner"])
    assert server.guard.identity(server.sid(client)).roles == {"owner", "admin", "member"}
    await join(server, client, "staff")
    assert server.members("staff") == {server.sid(client)}
    await server.guard.update("ada", roles=["member"])
    assert server.guard.identity(server.sid(client)).roles == {"member"}
    assert server.members("staff") == set()
    await server.guard.update("ada", roles=["admin"])
    assert server.guard.identity(server.sid(client)).roles == {"admin", "member"}


@pytest.mark.parametrize("wrong", [{}, {"roles": "admin"}, {"rooms": "red"}, {"roles": "admin", "rooms": []}], ids=str)
async def test_update_requires_lists_and_a_change(offline, wrong):
    with pytest.raises(ConfigError):
        await offline().guard.update("ada", **wrong)


# Pending decisions: the rule has seen the old rights, and waits


async def held(server, gate, packet) -> None:
    packet()
    await asyncio.wait_for(gate.reached.wait(), 20)
    changing = asyncio.ensure_future(server.guard.update("ada", roles=[]))
    await turns()  # if the namespace rule is asked again, it waits at the gate as well
    gate.open.set()
    await changing
    await server.settle()


def slow_member(gate):
    async def rule(who, **fields):
        allowed = who.has_role("member")
        await gate(who)
        return allowed

    return rule


@pytest.mark.checklist("F88")
@pytest.mark.parametrize("kind", ["join", "event", "connect", "refresh"])
async def test_concurrent_join_never_keeps_older_rights(offline, kind):
    gate, policy, done = Gate(), Policy(), []
    if kind in ("connect", "refresh"):
        policy.namespace("/")(slow_member(gate))
    policy.room("{room}")(slow_member(gate) if kind == "join" else lambda who, room: who.has_role("member"))
    policy.event("work")(slow_member(gate) if kind == "event" else lambda who: True)
    server = offline(policy=policy)
    server.sio.on("work", lambda sid: done.append(sid))
    client = await server.client()
    token = server.token(roles=["member"], expires_in=100)
    if kind == "connect":
        await held(server, gate, lambda: client.begin_connect(token))
        assert "Insufficient permissions" in client.got[0]
        assert client.session.closed
        return
    gate.open.set()
    client.begin_connect(token)
    await server.settle()
    if kind == "refresh":
        await join(server, client, "red")
        await server.tick(10)
    gate.open.clear()
    gate.reached.clear()
    later = server.token(roles=["member"], expires_in=100)
    packets = {
        "join": lambda: client.begin_event("join-room", "red", ack=1),
        "event": lambda: client.begin_event("work", ack=1),
        "refresh": lambda: client.begin_event("authenticate", {"token": later}, ack=1),
    }
    await held(server, gate, packets[kind])
    if kind == "refresh":
        assert server.admission(client) is None
    else:
        assert client.answered(1)[0]["error"]["code"] == "permission_denied"
    assert server.members("red") == set()
    assert done == []


@pytest.mark.checklist("F88")
async def test_authenticating_guest_gets_the_updated_rights(offline):
    """The rights change while the rooms of the guest are checked, when no socket of that subject is connected yet."""
    gate, policy = Gate(), Policy()
    gate.open.set()
    policy.room("{room}")(gate)
    server = offline(policy=policy, required=False)
    client = await server.client()
    client.begin_connect(None)
    await server.settle()
    await join(server, client, "hall")
    gate.open.clear()
    gate.reached.clear()
    client.begin_event("authenticate", {"token": server.token(roles=["admin"])})
    await asyncio.wait_for(gate.reached.wait(), 20)
    await server.guard.update("ada", roles=["member"])
    gate.open.set()
    await server.settle()
    assert server.guard.identity(server.sid(client)).roles == {"member"}


@pytest.mark.checklist("J3")
@pytest.mark.parametrize("later", [False, True])
async def test_update_leaves_rooms_joined_by_the_connect_handler(offline, later):
    """The handler still runs when the rights change. Rooms that it joined with the old rights are left as well."""
    from roomkey.socketio import Authenticate

    gate = Gate()
    server = offline(policy=staff_policy(), **({"via": Authenticate()} if later else {}))

    @server.sio.event
    async def connect(sid, environ, auth=None):
        await server.guard.enter_room(sid, "staff")
        await server.guard.enter_room(sid, "red")
        await gate(None)

    client = await server.client()
    token = server.token(roles=["admin"], rooms=["red"])
    if later:
        client.begin_connect(None)
        await server.settle()
        client.begin_event("authenticate", {"token": token})
    else:
        client.begin_connect(token)
    await asyncio.wait_for(gate.reached.wait(), 20)
    await server.guard.update("ada", roles=[])
    gate.open.set()
    await server.settle()
    assert server.admission(client).admitted
    assert server.members("staff") == set()
    assert server.members("red") == {server.sid(client)}
    assert client.got[0].startswith("0")  # nothing was said before the reply to CONNECT
    assert client.heard("permissions_changed") == ([{"left": ["staff"]}] if later else [])


@pytest.mark.checklist("F90")
@pytest.mark.parametrize("later", [False, True])
async def test_losing_a_namespace_right_refuses_a_pending_connect_only(offline, later):
    from roomkey.socketio import Authenticate

    gate = Gate()
    server = offline(policy=staff_policy(), namespaces=("/", "/admin"), **({"via": Authenticate()} if later else {}))
    left = []

    @server.sio.on("connect", namespace="/admin")
    async def connect(sid, environ, auth=None):
        await gate(None)

    server.sio.on("disconnect", lambda sid, *reason: left.append(sid), namespace="/admin")
    client, token = await server.client(), server.token(roles=["admin"])
    for namespace in ("", "/admin"):
        client.begin_connect(None if later else token, namespace)
        await server.settle()
        if later:
            client.begin_event("authenticate", {"token": token}, namespace=namespace)
            await server.settle()
    sid = server.sid(client, "/admin")
    await asyncio.wait_for(gate.reached.wait(), 20)
    await server.guard.update("ada", roles=[])
    gate.open.set()
    await server.settle()
    assert server.admission(client, "/admin") is None
    assert server.admission(client).admitted
    assert not client.session.closed
    assert client.got[-1].startswith("1/admin," if later else "4/admin,")
    assert left == [sid]  # its connect handler had run to its end


async def test_update_does_not_wait_for_disconnect_handlers(offline):
    policy = Policy()
    policy.namespace("/")(lambda who: who.has_role("member"))
    server = offline(policy=policy)
    going_on = asyncio.Event()

    @server.sio.event
    async def disconnect(sid, *reason):
        await going_on.wait()

    await server.member(roles=["member"])
    assert await asyncio.wait_for(server.guard.update("ada", roles=[]), 20) == 1
    going_on.set()
    await server.settle()


async def test_update_of_other_subjects_does_not_delay_a_decision(offline):
    policy = Policy()

    @policy.namespace("/")
    async def rule(who):
        server.guard._authorizer.changed.change("eve", server.clock.now(), roles=[])
        return True

    server = offline(policy=policy)
    client = await server.client()
    client.begin_connect(server.token("ada"))
    await server.settle()
    assert server.guard.sockets("ada")
