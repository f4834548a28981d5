"""The application's own ``enter_room``: what the guard allows, and how long the membership lasts."""

from __future__ import annotations

import json

import pytest
from support.world import Gate

from roomkey import Policy
from roomkey.errors import ConfigError, PermissionDenied
from roomkey.policies import rooms_claim

NO_RULES, OTHER_NAMESPACE = Policy(), Policy()
OTHER_NAMESPACE.room("*", namespace="/other")(rooms_claim)


def with_handlers(server):
    """Add the usual handler: a client names a room, and the application adds the client to it."""

    @server.sio.on("join")
    async def join(sid, room):
        await server.sio.enter_room(sid, room)
        return "joined"

    @server.sio.on("leave")
    async def leave(sid, room):
        await server.sio.leave_room(sid, room)

    return server


async def join(server, client, room, event="join"):
    client.begin_event(event, room, ack=7)
    await server.settle()
    return client.answered(7)[-1]


@pytest.mark.parametrize("room", ["blue", "user:bob", "RED", " red", 5])
async def test_own_join_requires_a_rule_that_allows_it(offline, room):
    server = with_handlers(offline())
    client = await server.member(rooms=["red"])
    answer = await join(server, client, room)
    assert (answer["ok"], answer["error"]["code"]) == (False, "permission_denied")
    assert server.members(room) == set()
    assert await join(server, client, "red") == "joined"
    assert server.members("red") == {server.sid(client)}


@pytest.mark.parametrize(("policy", "room"), [(None, "blue"), (None, 5), (NO_RULES, "user:bob")])
async def test_denied_own_join_is_logged_with_its_reason(offline, caplog, policy, room):
    server = with_handlers(offline(policy=policy) if policy else offline())
    await join(server, await server.member(rooms=["red"]), room)
    lines = [json.loads(entry.getMessage()) for entry in caplog.records if entry.name == "roomkey.audit"]
    assert [line["reason"] for line in lines if line["event"] == "denied"] == ["permission_denied"]


async def test_own_join_of_a_namespace_class_follows_the_policy(make_world):
    world = await make_world()

    class Rooms(world.Namespace):
        async def on_join(self, sid, room):
            await self.enter_room(sid, room)
            return "joined"

    world.sio.register_namespace(Rooms("/"))
    client = await world.member(rooms=["red"])
    for ack, room in enumerate(("red", "blue", "user:bob")):
        await client.event("join", room, ack=ack)
    assert await client.expect_ack(0) == ["joined"]
    assert [(await client.expect_ack(ack))[0]["ok"] for ack in (1, 2)] == [False, False]
    assert world.rooms() == {"red": {world.sid()}}


@pytest.mark.checklist("F87")
@pytest.mark.parametrize("settings", [{}, {"policy": NO_RULES}, {"own_joins": "allow"}], ids=["rules", "none", "allow"])
async def test_own_join_cannot_enter_the_room_of_another_user(offline, settings):
    server = with_handlers(offline(**settings))
    bob, eve = await server.member("bob"), await server.member("eve", rooms=["*"])
    assert (await join(server, eve, "user:bob"))["error"]["code"] == "permission_denied"
    assert await join(server, eve, "user:eve") == "joined"
    assert server.members("user:bob") == {server.sid(bob)}
    with pytest.raises((PermissionDenied, ConfigError)):
        await server.sio.enter_room(server.sid(eve), server.sid(bob))


async def test_own_join_can_enter_user_rooms_if_the_guard_makes_none(offline):
    server = with_handlers(offline(policy=NO_RULES, user_rooms=False))
    eve = await server.member("eve")
    assert await join(server, eve, "user:bob") == "joined"


@pytest.mark.parametrize(
    "settings",
    [{"policy": NO_RULES}, {"policy": OTHER_NAMESPACE}, {"own_joins": "allow"}],
    ids=["none", "other", "allow"],
)
async def test_own_join_without_rules_is_allowed_if_configured(offline, settings):
    server = with_handlers(offline(**settings))
    client = await server.member()
    assert await join(server, client, "blue") == "joined"
    await server.guard.update("ada", rooms=[])
    assert server.members("blue") == {server.sid(client)}


@pytest.mark.parametrize("how", ["update", "refresh"])
async def test_losing_a_right_ends_both_kinds_of_membership(offline, how):
    server = with_handlers(offline())
    client = await server.member(rooms=["red", "blue"])
    assert await join(server, client, "red") == "joined"
    assert (await join(server, client, "blue", "join-room"))["ok"] is True
    assert server.guard.sockets("ada")[0].rooms == {"red", "blue"}
    if how == "update":
        await server.guard.update("ada", rooms=[])
    else:
        server.clock.advance(1)
        client.begin_event("authenticate", {"token": server.token()})
    await server.settle()
    assert (server.members("red"), server.members("blue")) == (set(), set())
    assert client.heard("permissions_changed") == [{"left": ["blue", "red"]}]


@pytest.mark.checklist("F88")
async def test_own_join_waiting_for_a_rule_is_denied_by_a_change(offline):
    gate, policy = Gate(), Policy()
    policy.room("{room}")(gate)
    policy.namespace("/")(lambda who: who.has_role("member"))
    server = with_handlers(offline(policy=policy))
    client = await server.member(roles=["member"])
    client.begin_event("join", "red", ack=1)
    await gate.reached.wait()
    await server.guard.update("ada", roles=[])
    gate.open.set()
    await server.settle()
    assert server.members("red") == set()


async def test_room_that_the_application_leaves_is_forgotten(offline):
    server = with_handlers(offline())
    client = await server.member(rooms=["red", "blue"])
    for room, event in (("red", "join"), ("blue", "join-room")):
        await join(server, client, room, event)
        client.begin_event("leave", room)
        await server.settle()
    assert server.guard.sockets("ada")[0].rooms == frozenset()
    await join(server, client, "red")
    await server.sio.close_room("red")
    assert server.guard.sockets("ada")[0].rooms == frozenset()


@pytest.mark.checklist("F89")
async def test_client_cannot_leave_rooms_of_the_application(offline):
    server = with_handlers(offline())
    client = await server.member(rooms=["red"])
    for event in ("join", "join-room", "leave-room"):
        await join(server, client, "red", event)
    assert server.members("red") == {server.sid(client)}


@pytest.mark.parametrize(("room", "reply"), [("red", "0"), ("user:ada", "0"), ("blue", "4"), ("user:bob", "4")])
async def test_connect_handler_joins_follow_the_policy(offline, room, reply):
    server = offline()

    @server.sio.on("connect")
    async def connect(sid, environ, auth):
        await server.sio.enter_room(sid, room)

    client = await server.client()
    client.begin_connect(server.token(rooms=["red"]))
    [packet] = await client.settle()
    assert packet.startswith(reply)
    assert len(server.members(room)) == (reply == "0")


async def test_own_joins_setting_accepts_two_values(offline):
    with pytest.raises(ConfigError, match="own_joins must be 'policy' or 'allow'"):
        offline(own_joins="never")
