"""emit, send, rooms and disconnect: the methods of python-socketio's AsyncServer, on it and on the hub."""

from __future__ import annotations

import asyncio
import json

import pytest
from support.live import Poll, until

from roomkey.errors import PermissionDenied

EVERYBODY = ["ada", "bob", "eve"]


async def three(make_world, **settings):
    """Return a world with three members, and a function that returns what each of them has received."""
    world = await make_world(**{"policy": None, **settings})
    members = {name: await world.member(name) for name in EVERYBODY}

    async def got():
        """Return, by name, the arguments of each event ``news``. A last event shows that all others have arrived."""
        await world.sio.emit("end")
        found = {}
        for name, client in members.items():
            found[name] = []
            while (packet := await client.receive()) != '42["end"]':
                assert str(packet).startswith('42["news"'), packet
                found[name].append(packet)
        return {name: packets for name, packets in found.items() if packets}

    return world, got


@pytest.mark.parametrize("room", [42, 0, "42"], ids=repr)
async def test_room_can_be_a_number(make_world, room):
    world = await make_world(policy=None)
    ada, bob = await world.member("ada"), await world.member("bob")
    await world.sio.enter_room(world.sid("ada"), room)
    assert room in world.sio.rooms(world.sid("ada"))
    await world.sio.emit("news", 1, room=room)
    await world.sio.emit("news", 2, room=[room, "none"])
    await world.sio.emit("news", 3, room=room, skip_sid=world.sid("ada"))
    assert [await ada.expect_event("news") for _ in range(2)] == [[1], [2]]
    await world.sio.leave_room(world.sid("ada"), room)
    await world.sio.enter_room(world.sid("bob"), room)
    await world.sio.close_room(room)
    await world.sio.emit("news", 4, room=room)
    await world.sio.emit("news", 5)
    assert await bob.expect_event("news") == await ada.expect_event("news") == [5]


async def test_emit_reaches_everybody_in_the_namespace(make_world):
    world, got = await three(make_world)
    await world.sio.emit("news", {"a": 1})
    await world.sio.emit("news", {"b": 1}, namespace="/other")
    assert await got() == {name: ['42["news",{"a":1}]'] for name in EVERYBODY}


@pytest.mark.parametrize(
    ("data", "wire"),
    [
        (None, '["news"]'),
        ((), '["news"]'),
        ("text", '["news","text"]'),
        (("a", 2), '["news","a",2]'),
        (["a", 2], '["news",["a",2]]'),
        ((None,), '["news",null]'),
        (0, '["news",0]'),
        (False, '["news",false]'),
        ("", '["news",""]'),
        ({"nested": [{"x": 1.5}]}, '["news",{"nested":[{"x":1.5}]}]'),
    ],
    ids=str,
)
async def test_emit_sends_a_tuple_as_arguments_and_none_as_no_argument(make_world, data, wire):
    world = await make_world(policy=None)
    client = await world.member()
    await world.sio.emit("news", data)
    assert await client.receive() == f"42{wire}"


@pytest.mark.parametrize("by", ["to", "room"])
async def test_emit_reaches_a_client_a_room_or_several(make_world, by):
    world, got = await three(make_world)
    for name in ("ada", "bob"):
        await world.sio.enter_room(world.sid(name), "red")
    await world.sio.enter_room(world.sid("bob"), "blue")
    await world.sio.emit("news", 1, **{by: world.sid("ada")})
    await world.sio.emit("news", 2, **{by: "red"})
    await world.sio.emit("news", 3, **{by: ["red", "blue"]})
    await world.sio.emit("news", 4, **{by: ["blue", world.sid("eve"), "nobody"]})
    await world.sio.emit("news", 5, **{by: "nobody"})
    numbers = {name: [packet[10:-1] for packet in packets] for name, packets in (await got()).items()}
    assert numbers == {"ada": ["1", "2", "3"], "bob": ["2", "3", "4"], "eve": ["4"]}


