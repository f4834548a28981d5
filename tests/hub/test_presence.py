"""Which sockets are connected, on all nodes of a cluster."""

from __future__ import annotations

import asyncio

import pytest
from support.hubs import make_hubs, node
from support.offline import Offline, offline

from roomkey.hub import presence

__all__ = ["make_hubs", "offline"]


@pytest.fixture
def engine() -> str:
    return "hub"


def named(found) -> list[str]:
    return sorted(live.identity.subject for live in found)


async def three(make_hubs, **settings):
    """Return three hubs, with ada on the first two, bob on the second one, and nobody on the third one."""
    world, one, two, three = await make_hubs(3, **settings)
    clients = [await one.member("ada", rooms=["*"]), await two.member("ada"), await two.member("bob", rooms=["*"])]
    return world, (one, two, three), clients


async def test_sockets_returns_those_of_all_nodes(make_hubs):
    _world, (one, two, three_), _ = await three(make_hubs)
    for hub in (one, two, three_):
        found = await hub.sio.sockets()
        assert (named(found), len(found), found.missing, found.complete) == (
            ["ada", "ada", "bob"],
            3,
            frozenset(),
            True,
        )
        assert named(await hub.sio.sockets(subject="ada")) == ["ada", "ada"]
        assert named(await hub.sio.sockets(subject="eve")) == []
        assert {live.node for live in found} == {node(one).id, node(two).id}


async def test_sockets_of_a_room_are_those_that_are_in_it(make_hubs):
    _world, (one, two, three_), (ada, _, bob) = await three(make_hubs, namespaces=("/", "/chat"))
    await one.sio.enter_room(one.sid(ada), "red")
    await two.sio.enter_room(two.sid(bob), "red")
    eve = await two.member("eve", "/chat", rooms=["*"])
    await two.sio.enter_room(two.sid(eve, "/chat"), "red")
    assert named(await three_.sio.sockets(room="red")) == ["ada", "bob"]
    assert named(await three_.sio.sockets(room="red", subject="bob")) == ["bob"]
    assert named(await three_.sio.sockets(room="red", namespace="/chat")) == ["eve"]
    assert named(await three_.sio.sockets(namespace="/chat")) == ["eve"]
    assert named(await three_.sio.sockets(subject="eve", namespace="/")) == []


async def test_socket_of_another_node_has_its_whole_identity(make_hubs):
    _world, (one, two, _), _ = await three(make_hubs)
    claims = {
        "roles": ["admin"],
        "scopes": ["a", "b"],
        "rooms": {"red": ["join"], "x:*": ["emit"]},
        "claims": {"name": "Zoë 🙂", "n": [1, None]},
    }
    zoe = await two.member("zoe", **claims)
    await two.guard.enter_room(two.sid(zoe), "red")
    [here], [there] = two.guard.sockets("zoe"), await one.sio.sockets(subject="zoe")
    assert there.identity == here.identity
    assert there.identity.claims == here.identity.claims
    assert there.identity.grants("x:1", "say")
    assert not there.identity.grants("x:1")
    assert (there.sid, there.namespace, there.rooms) == (here.sid, "/", frozenset({"red"}))
    assert there.address == here.address


async def test_sockets_that_are_not_admitted_are_not_found(make_hubs):
    world, (one, two, _), _ = await three(make_hubs)
    opened = asyncio.Event()

    @two.sio.event
    async def connect(sid, environ, auth):
        await two.sio.enter_room(sid, "red")
        await opened.wait()

    eve = await two.client()
    eve.begin_connect(two.token("eve", rooms=["red"]))
    await world.settle()
    assert named(await one.sio.sockets(room="red")) == named(await one.sio.sockets(subject="eve")) == []
    opened.set()
    await world.settle()
    assert named(await one.sio.sockets(room="red")) == ["eve"]


async def test_sockets_names_the_nodes_that_do_not_answer(make_hubs):
    world, (one, two, three_), _ = await three(make_hubs)
    world.network.deafen(node(two))
    asking = asyncio.ensure_future(one.sio.sockets())
    await world.pass_time(2)
    found = await asking
    assert named(found) == ["ada"]
    assert (found.missing, found.complete) == ({node(two).id}, False)
    world.network.deafen()
    world.network.cut(node(three_))
    found = await three_.sio.sockets()
    assert (named(found), found.complete) == ([], False)


async def test_sockets_of_a_dead_node_are_gone_with_its_lease(make_hubs):
    world, (one, two, three_), _ = await three(make_hubs)
    await world.die(two)
    await world.pass_time(10)
    found = await three_.sio.sockets()
    assert (named(found), found.complete) == (["ada"], True)
    assert node(three_).live.keys() == {node(one).id}


@pytest.mark.parametrize("limit", ["PAGE_SOCKETS", "PAGE_BYTES"])
async def test_many_sockets_come_in_several_pages(make_hubs, monkeypatch, limit):
    monkeypatch.setattr(presence, limit, {"PAGE_SOCKETS": 2, "PAGE_BYTES": 900}[limit])
    world, (one, two, _), _ = await three(make_hubs)
    for number in range(5):
        await two.member(f"user{number}")
    asked = len(world.network.sent)
    found = await one.sio.sockets()
    assert named(found) == ["ada", "ada", "bob", *(f"user{number}" for number in range(5))]
    assert len({live.sid for live in found}) == 8
    assert len(world.network.sent) - asked > 6


async def test_pages_that_stop_name_the_node(make_hubs, monkeypatch):
    monkeypatch.setattr(presence, "PAGE_SOCKETS", 1)
    world, (one, two, _), _ = await three(make_hubs)
    answered = []
    world.network.lost = lambda message: (
        (message.sender is node(two).bus and len(answered) > 1) or answered.append(message)
    )
    asking = asyncio.ensure_future(one.sio.sockets())
    for _ in range(3):
        await world.pass_time(2)
    found = await asking
    assert found.missing == {node(two).id}
    assert not found.complete


async def test_sockets_without_a_cluster_are_those_of_the_process(offline):
    hub: Offline = offline()
    ada = await hub.member("ada", rooms=["red"])
    await hub.member("bob")
    await hub.sio.enter_room(hub.sid(ada), "red")
    found = await hub.sio.sockets(room="red")
    assert (named(found), found.complete, [live.node for live in found]) == (["ada"], True, [""])
    assert named(await hub.sio.sockets()) == ["ada", "bob"]
