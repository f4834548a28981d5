"""Responses that every kind of polling client can read."""

from __future__ import annotations

import asyncio

from support.live import Poll, Raw, until

MOST = 16  # engineio.payload.Payload.max_decode_packets, beyond which python-socketio's client loses its connection


async def test_response_has_at_most_16_packets(make_world):
    world = await make_world()
    poll = await Poll.member(world.host, world.token())
    for number in range(40):
        await world.sio.emit("news", number)
    answers: list[list[str]] = []
    while sum(map(len, answers)) < 40:
        answers.append(await poll.get())
    assert [packet for packets in answers for packet in packets] == [f'42["news",{number}]' for number in range(40)]
    assert max(map(len, answers)) == MOST
    await poll.close()


async def test_unfetched_packets_follow_the_upgrade(make_world):
    world = await make_world()
    poll = await Poll.member(world.host, world.token())
    for number in range(40):
        await world.sio.emit("news", number)
    assert len(await poll.get()) == MOST
    raw = await Raw.upgrade(world.host, poll.sid)
    assert [await raw.receive() for _ in range(40 - MOST)] == [f'42["news",{number}]' for number in range(MOST, 40)]
    await raw.close()
    await poll.close()


async def test_poll_waits_for_the_reason_of_the_end(make_world, monkeypatch):
    """A poll can arrive after a socket has ended, and before the reason is sent."""
    world = await make_world()
    poll = await Poll.member(world.host, world.token())
    [socket] = world.guard.index.sockets.values()
    kind, sent = type(socket.host), asyncio.Event()
    send_event = kind.send_event

    async def send_late(host, event, data):
        await sent.wait()
        await send_event(host, event, data)

    monkeypatch.setattr(kind, "send_event", send_late)
    revoking = asyncio.create_task(world.guard.revoke(subject="ada"))
    await until(lambda: socket.connection.closing)
    answer, polled = asyncio.create_task(poll.get()), asyncio.create_task(world.polled())
    await asyncio.wait({answer, polled}, return_when=asyncio.FIRST_COMPLETED)
    polled.cancel()
    sent.set()
    assert (await answer)[0].startswith('42["unauthorized"')
    await revoking
    await poll.close()


async def test_last_packets_are_fetched_16_at_a_time(make_world):
    world = await make_world()
    poll = await Poll.member(world.host, world.token())
    for number in range(20):
        await world.sio.emit("news", number)
    await world.sio.disconnect(world.sid())
    packets = await poll.get()
    assert len(packets) == MOST
    packets += await poll.get()
    assert packets[:21] == [*[f'42["news",{number}]' for number in range(20)], "41"]
    await poll.close()
    await until(lambda: world.is_empty)
