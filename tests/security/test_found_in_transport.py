"""Findings of a security review of the transports: frames, polling requests, upgrades and attachments."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from support.live import Poll, until
from support.world import BOTH, NOT_THE_OWNER, clock, engine, make_world
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as ws_connect
from websockets.exceptions import ConnectionClosed

from roomkey import Issuer, Policy, Verifier

__all__ = ["clock", "engine", "make_world"]

pytestmark = BOTH


def upgrading(host: str, poll: Poll) -> ws_connect:
    """Open a WebSocket for a polling session."""
    return ws_connect(f"ws://{host}/socket.io/?EIO=4&transport=websocket&sid={poll.sid}", compression=None)


@asynccontextmanager
async def half_upgraded(host: str, poll: Poll) -> AsyncIterator[ClientConnection]:
    """Open a WebSocket for a polling session and wait for the reply to its probe."""
    async with upgrading(host, poll) as half:
        await half.send("2probe")
        assert await half.recv() == "3probe"
        yield half


@pytest.mark.checklist("D60")
async def test_only_one_upgrade_runs_and_ends_with_its_session(make_world):
    world = await make_world()
    poll = await Poll(world.host).open()
    opened = [await upgrading(world.host, poll) for _count in range(5)]
    for one in opened:
        try:
            await one.send("2probe")
        except ConnectionClosed:
            continue
    await until(lambda: sum(one.state.name == "OPEN" for one in opened) == 1)
    await world.tick(16)
    await until(lambda: all(one.state.name == "CLOSED" for one in opened))
    await until(lambda: not world.guard.index.connections)
    await poll.close()


@pytest.mark.checklist("D60")
async def test_unfinished_upgrade_is_closed(make_world, monkeypatch):
    monkeypatch.setattr("roomkey.socketio.engine_sessions.UPGRADE_SECONDS", 0.1)
    world = await make_world()
    poll = await Poll(world.host).open()
    async with half_upgraded(world.host, poll) as half:
        await world.tick(10.1)
        await asyncio.wait_for(half.wait_closed(), 20)
    await poll.close()


@pytest.mark.checklist("D60")
async def test_upgrade_ends_when_its_session_is_closed_by_post(make_world):
    world = await make_world(max_anonymous=3)
    for _count in range(5):
        poll = await Poll(world.host).open()
        async with half_upgraded(world.host, poll) as half:
            await poll.post("1")
            await asyncio.wait_for(half.wait_closed(), 20)
        await poll.close()
    await until(lambda: not world.guard.index.connections)


@pytest.mark.checklist("D60")
async def test_polling_session_continues_after_a_failed_upgrade(make_world, monkeypatch):
    monkeypatch.setattr("roomkey.socketio.engine_sessions.UPGRADE_SECONDS", 0.1)
    world = await make_world()
    poll = await Poll.member(world.host, world.token())
    async with half_upgraded(world.host, poll) as half:
        await world.tick(10.1)
        await asyncio.wait_for(half.wait_closed(), 20)
    await world.sio.emit("news", 1)
    packets = await poll.get()
    assert "news" in str(packets if packets != ["6"] else await poll.get())
    await poll.close()


@pytest.mark.checklist("E63", "J7")
@pytest.mark.parametrize("body", ["6", "2", "0", "x", "9"])
async def test_unreadable_post_leaves_nothing(make_world, body):
    world = await make_world()
    poll = await Poll(world.host).open()
    await asyncio.wait_for(poll.http.post(poll.url(), content=body), 20)
    await until(lambda: not world.guard.index.connections)
    left = [task for task in asyncio.all_tasks() if "run_asgi" in repr(task)]
    assert left == []
    await poll.close()


@pytest.mark.checklist("D56")
async def test_session_belongs_to_a_subject_of_one_issuer(make_world, engine, clock):
    ours = Issuer.ephemeral(issuer="https://a.example", audience="chat", clock=clock.now, algorithm="ES256")
    other = Issuer.ephemeral(issuer="https://b.example", audience="chat", clock=clock.now, algorithm="ES256")
    both = Verifier(
        {"https://a.example": ours.key.public(), "https://b.example": other.key.public()},
        algorithms=["ES256"],
        audience="chat",
    )
    world = await make_world(verifier=both)
    owner = await Poll(world.host, headers={"Authorization": f"Bearer {ours.issue('1')}"}).open()
    await owner.post("40")
    await owner.get()
    await world.sio.emit("private", 1)
    thief = Poll(world.host, headers={"Authorization": f"Bearer {other.issue('1')}"})
    thief.sid = owner.sid
    assert await thief.answer() == NOT_THE_OWNER
    assert "private" in (await owner.get())[0]
    await owner.close()
    await thief.close()


@pytest.mark.checklist("D56")
async def test_renewed_token_owns_the_session_of_another_namespace(make_world):
    policy = Policy()
    policy.namespace("/")(lambda who: False)

    def prepare(world):
        world.sio.on("x", lambda sid: None, namespace="/chat")

    world = await make_world(policy=policy, prepare=prepare)
    owner = await Poll(world.host, headers={"Authorization": f"Bearer {world.token()}"}).open()
    await owner.post("40/chat,")
    await owner.get()
    await world.sio.emit("news", 1, namespace="/chat")
    renewed = Poll(world.host, headers={"Authorization": f"Bearer {world.token()}"})
    renewed.sid = owner.sid
    assert "news" in (await renewed.get())[0]
    await owner.close()
    await renewed.close()


@pytest.mark.checklist("E63")
@pytest.mark.parametrize("frame", ["x", "", "²", "4" + "[" * 100_000])
async def test_unreadable_frame_disconnects(make_world, frame, caplog):
    def prepare(world):
        world.sio.on("disconnect", lambda *arguments: world.calls.append("disconnect"))

    world = await make_world(prepare=prepare)
    client = await world.member()
    await client.send(frame)
    assert await client.is_closed()
    await until(lambda: world.calls == ["disconnect"] and not world.guard.index.connections)
    assert "Exception in ASGI" not in caplog.text


@pytest.mark.checklist("E67")
@pytest.mark.parametrize(
    "numbers", [[0, 0], [0] * 500, [-1], [True], [1], ["0"], [0.0], [None], []], ids=lambda numbers: str(numbers)[:20]
)
async def test_placeholders_and_attachments_match_one_to_one(make_world, numbers):
    def prepare(world):
        world.sio.on("x", lambda sid, data: world.calls.append(data))

    world = await make_world(prepare=prepare)
    client = await world.member()
    await client.send("451-" + json.dumps(["x", [{"_placeholder": True, "num": number} for number in numbers]]))
    await client.send(b"attachment")
    assert await client.is_closed()
    assert world.calls == []


@pytest.mark.checklist("E68")
async def test_attachments_are_bounded_in_bytes(make_world):
    world = await make_world(server={"max_http_buffer_size": 1000})
    client = await world.member()
    places = [{"_placeholder": True, "num": number} for number in range(10)]
    await client.send("4510-" + json.dumps(["x", places]))
    for _attachment in range(10):
        await client.send(b"x" * 900)
    assert await client.is_closed()


@pytest.mark.checklist("E75")
async def test_revoked_client_that_never_reads_is_closed(make_world):
    world = await make_world()
    client = await world.member()
    client.ws.transport.pause_reading()
    for _count in range(100):
        await world.sio.emit("news", "x" * 200_000)
    await world.guard.revoke(subject="ada")
    await until(lambda: not world.guard.index.connections)
    client.ws.transport.abort()


@pytest.mark.checklist("E78")
async def test_nested_placeholders_are_parsed_quickly(make_world):
    world = await make_world()
    client = await world.member()
    inner = json.dumps([{"_placeholder": True, "num": 0}] * 20_000)
    await client.send('451-["x",' + "[" * 800 + inner + "]" * 801)
    await client.send(b"x")
    assert await client.is_closed()
