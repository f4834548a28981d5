"""Hubs that are nodes of one cluster: every verb works for the sockets of all of them."""

from __future__ import annotations

import asyncio

import pytest
from support.hubs import heard, make_hubs, node
from support.nodes import SECRET
from support.offline import Offline, turns
from support.rawsocket import PATIENCE

from roomkey import Policy
from roomkey.bus import Cluster, MemoryBus, MemoryNetwork
from roomkey.bus.partitions import partition_of
from roomkey.errors import ConfigError, PermissionDenied, Unavailable
from roomkey.hub import ASGIApp, Hub, SubjectLimits
from roomkey.stores import MemoryRevocations

__all__ = ["make_hubs"]


async def two(make_hubs, **settings):
    """Return two hubs with a client each: ada and bob, who may join each room."""
    world, one, other = await make_hubs(2, **settings)
    ada, bob = await one.member("ada", rooms=["*"]), await other.member("bob", rooms=["*"])
    return world, one, other, ada, bob


async def test_emit_reaches_everybody_on_all_nodes(make_hubs):
    world, one, _, ada, bob = await two(make_hubs)
    await one.sio.emit("news", 1)
    await world.settle()
    assert heard(ada, bob) == [[1], [1]]


async def test_emit_reaches_a_room_on_all_nodes_and_nobody_else(make_hubs):
    world, one, other, ada, bob = await two(make_hubs)
    eve = await other.member("eve")
    await one.sio.enter_room(one.sid(ada), "red")
    await other.sio.enter_room(other.sid(bob), "red")
    await one.sio.emit("news", 1, room="red")
    await world.settle()
    await other.sio.emit("news", 2, to="red")
    await world.settle()
    assert heard(ada, bob, eve) == [[1, 2], [1, 2], []]


@pytest.mark.parametrize("room", ["red", 7, "größer 🙂", "user:ada2"])
async def test_emit_reaches_rooms_of_each_kind(make_hubs, room):
    world, one, other, _ada, bob = await two(make_hubs, policy=Policy(), own_joins="allow", user_rooms=False)
    await other.sio.enter_room(other.sid(bob), room)
    await one.sio.emit("news", 1, room=room)
    await world.settle()
    assert heard(bob) == [[1]]


async def test_emit_to_several_rooms_reaches_each_socket_once(make_hubs):
    world, one, other, ada, bob = await two(make_hubs)
    rooms = ["red", "blue", "green", *map(str, range(30))]
    for room in rooms[:5]:
        await one.sio.enter_room(one.sid(ada), room)
        await other.sio.enter_room(other.sid(bob), room)
    assert len({partition_of("/", room) for room in rooms[:5]}) > 2
    for target in (rooms[:5], rooms, iter(rooms), {"red", "blue"}, [other.sid(bob), "red", one.sid(ada)], []):
        await one.sio.emit("news", 1, to=target)
    await world.settle()
    assert heard(ada, bob) == [[1] * 5] * 2
    sent = len(world.network.sent)
    await one.sio.emit("news", 1, to=[*map(str, range(1000))])
    assert len(world.network.sent) == sent + 1  # many rooms are one message to all nodes


async def test_emit_to_a_socket_of_another_node_reaches_it_alone(make_hubs):
    world, one, other, ada, bob = await two(make_hubs)
    eve = await other.member("eve")
    await one.sio.emit("news", 1, to=other.sid(bob))
    await one.sio.emit("news", 2, to=[other.sid(bob), one.sid(ada)])
    await one.sio.emit("news", 3, to=other.sid(bob), skip_sid=other.sid(bob))
    await one.sio.emit("news", 4, to=other.sid(bob), namespace="/chat")
    await world.settle()
    assert heard(ada, bob, eve) == [[2], [1, 2], []]
    assert [len(node(hub).bus.channels) for hub in (one, other)] == [3, 4]  # all, its own, and one for each user