async def test_emit_to_an_empty_list_reaches_nobody(make_world, engine):
    """python-socketio reads an empty list as no list, and sends to everybody."""
    world, got = await three(make_world)
    await world.sio.emit("news", 1, to=[])
    assert sorted(await got()) == ([] if engine == "hub" else EVERYBODY)


@pytest.mark.parametrize("kind", ["one", "several"])
async def test_emit_skips_excluded_clients(make_world, kind):
    world, got = await three(make_world)
    for name in EVERYBODY:
        await world.sio.enter_room(world.sid(name), "red")
    skip = world.sid("ada") if kind == "one" else [world.sid("ada"), world.sid("eve")]
    await world.sio.emit("news", 1, skip_sid=skip)
    await world.sio.emit("news", 2, room="red", skip_sid=skip)
    await world.sio.emit("news", 3, to=world.sid("ada"), skip_sid=skip)
    others = ["bob", "eve"] if kind == "one" else ["bob"]
    assert await got() == {name: ['42["news",1]', '42["news",2]'] for name in others}


async def test_emit_stays_in_its_namespace(make_world):
    world = await make_world(policy=None, server={"namespaces": ["/", "/chat"]})
    client, other = await world.member("ada", "/chat"), await world.member("bob")
    sid = world.sid("ada", "/chat")
    await world.sio.emit("news", 1, namespace="/chat")
    await world.sio.emit("news", 2, to=sid, namespace="/chat")
    await world.sio.emit("news", 3, to=sid)  # a sid is a client of its own namespace only
    await world.sio.emit("news", 4)
    assert await other.receive() == '42["news",4]'
    assert [await client.receive() for _ in range(2)] == ['42/chat,["news",1]', '42/chat,["news",2]']
    assert await client.quiet(0.05) == []


async def test_send_emits_the_event_message(make_world):
    world = await make_world(policy=None)
    client = await world.member()
    await world.sio.send("hello", to=world.sid())
    assert await client.receive() == '42["message","hello"]'


@pytest.mark.parametrize(("data", "error"), [(object(), TypeError), ({1, 2}, TypeError), (float("inf"), ValueError)])
async def test_emit_of_a_value_that_is_not_json_raises(make_world, data, error):
    world, got = await three(make_world)
    with pytest.raises(error):
        await world.sio.emit("news", data)
    assert await got() == {}


# rooms


async def test_rooms_can_be_joined_left_and_closed(make_world):
    world, got = await three(make_world)
    ada, bob = world.sid("ada"), world.sid("bob")
    assert sorted(world.sio.rooms(ada)) == sorted([ada, "user:ada"])
    for sid in (ada, bob):
        await world.sio.enter_room(sid, "red")
        await world.sio.enter_room(sid, "red")
    assert sorted(world.sio.rooms(ada)) == sorted([ada, "red", "user:ada"])
    await world.sio.leave_room(ada, "red")
    await world.sio.leave_room(ada, "red")
    await world.sio.leave_room(ada, "never entered")
    assert sorted(world.sio.rooms(ada)) == sorted([ada, "user:ada"])
    await world.sio.emit("news", 1, room="red")
    await world.sio.close_room("red")
    await world.sio.close_room("nowhere")
    await world.sio.emit("news", 2, room="red")
    assert world.rooms() == {}
    assert await got() == {"bob": ['42["news",1]']}


async def test_room_belongs_to_its_namespace(make_world):
    world = await make_world(policy=None, server={"namespaces": ["/", "/chat"]})
    here, there = await world.member("ada"), await world.member("ada", "/chat")
    await world.sio.enter_room(world.sid(), "red")
    await world.sio.enter_room(world.sid(namespace="/chat"), "red", namespace="/chat")
    await world.sio.close_room("red", namespace="/chat")
    await world.sio.emit("news", 1, room="red", namespace="/chat")
    await world.sio.emit("news", 2, room="red")
    assert await here.receive() == '42["news",2]'
    assert await there.quiet(0.05) == []


