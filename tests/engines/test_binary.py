"""Bytes in events and acknowledgements, in both directions."""

from __future__ import annotations

import asyncio
import json

import pytest


async def test_server_can_emit_bytes(make_world):
    world = await make_world()
    client = await world.member()
    await world.sio.emit("file", ({"a": [b"\x00one"], "n": 1}, b"two", b"three"))
    head = str(await client.receive())
    assert head.startswith("453-[")
    assert json.loads(head[4:]) == [
        "file",
        {"a": [{"_placeholder": True, "num": 0}], "n": 1},
        {"_placeholder": True, "num": 1},
        {"_placeholder": True, "num": 2},
    ]
    assert [await client.receive() for _ in range(3)] == [b"\x00one", b"two", b"three"]


@pytest.mark.parametrize("engine", ["hub"])
@pytest.mark.parametrize("kind", [bytearray, memoryview])
async def test_bytes_like_objects_are_sent_as_bytes(make_world, kind):
    """python-socketio passes it to a transport that cannot send it, and the client is disconnected."""
    world = await make_world()
    client = await world.member()
    await world.sio.emit("file", kind(b"data"))
    assert [await client.receive(), await client.receive()] == ['451-["file",{"_placeholder":true,"num":0}]', b"data"]


async def test_handler_receives_and_acknowledges_bytes(make_world):
    def prepare(world):
        @world.sio.event
        async def swap(sid, data, number):
            world.calls.append((data, number))
            return data["second"], data["list"][0]

    world = await make_world(prepare=prepare)
    client = await world.member()
    places = [{"_placeholder": True, "num": number} for number in range(2)]
    await client.send("452-9" + json.dumps(["swap", {"list": [places[0]], "second": places[1]}, 5]))
    for part in (b"\x00\xff", b""):
        await client.send(part)
    assert str(await client.receive()).startswith("462-9[")
    assert [await client.receive() for _ in range(2)] == [b"", b"\x00\xff"]
    assert world.calls == [({"list": [b"\x00\xff"], "second": b""}, 5)]


async def test_client_acknowledgement_can_contain_bytes(make_world):
    world = await make_world()
    client = await world.member()
    calling = asyncio.create_task(world.sio.call("ask", to=world.sid()))
    assert await client.receive() == '421["ask"]'
    await client.send("461-1" + json.dumps([{"_placeholder": True, "num": 0}]))
    await client.send(b"answer")
    assert await calling == b"answer"


async def test_bytes_reach_a_room_of_a_namespace(make_world):
    world = await make_world(policy=None, server={"namespaces": ["/chat"]})
    client, other = await world.member("ada", "/chat"), await world.member("bob", "/chat")
    await world.sio.enter_room(world.sid("ada", "/chat"), "red", namespace="/chat")
    await world.sio.emit("file", b"x", room="red", namespace="/chat")
    assert [await client.receive(), await client.receive()] == [
        '451-/chat,["file",{"_placeholder":true,"num":0}]',
        b"x",
    ]
    assert await other.quiet(0.05) == []