async def test_deliveries_are_counted_on_the_node_of_the_socket(make_hubs):
    world, one, other, ada, bob = await two(make_hubs)
    await other.sio.enter_room(other.sid(bob), "red")
    await other.sio.enter_room(other.sid(bob), "blue")
    await one.sio.emit("news", 1)
    await one.sio.emit("news", 2, room=["red", "blue", one.sid(ada)])
    await one.sio.emit("news", 3, to=other.sid(bob))
    await world.settle()
    assert heard(ada, bob) == [[1, 2], [1, 2, 3]]
    assert [hub.sio.application.rooms.delivered for hub in (one, other)] == [2, 3]


async def test_skip_sid_holds_on_other_nodes(make_hubs):
    world, one, other, ada, bob = await two(make_hubs)
    eve = await other.member("eve", rooms=["*"])
    for hub, client in ((one, ada), (other, bob), (other, eve)):
        await hub.sio.enter_room(hub.sid(client), "red")
        await hub.sio.enter_room(hub.sid(client), "blue")
    skip = [other.sid(bob), one.sid(ada)]
    await one.sio.emit("news", 1, skip_sid=other.sid(bob))
    await one.sio.emit("news", 2, room="red", skip_sid=skip)
    await one.sio.emit("news", 3, room=["red", "blue"], skip_sid=skip)
    await world.settle()
    assert heard(ada, bob, eve) == [[1], [], [1, 2, 3]]


async def test_emit_to_a_subject_reaches_its_sockets_on_all_nodes(make_hubs):
    world, _one, other, ada, bob = await two(make_hubs)
    again = await other.member("ada")
    await other.sio.emit("news", 1, to_subject="ada")
    await world.settle()
    assert heard(ada, bob, again) == [[1], [], [1]]


async def test_emit_stays_in_its_namespace(make_hubs):
    world, one, other, _ada, bob = await two(make_hubs, namespaces=("/", "/chat"))
    eve = await other.member("eve", "/chat", rooms=["*"])
    await other.sio.enter_room(other.sid(bob), "red")
    await other.sio.enter_room(other.sid(eve, "/chat"), "red")
    await one.sio.emit("news", 1, namespace="/chat")
    await one.sio.emit("news", 2, room="red", namespace="/chat")
    await one.sio.emit("news", 3, room=["red", "blue"])
    await world.settle()
    assert heard(bob, eve) == [[3], [1, 2]]


async def test_binary_data_crosses_nodes(make_hubs):
    world, one, other, _, bob = await two(make_hubs)
    bob.session._transport_binary = []
    await one.sio.emit("news", {"a": b"\x00\xff", "b": [b"two"]}, to=other.sid(bob))
    await world.settle()
    [packet] = [packet for packet in bob.got if "_placeholder" in packet]
    assert packet == '52-["news",{"a":{"_placeholder":true,"num":0},"b":[{"_placeholder":true,"num":1}]}]'


async def test_client_emits_reach_the_room_on_all_nodes(make_hubs):
    world, one, _other, ada, bob = await two(make_hubs)
    one.guard.relay("say")
    ada.begin_event("join-room", "red", ack=1)
    bob.begin_event("join-room", "red", ack=1)
    await world.settle()
    ada.begin_event("say", "red", "hello", ack=2)
    await world.settle()
    assert heard(ada, bob, event="say") == [[], [{"room": "red", "from": "ada", "data": "hello"}]]
    assert ada.answered(1) == bob.answered(1) == ada.answered(2) == [{"ok": True}]


async def test_emits_of_one_node_to_one_room_arrive_in_order(make_hubs):
    world, one, other, _, bob = await two(make_hubs)
    await other.sio.enter_room(other.sid(bob), "red")
    for number in range(200):
        await one.sio.emit("news", number, room="red")
    await world.settle()
    assert heard(bob) == [[*range(200)]]


async def test_own_sockets_do_not_wait_for_the_bus(make_hubs):
    world, one, _other, ada, bob = await two(make_hubs)
    world.network.hold()
    await one.sio.emit("news", 1)
    await ada.settle()
    await bob.settle()
    assert heard(ada, bob) == [[1], []]
    world.network.cut(node(one))
    await one.sio.emit("news", 2)
    await world.settle()
    assert heard(ada, bob) == [[1, 2], []]
    world.network.mend(node(one))
    world.network.release()
    await one.sio.emit("news", 3)
    await world.settle()
    assert heard(ada, bob) == [[1, 2, 3], [1, 3]]  # what was sent while the node was cut off is lost


