"""Clients ask who is in their room."""

from __future__ import annotations

import asyncio

import pytest
from support.hubs import make_hubs, node
from support.offline import offline

from roomkey import Policy
from roomkey.errors import ConfigError
from roomkey.hub import members
from roomkey.policies import rooms_claim

__all__ = ["make_hubs", "offline"]


@pytest.fixture
def engine() -> str:
    return "hub"


def policy() -> Policy:
    made = Policy()
    made.room("*")(rooms_claim)
    made.presence("team:{team}")(lambda who, team: team != "secret")
    return made


async def ask(world, client, room, event="room-members"):
    client.begin_event(event, room, ack=9)
    await world.settle()
    return client.answered(9)[-1]


async def member(hub, subject, *rooms):
    client = await hub.member(subject, rooms=["*"])
    for room in rooms:
        await hub.sio.enter_room(hub.sid(client), room)
    return client


async def test_client_learns_who_is_in_its_room_on_all_nodes(make_hubs):
    world, one, other = await make_hubs(2, policy=policy())
    for hub in (one, other):
        hub.sio.serve_members()
    ada = await member(one, "ada", "team:red")
    await member(other, "bob", "team:red")
    await member(other, "bob", "team:red", "team:blue")
    await member(other, "eve", "team:blue")
    assert await ask(world, ada, "team:red") == {"ok": True, "members": ["ada", "bob"], "complete": True}


async def test_client_without_a_rule_or_outside_the_room_is_denied(make_hubs):
    world, one, _ = await make_hubs(2, policy=policy())
    one.sio.serve_members("who")
    ada = await member(one, "ada", "team:red", "team:secret", "lounge")
    await member(one, "bob", "team:blue")
    for room in ("team:blue", "team:secret", "lounge", one.sid(ada), None, 5, "user:ada"):
        answer = await ask(world, ada, room, "who")
        assert answer["error"]["code"] == "permission_denied", room
    decision = await one.guard.explain(one.sid(ada), "presence", "team:secret")
    assert not decision


async def test_answer_says_if_a_node_is_missing(make_hubs):
    world, one, other = await make_hubs(2, policy=policy())
    one.sio.serve_members()
    ada = await member(one, "ada", "team:red")
    await member(other, "bob", "team:red")
    world.network.cut(node(one))
    assert await ask(world, ada, "team:red") == {"ok": True, "members": ["ada"], "complete": False}


async def test_many_questions_ask_the_other_nodes_once_per_second(make_hubs):
    world, one, other = await make_hubs(2, policy=policy())
    one.sio.serve_members()
    ada = await member(one, "ada", "team:red")
    asked = []
    answer = node(other)._answering.handlers["members"]
    node(other)._answering.handlers["members"] = lambda *question: (asked.append(question), answer(*question))[1]
    for number in range(50):
        ada.begin_event("room-members", "team:red", ack=number)
    await world.settle()
    assert len(asked) == 1
    await member(other, "bob", "team:red")
    assert (await ask(world, ada, "team:red"))["members"] == ["ada"]
    world.clock.advance(1)
    assert (await ask(world, ada, "team:red"))["members"] == ["ada", "bob"]


async def test_client_that_leaves_while_others_are_asked_learns_nothing(make_hubs):
    world, one, other = await make_hubs(2, policy=policy())
    one.sio.serve_members()
    ada = await member(one, "ada", "team:red")
    opened = asyncio.Event()

    async def slow(*question):
        await opened.wait()
        return b'["bob"]'

    node(other)._answering.handlers["members"] = slow
    ada.begin_event("room-members", "team:red", ack=9)
    await world.settle()
    await one.guard.update("ada", rooms=[])
    opened.set()
    await world.settle()
    assert ada.answered(9)[-1]["ok"] is False


async def test_answers_have_a_limit(offline, monkeypatch):
    monkeypatch.setattr(members, "MAX_MEMBERS", 3)
    monkeypatch.setattr(members, "MAX_KNOWN", 2)
    hub = offline(policy=policy(), required=False)
    hub.sio.serve_members()
    clients = [await member(hub, f"user{number}", "team:red", "team:a", "team:b") for number in range(4)]
    guest = await hub.client()
    guest.begin_connect(None)
    await hub.settle()
    answer = await ask(hub, clients[0], "team:red")
    assert answer == {"ok": True, "members": ["user0", "user1", "user2"], "complete": False}
    for room in ("team:a", "team:b"):
        await ask(hub, clients[0], room)
    assert len(hub.sio._members._known) == 2


async def test_serve_members_rejects_events_of_the_guard(offline):
    hub = offline()
    hub.sio.serve_members()
    for name in ("room-members", "join-room", "connect", ""):
        with pytest.raises(ConfigError):
            hub.sio.serve_members(name)
