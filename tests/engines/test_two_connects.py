"""Two CONNECT packets for one namespace at the same time."""

from __future__ import annotations

import asyncio
import json

import pytest
from support.live import Poll, until
from support.world import Gate

from roomkey import Policy
from roomkey.socketio import Authenticate, Handshake


def _connect(token):
    return "40" + json.dumps({"token": token})


@pytest.mark.checklist("I123")
@pytest.mark.parametrize("waits", [True, False], ids=["while the first is decided", "at once"])
async def test_two_connects_for_one_namespace_give_one_identity(make_world, waits):
    """The first one decides. The second one is not verified and reaches no handler."""
    gate, policy = Gate(), Policy()
    if waits:
        policy.namespace("/")(gate)

    def prepare(world):
        @world.sio.event
        async def connect(sid, environ, auth):
            world.calls.append((sid, world.guard.identity(sid).subject))

    world = await make_world(policy=policy, prepare=prepare, max_refusals=10)
    client = await world.client()
    for subject in ("ada", "bob", "carol"):
        await client.send(_connect(world.token(subject)))
    if waits:
        await gate.reached.wait()
        if world.engine == "hub":  # python-socketio reads the next packet when the first is decided
            await client.sync()
        gate.open.set()
    reply = str(await client.receive())
    assert reply.startswith("40")
    await client.sync()
    sid = json.loads(reply[2:])["sid"]
    assert world.calls == [(sid, "ada")]
    assert [(one.sid, one.identity.subject) for one in world.guard.sockets()] == [(sid, "ada")]
    assert client.inbox.empty()


@pytest.mark.checklist("I123")
async def test_two_connects_in_two_posts_give_one_identity(make_world):
    """Over long-polling, both engines read the second packet while the first one is decided."""
    gate, policy = Gate(), Policy()
    policy.namespace("/")(gate)
    world = await make_world(policy=policy, max_refusals=10)
    client = await Poll(world.host).open()
    first = asyncio.create_task(client.post(_connect(world.token("ada"))))
    await gate.reached.wait()
    assert (await client.post(_connect(world.token("bob")))).status_code == 200
    gate.open.set()
    await first
    await until(lambda: world.guard.sockets())
    await world.settle()
    assert [one.identity.subject for one in world.guard.sockets()] == ["ada"]
    assert len(world.guard.index.sockets) == 1
    await client.close()


@pytest.mark.checklist("I123")
async def test_two_connects_in_one_poll_give_one_identity(make_world):
    world = await make_world(via=(Handshake(), Authenticate()), max_refusals=10)
    client = await Poll(world.host).open()
    await client.post("40", _connect(world.token("bob")))
    assert (await client.get())[0].startswith("40")
    await client.post(f'42["authenticate",{{"token":"{world.token("ada")}"}}]', _connect(world.token("carol")))
    await until(lambda: world.guard.sockets())
    assert [one.identity.subject for one in world.guard.sockets()] == ["ada"]
    assert len(world.guard.index.sockets) == 1
    await client.close()