async def test_emit_larger_than_the_bus_allows_reaches_nobody(make_hubs):
    world, one, _, ada, bob = await two(make_hubs)
    with pytest.raises(ValueError, match="too large for the bus: more than 998976 bytes"):
        await one.sio.emit("news", "x" * 1_000_000)
    await world.settle()
    assert heard(ada, bob) == [[], []]


async def test_emit_in_a_cluster_rejects_rooms_of_other_types(make_hubs):
    _world, one, _, ada, _bob = await two(make_hubs)
    with pytest.raises(ConfigError, match="a string or a number"):
        await one.sio.emit("news", 1, room=[("a", "tuple")])
    with pytest.raises(ConfigError, match="a string or a number"):
        await one.sio.enter_room(one.sid(ada), ("a", "tuple"))


# Quarantine and rights hold where the socket is


async def test_socket_that_is_not_admitted_receives_nothing_from_other_nodes(make_hubs):
    world, one, other = await make_hubs(2)
    reached, opened = asyncio.Event(), asyncio.Event()

    @other.sio.event
    async def connect(sid, environ, auth):
        await other.sio.enter_room(sid, "red")
        reached.set()
        await opened.wait()

    eve = await other.client()
    eve.begin_connect(other.token("eve", rooms=["red"]))
    await reached.wait()
    for target in (None, "red", "user:eve", ["red", "blue"], [other.admission(eve).sid]):
        await one.sio.emit("news", 1, to=target)
    await one.sio.emit("direct", 1, to=other.admission(eve).sid)
    await world.settle()
    assert eve.got == []
    opened.set()
    await world.settle()
    assert [packet[0] for packet in eve.got] == ["0", "2"]  # the reply, then what was addressed to it alone
    assert heard(eve, event="direct") == [[1]]


async def test_socket_that_lost_a_room_does_not_receive_the_next_message(make_hubs):
    world, one, other, _, bob = await two(make_hubs)
    await other.sio.enter_room(other.sid(bob), "red")
    await one.sio.emit("news", 1, room="red")
    await world.settle()
    world.network.hold()
    await one.sio.emit("news", 2, room="red")
    await other.guard.update("bob", rooms=["blue"])
    world.network.release()  # what was sent before arrives after the change
    await world.settle()
    assert heard(bob) == [[1]]


@pytest.mark.checklist("F87")
@pytest.mark.parametrize("own_joins", ["policy", "allow"])
async def test_no_socket_joins_the_room_of_a_socket_of_another_node(make_hubs, own_joins):
    world, one, other, ada, bob = await two(make_hubs, own_joins=own_joins)
    for room in (other.sid(bob), "user:bob"):
        ada.begin_event("join-room", room, ack=1)
        await world.settle()
        assert ada.answered(1)[-1]["ok"] is False
        for asked in (one, other):  # on its node, and on another
            with pytest.raises(PermissionDenied):
                await asked.sio.enter_room(one.sid(ada), room)
        with pytest.raises(PermissionDenied):
            await one.guard.enter_room(one.sid(ada), room)
    await one.sio.emit("news", 1, to=other.sid(bob))
    await one.sio.emit("news", 2, to_subject="bob")
    await other.sio.emit("news", 3, to=[other.sid(bob)])
    await world.settle()
    assert [sorted(some) for some in heard(ada, bob)] == [[], [1, 2, 3]]


# Sockets of other nodes


async def test_rooms_of_a_socket_of_another_node_change_by_its_policy(make_hubs):
    world, one, other, _, bob = await two(make_hubs)
    sid = other.sid(bob)
    await one.sio.enter_room(sid, "red")
    assert "red" in other.sio.rooms(sid)
    await one.sio.emit("news", 1, room="red")
    await one.sio.leave_room(sid, "red")
    await one.sio.emit("news", 2, room="red")
    await world.settle()
    assert heard(bob) == [[1]]
    eve = await other.member("eve", rooms=["blue"])
    with pytest.raises(PermissionDenied):
        await one.sio.enter_room(other.sid(eve), "red")
    assert "red" not in other.sio.rooms(other.sid(eve))