async def test_disconnected_client_leaves_its_rooms(make_world):
    world = await make_world(policy=None)
    client = await world.member()
    sid = world.sid()
    await world.sio.enter_room(sid, "red")
    await client.close()
    await until(lambda: world.is_empty)
    assert world.rooms() == {}
    assert world.sio.rooms(sid) == []
    await world.sio.leave_room(sid, "red")  # whoever tidies up may come too late


@pytest.mark.checklist("K16")
async def test_room_of_a_socket_id_cannot_be_joined_or_closed(make_world):
    world, got = await three(make_world)
    ada, bob = world.sid("ada"), world.sid("bob")
    with pytest.raises(PermissionDenied):
        await world.sio.enter_room(ada, bob)
    with pytest.raises(ValueError, match="sid"):
        await world.sio.close_room(bob)
    await world.sio.enter_room(ada, ada)
    assert sorted(world.sio.rooms(ada)) == sorted([ada, "user:ada"])
    await world.sio.emit("news", 1, to=bob)
    assert list(await got()) == ["bob"]


# clients


async def test_disconnecting_the_last_namespace_ends_the_connection(make_world):
    world = await make_world(policy=None, server={"namespaces": ["/", "/chat"]})
    client = await world.member("ada")
    await client.ask({"token": world.token()}, "/chat")
    sid = world.sid("ada", "/chat")
    await world.sio.disconnect(sid, namespace="/chat")
    assert await client.receive() == "41/chat,"
    await world.sio.disconnect(sid, namespace="/chat")
    await world.sio.disconnect("no such client")
    await world.sio.emit("news", 1)
    assert await client.receive() == '42["news",1]'
    await world.sio.disconnect(world.sid())
    assert await client.receive() == "41"
    assert await client.is_closed()


async def test_namespace_can_be_rejoined_during_its_disconnect_handler(make_world):
    """The official client sends both packets at once when an application calls disconnect() and connect()."""
    gate = asyncio.Event()

    def prepare(world):
        async def disconnect(sid, *reason):
            world.calls.append(("left", sid))
            await gate.wait()
            world.calls.append(("forgotten", world.guard.identity(sid, "/chat").subject))

        world.sio.on("disconnect", disconnect, namespace="/chat")

    world = await make_world(prepare=prepare)
    client = await world.member("ada")
    await client.ask({"token": world.token()}, "/chat")
    first = world.sid("ada", "/chat")
    await client.send("41/chat,")
    await client.send("40/chat," + json.dumps({"token": world.token()}))
    await until(lambda: world.calls == [("left", first)])
    gate.set()
    assert str(await client.receive()).startswith("40/chat,{")
    await until(lambda: len(world.calls) == 2)
    assert world.calls[1] == ("forgotten", "ada")
    second = world.sid("ada", "/chat")
    assert second != first
    await world.sio.emit("news", 1, namespace="/chat")
    assert await client.receive() == '42/chat,["news",1]'


async def test_transport_and_environ_are_available(make_world):
    world = await make_world(policy=None)
    await world.client(query="&x=1", headers={"X-Mine": "yes", "Authorization": f"Bearer {world.token('ada')}"})
    client = world._clients[0]
    await client.ask()
    poll = await Poll(world.host, headers={"Authorization": f"Bearer {world.token('bob')}"}).open()
    await poll.post("40")
    await poll.get()
    assert [world.sio.transport(world.sid(name)) for name in ("ada", "bob")] == ["websocket", "polling"]
    environ = world.sio.get_environ(world.sid("ada"))
    assert environ["HTTP_X_MINE"] == "yes"
    assert "x=1" in environ["QUERY_STRING"]
    assert environ["PATH_INFO"] == "/socket.io/"
    assert environ["REQUEST_METHOD"] == "GET"
    await poll.close()
