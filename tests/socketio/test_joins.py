"""Joins past ``sio.enter_room``: the manager's own names, and joins that another node asks for."""

from __future__ import annotations

import asyncio

import pytest
from socketio.async_pubsub_manager import AsyncPubSubManager
from support.offline import Offline, turns
from support.world import Gate

from roomkey import Policy
from roomkey.errors import PermissionDenied


class Nodes(AsyncPubSubManager):
    """A manager that has heard of other nodes, and has none."""

    name = "nodes"

    def __init__(self):
        super().__init__()
        self.published = []

    async def _publish(self, data):
        self.published.append(data)

    async def _listen(self):
        await asyncio.Event().wait()
        yield


@pytest.fixture
async def server(monkeypatch):
    """A server of one node out of several."""
    made = Offline("python-socketio", manager=Nodes())
    made.sio.manager_initialized = True
    yield made
    await made.close()


async def called(function, *arguments):
    result = function(*arguments)
    return await result if asyncio.iscoroutine(result) else result


@pytest.mark.parametrize("verb", ["enter_room", "basic_enter_room"])
async def test_manager_adds_sockets_only_as_the_policy_allows(server, verb):
    eve = await server.member("eve", rooms=["red"])
    for room in ("blue", "user:bob"):
        with pytest.raises(PermissionDenied):
            await called(getattr(server.sio.manager, verb), server.sid(eve), "/", room)
        assert server.members(room) == set()


async def test_join_for_another_node_is_decided_here(server):
    eve = await server.member("eve", rooms=["red"])
    for room in ("red", "blue", "user:bob"):
        message = {"method": "enter_room", "sid": server.sid(eve), "namespace": "/", "room": room}
        await server.sio.manager._handle_enter_room(message)
    assert server.members("red") == {server.sid(eve)}
    assert (server.members("blue"), server.members("user:bob")) == (set(), set())
    await server.guard.update("eve", rooms=[])
    assert server.members("red") == set()


async def test_slow_rule_does_not_delay_another_node(server, monkeypatch):
    monkeypatch.setattr("roomkey.socketio.joins.NODE_SECONDS", 0.01)
    gate = Gate()
    server.guard.policy.room("slow")(gate)
    eve = await server.member("eve")
    message = {"method": "enter_room", "sid": server.sid(eve), "namespace": "/", "room": "slow"}
    await asyncio.wait_for(server.sio.manager._handle_enter_room(message), 20)
    assert server.members("slow") == set()
    gate.open.set()
    await turns()
    assert server.members("slow") == {server.sid(eve)}


async def test_join_of_another_nodes_socket_is_decided_there(server):
    await server.sio.enter_room("a" * 20, "blue")
    assert server.sio.manager.published[0]["method"] == "enter_room"


def test_policy_knows_its_namespaces_with_room_rules():
    policy = Policy()
    policy.room("red", namespace="/chat")(lambda who: True)
    assert (policy.has_room_rules("/chat"), policy.has_room_rules("/")) == (True, False)