async def test_close_room_closes_it_on_all_nodes(make_hubs):
    world, one, other, ada, bob = await two(make_hubs)
    await one.sio.enter_room(one.sid(ada), "red")
    await other.sio.enter_room(other.sid(bob), "red")
    await one.sio.close_room("red")
    assert one.members("red") == other.members("red") == set()
    await other.sio.emit("news", 1, room="red")
    await world.settle()
    assert heard(ada, bob) == [[], []]
    with pytest.raises(ConfigError, match="own room"):
        await one.sio.close_room(other.sid(bob))


async def test_disconnect_ends_a_socket_of_another_node(make_hubs):
    world, one, other, _, bob = await two(make_hubs)
    reasons = []
    other.sio.on("disconnect", lambda sid, reason: reasons.append(reason))
    again = await other.member("bob")
    await one.sio.disconnect(other.sid(again))
    await world.settle()
    assert again.got[-1] == "1"
    assert reasons == ["server disconnect"]
    assert not bob.session.closed


async def test_disconnect_does_not_wait_for_a_handler_of_another_node(make_hubs):
    world, one, other, _, _bob = await two(make_hubs)
    opened = asyncio.Event()

    @other.sio.event
    async def disconnect(sid, reason):
        await opened.wait()

    again = await other.member("bob")
    sid = other.sid(again)
    async with asyncio.timeout(PATIENCE):
        await one.sio.disconnect(sid)
    opened.set()
    await world.settle()
    assert other.sio.rooms(sid) == []


async def test_call_returns_the_acknowledgement_of_a_client_of_another_node(make_hubs):
    world, one, other, _, bob = await two(make_hubs, namespaces=("/", "/chat"))
    for sid, prefix in ((other.sid(bob), ""),):
        asking = asyncio.ensure_future(one.sio.call("question", ["a", "["], to=sid))
        await world.settle()
        assert bob.got[-1] == f'2{prefix}1["question",["a","["]]'
        bob.begin(f'3{prefix}1[{{"answer":42}}]')
        assert await asking == {"answer": 42}
    eve = await other.member("eve", "/chat")
    asking = asyncio.ensure_future(one.sio.call("question", to=other.sid(eve, "/chat"), namespace="/chat"))
    await world.settle()
    assert eve.got[-1] == '2/chat,1["question"]'
    eve.begin("3/chat,1[1,null]")
    assert await asking == (1, None)


async def test_callback_is_called_with_the_acknowledgement_of_another_node(make_hubs):
    world, one, other, _, bob = await two(make_hubs)
    values = []

    async def called(*arguments):
        values.append(arguments)

    await one.sio.emit("question", {"a": b"bytes"}, to=other.sid(bob), callback=called)
    await world.settle()
    assert bob.got[-1] == '51-1["question",{"a":{"_placeholder":true,"num":0}}]'
    bob.begin('31["x",[1]]')
    await world.settle()
    assert values == [("x", [1])]
    assert one.sio._remote._waiting == {}


@pytest.mark.parametrize("end", ["leaves", "disconnected", "node ends", "node dies", "never answers", "cut off"])
async def test_call_to_another_node_ends_when_no_answer_can_come(make_hubs, end):
    world, one, other, _, bob = await two(make_hubs)
    if end == "cut off":
        world.network.cut(node(one))
    asking = asyncio.ensure_future(one.sio.call("question", to=other.sid(bob), timeout=0.2 if "never" in end else 60))
    await turns()
    await world.settle()
    if end == "leaves":
        await bob.session.lose()
    elif end == "disconnected":
        await one.sio.disconnect(other.sid(bob))
    elif end == "node ends":
        world.hubs.remove(other)
        await other.sio.close()
    elif end == "node dies":
        await world.die(other)
        await world.pass_time(10)
    await world.settle()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(PATIENCE):
            await asking
    assert one.sio._remote._waiting == {}


async def test_verbs_for_a_socket_that_has_left_another_node_find_nobody(make_hubs):
    world, one, other, _, bob = await two(make_hubs)
    sid = other.sid(bob)
    await bob.session.lose()
    await world.settle()
    await one.sio.disconnect(sid)
    await one.sio.leave_room(sid, "red")
    await one.sio.emit("news", 1, to=sid)
    with pytest.raises(PermissionDenied, match="no client with this socket ID"):
        await one.sio.enter_room(sid, "red")
    with pytest.raises(TimeoutError):
        await one.sio.call("question", to=sid)


