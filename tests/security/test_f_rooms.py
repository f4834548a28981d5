"""Security checklist, group F: rooms, namespaces and roles. Most tests of this group are in tests/engines."""

from __future__ import annotations

import importlib

import pytest
from support.offline import offline
from support.world import BOTH

from roomkey import Policy
from roomkey.policies import emit_claim, own_rooms, rooms_claim

__all__ = ["offline"]

ATTACKERS = {
    "nobody": {},
    "admin": {"roles": ["admin"]},
    "every room": {"rooms": ["*"]},
    "that room": {"rooms": ["user:victim", "user:*", "{sid}"]},
    "every action": {"rooms": {"*": ["join", "emit"], "user:*": ["join", "emit"]}},
}


def generous_policy() -> Policy:
    """Return a policy of an application that considers only its own rooms."""
    policy = Policy()
    for pattern, rule in {
        "*": lambda who, room: True,
        "{room}": lambda who, room: True,
        "{kind}:{name}": lambda who, kind, name: True,
        "user-{name}": lambda who, name: True,
    }.items():
        policy.room(pattern)(rule)
        policy.emit(pattern)(rule)
    policy.room("*")(rooms_claim)
    policy.emit("*")(emit_claim)
    return policy


@pytest.mark.checklist("F87")
@BOTH
@pytest.mark.parametrize("attacker", ATTACKERS)
@pytest.mark.parametrize("way", ["join-room", "handler", "say"])
async def test_rooms_of_other_sockets_and_users_are_denied(offline, attacker, way):
    server = offline(policy=generous_policy())
    server.guard.relay("say")

    @server.sio.on("handler")
    async def handler(sid, room, _data):
        await server.guard.enter_room(sid, room)

    victim = await server.member("victim")
    sid = server.sid(victim)
    claims = dict(ATTACKERS[attacker])
    if attacker == "that room":
        claims["rooms"] = [name.replace("{sid}", sid) for name in claims["rooms"]]
    eve = await server.member("eve", **claims)
    # The last two: socket IDs of other nodes, whose messages they would bring.
    names = ["user:victim", sid, "A" * 20, f"{'A' * 20}.{'B' * 20}"]
    for number, room in enumerate(names):
        eve.begin_event(way, room, "psst", ack=number)
        await server.settle()
        [answer] = eve.answered(number)
        assert answer["error"]["code"] == "permission_denied", room
    await server.sio.emit("private", 1, room=server.guard.subject_room("victim"))
    await server.sio.emit("private", 2, to=sid)
    await server.settle()
    assert eve.heard("private") == []
    assert victim.heard("private") == [1, 2]
    assert victim.heard("say") == []


@pytest.mark.checklist("F87")
@BOTH
async def test_rule_can_allow_own_user_rooms_only(offline):
    policy = Policy()
    policy.room("user:{sub}")(own_rooms)
    server = offline(policy=policy, user_rooms=False)
    ada = await server.member("ada")
    for number, room in enumerate(("user:ada", "user:victim", "user:", "user:ada:x")):
        ada.begin_event("join-room", room, ack=number)
    await server.settle()
    assert [ada.answered(number)[0]["ok"] for number in range(4)] == [True, False, False, False]


@pytest.mark.checklist("F93")
@pytest.mark.parametrize("module", ["roomkey.hub", "roomkey.socketio", "roomkey.guard.guard", "roomkey.guard.base"])
def test_hub_has_no_admin_interface(module):
    found = importlib.import_module(module)
    assert not [name for name in dir(found) if "admin" in name.lower() and "admit" not in name.lower()]


@pytest.mark.checklist("F93")
@BOTH
async def test_admin_namespace_of_python_socketio_is_not_served(offline):
    server = offline()
    client = await server.client()
    client.begin_connect(server.token(roles=["admin"]), "/admin")
    await server.settle()
    assert "Invalid namespace" in client.got[0]


@pytest.mark.checklist("F94")
@BOTH
@pytest.mark.parametrize("rooms", [["*"], ["vault"], {"vault": ["join", "emit"], "*": ["join", "emit"]}], ids=str)
@pytest.mark.parametrize("rule", [None, False])
async def test_policy_decides_over_the_rooms_of_the_token(offline, rooms, rule):
    """A claim is only an input to rules. If no rule reads it, it grants nothing."""
    policy = Policy()
    if rule is not None:
        policy.room("vault")(lambda who: False)
        policy.emit("vault")(lambda who: False)
    server = offline(policy=policy, own_joins="allow")
    server.guard.relay("say")
    inside, eve = await server.member("inside"), await server.member("eve", rooms=rooms)
    await server.sio.enter_room(server.sid(inside), "vault")
    eve.begin_event("join-room", "vault", ack=1)
    eve.begin_event("say", "vault", "x", ack=2)
    await server.settle()
    assert [eve.answered(ack)[0]["ok"] for ack in (1, 2)] == [False, False]
    assert server.members("vault") == {server.sid(inside)}
    assert inside.heard("say") == []
