"""What a connection may send while none of its sockets is admitted."""

from __future__ import annotations

import json

import pytest
from support.live import Poll, until
from support.rawsocket import RawSocket, frame, hello
from support.world import BOTH, echo

from roomkey.socketio import Authenticate, Handshake

pytestmark = BOTH

LARGE = "x" * 20_000


def connections(world) -> int:
    return len(world.guard.index.connections)


@pytest.mark.checklist("I114")
@pytest.mark.parametrize("way", [Handshake(), Authenticate()], ids=["handshake", "authenticate"])
async def test_large_packet_before_admission_closes(make_world, way):
    """The packet is dropped before it is decoded, on both transports."""
    world = await make_world(prepare=echo, via=way)
    raw = await RawSocket.session(world.host)
    await raw.text("40" + json.dumps({"token": LARGE}))
    await raw.close_code()
    poll = await Poll(world.host).open()
    await poll.post("40" + json.dumps({"token": LARGE}))
    await until(lambda: connections(world) == 0)
    large = ("a large packet before admission", "a message over the limit (WebSocket close code 1009)")
    assert {str(error) for error, _ in world.refusals} <= set(large)
    assert world.refusals
    await poll.close()


@pytest.mark.parametrize("packet", ['42["*"]', '42["connect"]', '42[""]', '42["' + "e" * 300 + '"]'])
async def test_impossible_event_before_admission_ends_the_socket_like_any_other(make_world, packet):
    world = await make_world(prepare=echo, via=Authenticate())
    raw = await RawSocket.session(world.host)
    await raw.text("40")
    assert (await raw.packet()).startswith("40")
    await raw.text(packet)
    name, told = json.loads((await raw.packet()).removeprefix("42"))
    assert (name, told["data"]["code"]) == ("unauthorized", "credentials_required")
    assert await raw.packet() == "41"


async def test_large_packet_after_admission_is_handled(make_world):
    world = await make_world(prepare=echo)
    raw = await RawSocket.member(world.host, world.token())
    await raw.text(f'42["message","{LARGE}"]')
    assert await raw.packet() == f'42["back","{LARGE}"]'
    poll = await Poll.member(world.host, world.token())
    assert (await poll.post(f'42["message","{LARGE}"]')).text.lower() == "ok"
    assert await poll.get() == [f'42["back","{LARGE}"]']
    await poll.close()


async def test_size_limit_before_admission_can_be_configured(make_world):
    world = await make_world(max_anonymous_packet=100_000)
    member = await RawSocket.session(world.host)
    await member.text("40" + json.dumps({"token": world.token(), "more": LARGE}))
    assert (await member.packet()).startswith("40")


async def test_guest_can_send_large_packets(make_world):
    world = await make_world(prepare=echo, required=False)
    guest = await RawSocket.session(world.host)
    await guest.text("40")
    assert (await guest.packet()).startswith("40")
    await guest.text(f'42["message","{LARGE}"]')
    assert await guest.packet() == f'42["back","{LARGE}"]'


@pytest.mark.checklist("E73")
@pytest.mark.parametrize("packet", ["2", "3", ""])
async def test_control_packet_flood_closes(make_world, packet):
    """engineio starts a task for each pong, expected or not."""
    world = await make_world()
    raw = await RawSocket.member(world.host, world.token())
    await raw.send(frame(packet) * 100)
    await raw.close_code()
    await until(lambda: connections(world) == 0)


@pytest.mark.checklist("I114")
async def test_unfinished_frame_is_bounded_before_admission(make_world):
    """The header announces more than the limit, and nothing beyond the limit is buffered."""
    world = await make_world()
    raw = await RawSocket.session(world.host)
    await raw.send(frame(hello("x" * 500_000))[:40_000])
    if world.engine == "hub":
        assert await raw.ends()
        await until(lambda: connections(world) == 0)
    else:  # the ASGI server reads it completely, up to its own limit
        await raw.send(frame(hello("x" * 500_000))[40_000:])
        await raw.close_code()