async def test_data_of_a_socket_of_another_node_is_refused_with_one_error(make_hubs):
    _world, one, other, _, bob = await two(make_hubs)
    sid = other.sid(bob)
    for ask in (one.sio.rooms, one.sio.get_environ, one.sio.transport):
        with pytest.raises(ConfigError, match="connected to another node"):
            ask(sid)
    for wait in (one.sio.get_session(sid), one.sio.save_session(sid, {}), one.sio.session(sid).__aenter__()):
        with pytest.raises(ConfigError, match="connected to another node"):
            await wait
    for ask in (one.guard.identity, lambda sid: one.guard._open_socket(sid, None)):
        with pytest.raises(PermissionDenied, match="not connected to this node"):
            ask(sid)


async def test_verbs_for_another_node_fail_while_the_bus_is_away(make_hubs):
    world, one, other, ada, bob = await two(make_hubs)
    await one.sio.enter_room(one.sid(ada), "red")
    world.network.cut(node(one))
    for verb in (
        one.sio.enter_room(other.sid(bob), "red"),
        one.sio.leave_room(other.sid(bob), "red"),
        one.sio.disconnect(other.sid(bob)),
        one.sio.close_room("red"),
    ):
        with pytest.raises(Unavailable):
            await verb
    assert one.members("red") == set()
    assert not bob.session.closed
    await one.sio.enter_room(one.sid(ada), "blue")  # it does not wait for a subscription


# Subscriptions


async def test_node_subscribes_to_the_partitions_of_its_rooms_alone(make_hubs):
    world, one, _other, ada, _bob = await two(make_hubs)
    channels = node(one).channels
    await one.sio.enter_room(one.sid(ada), "red")
    await one.sio.enter_room(one.sid(ada), "red")
    wanted = {partition_of("/", "red"), partition_of("/", "user:ada")}
    assert node(one).bus.channels == {channels.everybody, channels.of_node(node(one).id)} | {
        channels.partitions[number] for number in wanted
    }
    await ada.session.lose()
    await world.pass_time(61)
    assert node(one).bus.channels == {channels.everybody, channels.of_node(node(one).id)}


async def test_join_is_confirmed_when_the_subscription_is_in_effect(make_hubs):
    world, one, other, _, bob = await two(make_hubs)
    bus, opened = node(other).bus, asyncio.Event()
    subscribed = bus.subscribed

    async def slow(channel):
        await opened.wait()
        return await subscribed(channel)

    bus.subscribed = slow
    bob.begin_event("join-room", "red", ack=1)
    eve = await other.client()
    eve.begin_connect(other.token("eve"))
    await world.settle()
    assert (bob.answered(1), eve.got) == ([], [])
    await one.sio.emit("all", 1)
    await world.settle()
    assert eve.got == []  # it is not admitted yet, so that nothing comes before the reply to its CONNECT
    await one.sio.emit("news", 1, room="red")
    opened.set()
    await world.settle()
    assert bob.answered(1) == [{"ok": True}]
    assert eve.got[0].startswith("0")
    assert heard(bob) == [[1]]


async def test_joins_do_not_wait_again_after_a_subscription_took_too_long(make_hubs):
    world, _one, other, _, bob = await two(make_hubs)
    asked = []

    async def too_slow(channel):
        asked.append(channel)
        return False

    node(other).bus.subscribed = too_slow
    for room in ("red", "blue"):
        await other.sio.enter_room(other.sid(bob), room)
    assert len(asked) == 1
    await world.pass_time(5)
    await other.sio.enter_room(other.sid(bob), "green")
    assert len(asked) == 2


