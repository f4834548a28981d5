"""Costs of a connection before and after admission: bytes, frames, fragments, requests and pending upgrades."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
from support.live import Poll, serve, until
from support.rawsocket import CONTINUATION, PING, PONG, TEXT, RawSocket, frame, upgrade
from support.world import World, clock, make_world

from roomkey.guard import session_binding
from roomkey.hub import Authenticate, Hub

__all__ = ["clock", "make_world"]

LIMIT = 16_384
PLACES = {"hub": "hub", "hub-asgi": "hub", "python-socketio": "python-socketio"}


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def engine(request: pytest.FixtureRequest) -> str:
    return PLACES[request.getfixturevalue("place")] if "place" in request.fixturenames else "hub"


@pytest.fixture
async def quarantine(make_world, place) -> AsyncIterator[World]:
    """Return a server that keeps sockets in quarantine until they authenticate, run in each possible way."""
    world = await make_world(via=Authenticate())
    if place != "hub-asgi":
        yield world
        return
    async with serve(world.sio.asgi) as world.host:
        yield world


def connect_packet(size: int) -> str:
    """Return a CONNECT packet of this size, made of arrays, which take much more memory when decoded."""
    packet = '40{"a":[%s0],"b":"%s"}'
    filled = packet % ("[]," * ((size - 100) // 3), "")
    return packet % ("[]," * ((size - 100) // 3), "x" * (size - len(filled)))


@pytest.mark.checklist("I114")
async def test_large_packet_before_admission_closes_the_websocket(quarantine):
    """No packet over the limit is kept or decoded before admission."""
    small, large = await RawSocket.session(quarantine.host), await RawSocket.session(quarantine.host)
    await small.text(connect_packet(LIMIT - 100))
    assert (await small.packet()).startswith("40")
    await large.text(connect_packet(LIMIT + 10))
    await large.close_code()
    await until(lambda: len(quarantine.guard.index.connections) == 1)
    await small.text(connect_packet(LIMIT + 10))  # in quarantine is not admitted
    await small.close_code()
    await until(lambda: not quarantine.guard.index.connections)


async def test_admitted_client_can_send_large_packets(quarantine):
    received = []
    quarantine.sio.on("data", lambda sid, text: received.append(len(text)))
    raw = await RawSocket.session(quarantine.host)
    await raw.text("40")
    await raw.packet()
    await raw.text('42["authenticate",{}]'.format(json.dumps({"token": quarantine.token()})))
    assert "authenticated" in await raw.packet()
    await raw.text('42["data","%s"]' % ("x" * 500_000))
    await until(lambda: received == [500_000])
    await raw.close()


@pytest.mark.checklist("I114")
async def test_large_polling_body_before_admission_closes_the_session(quarantine):
    polls = [await Poll(quarantine.host).open() for _count in range(3)]
    assert (await polls[0].post(connect_packet(LIMIT - 100))).text.lower() == "ok"
    await polls[1].post(connect_packet(LIMIT + 10))
    assert (await polls[2].post(connect_packet(540_000))).status_code == 413
    await until(lambda: len(quarantine.guard.index.connections) == 1)
    for poll in polls:
        await poll.close()


@pytest.mark.checklist("I114")
async def test_large_frame_before_admission_is_not_buffered(make_world):
    world = await make_world()
    raw = await RawSocket.session(world.host)
    await raw.send(frame(b"x" * 900_000)[: LIMIT + 5000])  # the rest never comes
    assert await raw.close_code() == 1009
    fragmented = await RawSocket.session(world.host)
    await fragmented.send(frame(b"x" * 10_000, TEXT, fin=False) + frame(b"x" * 10_000, CONTINUATION, fin=False))
    assert await fragmented.close_code() == 1009


async def test_admitted_connection_can_send_large_frames(make_world):
    world = await make_world()
    raw = await RawSocket.member(world.host, world.token())
    await raw.send(frame(b"x" * 900_000)[: LIMIT * 2])
    await raw.send(frame(b"x" * 900_000)[LIMIT * 2 :])  # no packet, but no packet over the limit either
    assert await raw.close_code() == 1008


@pytest.mark.checklist("E73")
@pytest.mark.parametrize("admitted", [False, True])
@pytest.mark.parametrize("flood", [frame(b"", PING), frame(b"x" * 125, PONG)], ids=["ping", "pong"])
async def test_control_frame_flood_is_closed(make_world, flood, admitted):
    """Control frames are counted, and a flood closes the connection before it affects others."""
    world = await make_world()
    opened = RawSocket.member(world.host, world.token()) if admitted else RawSocket.session(world.host)
    raw = await opened
    await raw.send(flood * 90)
    world.clock.advance(1)
    await raw.sync()
    world.clock.advance(1)
    await raw.send(flood * 101)
    assert await raw.close_code() == 1008
    await until(lambda: not world.sio.sessions.active)


@pytest.mark.checklist("E73")
async def test_flood_during_an_upgrade_is_closed(make_world):
    world = await make_world()
    poll = await Poll(world.host).open()
    raw = await RawSocket.websocket(world.host, f"&sid={poll.sid}")
    await raw.send(frame(b"", PING) * 101)
    assert await raw.close_code() == 1008
    await poll.close()


def fragments(text: bytes, size: int) -> bytes:
    parts = [text[start : start + size] for start in range(0, len(text), size)]
    first, *middle, last = parts
    frames = [frame(one, CONTINUATION, fin=False) for one in middle]
    return b"".join([frame(first, TEXT, fin=False), *frames, frame(last, CONTINUATION)])


@pytest.mark.checklist("E73")
async def test_small_fragments_are_counted_as_events(make_world):
    world = await make_world(event_rate=300)
    received = []
    world.sio.on("data", lambda sid, text: received.append(len(text)))
    raw = await RawSocket.member(world.host, world.token())
    text = b'42["data","%b"]' % (b"x" * 6000)
    await raw.send(fragments(text, 2000) * 200)
    await until(lambda: len(received) == 200)
    world.clock.advance(1)
    await raw.send(fragments(text, 24))
    await until(lambda: len(received) == 201)
    await raw.send(fragments(text, 24) * 2)
    assert await raw.close_code() == 1008


@pytest.mark.checklist("E73")
async def test_fragments_before_admission_are_counted_like_control_frames(make_world):
    world = await make_world()
    raw = await RawSocket.session(world.host)
    await raw.send(frame(b"4", TEXT, fin=False) + frame(b"", CONTINUATION, fin=False) * 100)
    assert await raw.close_code() == 1008


@pytest.mark.checklist("E73")
async def test_fragment_cost_does_not_grow_with_their_number(make_world, monkeypatch):
    world = await make_world(event_rate=1e6)
    raw = await RawSocket.member(world.host, world.token())
    [session] = world.sio.sessions.active.values()
    await raw.send(frame(b"4", TEXT, fin=False) + frame(b"xx", CONTINUATION, fin=False) * 500)
    await raw.sync()
    assert session.transport._reader._held == 1001
    await raw.close()


@pytest.mark.parametrize("size", [0, 100])
def test_limit_smaller_than_a_token_is_rejected(size):
    from roomkey import ConfigError, Issuer

    with pytest.raises(ConfigError, match="max_anonymous_packet must be at least"):
        Hub(Issuer.ephemeral(audience="chat").verifier(), max_anonymous_packet=size)


class Waits:
    """A verifier that never returns."""

    def __init__(self) -> None:
        self.asked = self.left = 0

    async def verify(self, token, now, *, source=""):
        self.asked += 1
        try:
            await asyncio.Event().wait()
        finally:
            self.left += 1


@pytest.fixture
async def waiting(make_world, place) -> AsyncIterator[tuple[World, Waits]]:
    """Return a server whose verifier never returns."""
    verifier = Waits()
    world = await make_world(verifier=verifier)
    if place != "hub-asgi":
        yield world, verifier
        return
    async with serve(world.sio.asgi) as world.host:
        yield world, verifier


async def asks_for_an_upgrade(world: World, poll: Poll) -> RawSocket:
    raw = await RawSocket.open(world.host)
    await raw.send(upgrade(world.host, f"&sid={poll.sid}", Authorization=f"Bearer {world.token(rooms=['red'])}"))
    return raw


@pytest.mark.checklist("I114")
@pytest.mark.parametrize("ends", ["close", "deadline", "session"])
async def test_upgrade_waiting_for_its_verifier_has_a_deadline(waiting, ends, monkeypatch):
    """A pending upgrade has a deadline, and ends with the server and with its session."""
    world, verifier = waiting
    if ends == "deadline":
        monkeypatch.setattr(session_binding, "OWNER_SECONDS", 0.1)
    poll = await Poll(world.host, headers={"Authorization": f"Bearer {world.token()}"}).open()
    raw = await asks_for_an_upgrade(world, poll)
    await until(lambda: verifier.asked)
    if ends == "close":
        await (world.sio.close() if isinstance(world.sio, Hub) else world.guard.close())
    elif ends == "session":
        await poll.post("1")
    assert await raw.ends()
    assert verifier.left == verifier.asked
    await poll.close()


@pytest.mark.checklist("I114")
async def test_requests_waiting_for_the_verifier_are_bounded(waiting):
    world, verifier = waiting
    poll = await Poll(world.host, headers={"Authorization": f"Bearer {world.token()}"}).open()
    few = [await asks_for_an_upgrade(world, poll) for _count in range(session_binding.MAX_VERIFYING)]
    await until(lambda: verifier.asked == session_binding.MAX_VERIFYING)
    many = await asks_for_an_upgrade(world, poll)
    assert (await many.answer()).status == 403
    assert verifier.asked == session_binding.MAX_VERIFYING
    for raw in few:
        await raw.close()
    await poll.close()


@pytest.mark.checklist("I114")
async def test_verification_stops_when_the_upgrading_client_leaves(make_world):
    verifier = Waits()
    world = await make_world(verifier=verifier)
    poll = await Poll(world.host, headers={"Authorization": f"Bearer {world.token()}"}).open()
    raw = await asks_for_an_upgrade(world, poll)
    await until(lambda: verifier.asked)
    await raw.close()
    await until(lambda: verifier.left)
    assert not world.sio.requests.pending
    await poll.close()


@pytest.mark.checklist("I114")
async def test_packets_before_admission_have_a_lower_rate(make_world):
    world = await make_world()
    raw = await RawSocket.session(world.host)
    started = []
    start = world.sio.tasks.start
    world.sio.tasks.start = lambda work: (started.append(work), start(work))
    await raw.send(frame('42["x"]') * 5000)
    assert await raw.close_code() in (1000, 1008)
    assert len(started) <= 101


@pytest.mark.checklist("D62")
async def test_packets_of_a_closed_client_are_not_read(make_world):
    world = await make_world()
    raw = await RawSocket.session(world.host)
    [session] = world.sio.sessions.active.values()
    websocket = session.transport
    await raw.send(frame("2") * 50_000)
    await until(lambda: websocket._late >= 1000)
    assert not websocket._transport.is_reading()
    assert await raw.close_code() == 1008
