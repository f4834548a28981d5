"""Responses that every kind of polling client can read."""

from __future__ import annotations

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