async def test_socket_that_left_while_it_waited_for_a_subscription_leaves_nothing(make_hubs):
    world, _one, other, _, bob = await two(make_hubs)
    opened = asyncio.Event()

    async def slow(channel):
        return await opened.wait()

    node(other).bus.subscribed = slow
    bob.begin_event("join-room", "red", ack=1)
    eve = await other.client()
    eve.begin_connect(other.token("eve"))
    await turns()
    await bob.session.lose()
    await eve.session.lose()
    opened.set()
    await world.settle()
    assert other.leftovers() == {}
    assert +node(other)._needed == {}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\x00",
        b"\x00\x00\x00\x02[]",
        b"\xff" * 50,
        b"\x00\x00\x00\x02[]\x00\x00\x00\x012",
        b"\x00\x00\x00\x01{" * 2,
    ],
    ids=repr,
)
async def test_malformed_emit_of_another_node_is_dropped_and_counted(make_hubs, body):
    world, one, other, _, bob = await two(make_hubs)
    node(one).tell("emit", body)
    await world.settle()
    assert node(other).counts["dropped: malformed"] == 1
    assert heard(bob) == [[]]


# Start and end


async def test_first_client_opens_the_node_if_nothing_else_did(make_hubs):
    world, one = await make_hubs(1)
    bus = MemoryBus(world.network)
    cluster = Cluster(bus, secrets=[SECRET], journal=world.journal)
    late = Offline("hub", cluster=cluster, clock=world.clock, issuer=world.issuer)
    assert not bus.connected
    await late.sio.emit("news", 0)
    eve = await late.member("eve")
    await one.sio.emit("news", 1)
    await world.settle()
    await eve.settle()
    assert heard(eve) == [[1]]
    await late.close()
    await late.sio.close()
    await world.settle()
    assert not node(one).live
    assert not bus.connected


@pytest.mark.parametrize("mounted", [False, True])
async def test_lifespan_opens_and_closes_the_node(make_hubs, mounted):
    _world, one = await make_hubs(1)
    replies = []

    async def receive():
        await turns()
        return {"type": "lifespan.shutdown" if replies else "lifespan.startup"}

    async def send(message):
        replies.append((message["type"], node(one).connected))

    async def app(scope, receive, send):
        for _ in range(2):
            message = await receive()
            await send({"type": f"{message['type']}.complete"})

    await node(one).bus.close()
    one.sio.application.cluster._opening = None
    await ASGIApp(one.sio, app if mounted else None)({"type": "lifespan"}, receive, send)
    assert replies == [("lifespan.startup.complete", True), ("lifespan.shutdown.complete", False)]


async def test_cluster_belongs_to_one_hub(make_hubs):
    _, one = await make_hubs(1)
    with pytest.raises(ConfigError, match="already belongs to a hub"):
        Hub(one.issuer.verifier(), cluster=one.sio.application.settings.cluster, revocations=MemoryRevocations())
    with pytest.raises(ConfigError, match="must be a roomkey"):
        Hub(one.issuer.verifier(), cluster="redis://")
    with pytest.raises(ConfigError, match="requires a store of revocations"):
        Hub(one.issuer.verifier(), cluster=Cluster(MemoryBus(MemoryNetwork()), secrets=[SECRET]))


# What the guards of all nodes share


async def test_revocation_reaches_the_sockets_of_other_nodes_without_a_poll(make_hubs):
    world, one, other, ada, bob = await two(make_hubs)
    again = await other.member("ada")
    await one.guard.revoke(subject="ada")
    await world.settle()
    assert (ada.session.closed, again.session.closed, bob.session.closed) == (True, True, False)
    await one.guard.update("bob", rooms=[])
    await world.settle()
    [live] = other.guard.sockets("bob")
    assert live.identity.rooms == ()
    await one.guard.disconnect(subject="bob")
    await world.settle()
    assert bob.session.closed


async def test_node_that_was_cut_off_reads_the_journal_when_it_is_back(make_hubs):
    world, one, other, _, bob = await two(make_hubs)
    world.network.cut(node(other))
    await one.guard.revoke(subject="bob")
    await world.settle()
    assert not bob.session.closed
    world.network.mend(node(other))
    await world.settle()
    assert bob.session.closed


async def test_limit_of_a_subject_counts_the_sockets_of_all_nodes(make_hubs):
    world, one, other = await make_hubs(2, subject_limits=SubjectLimits(sockets=1))
    await one.member("ada")
    second = await other.client()
    second.begin_connect(other.token("ada"))
    await world.settle()
    assert second.got[0].startswith("4")
    assert "sockets" in second.got[0]
