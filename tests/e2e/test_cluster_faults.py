"""The official JavaScript client, on two nodes whose Redis is killed and comes back."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest
import pytest_asyncio
from support.brokers import Broker
from support.cluster_process import ISSUER, cluster_process

pytestmark = [pytest.mark.long, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(loop_scope="module")
async def js(js_process):
    """Return the Node process, without a server in this process."""
    yield js_process
    js_process.close_all()


async def member(js, url, subject, transport):
    """Return a client that is connected, and in the room red."""
    site = SimpleNamespace(url=url, path="/socket.io")
    socket = js.open(site, ("current", transport), auth={"token": ISSUER.issue(subject, rooms=["red"])})
    async with asyncio.timeout(20):
        await socket.expect("connect")
    assert await socket.call("join-room", "red") == [{"ok": True}]
    return socket


async def hears(listener, speaker, name, text):
    """Send until the listener receives it: at first, the nodes may not have noticed that Redis is back."""

    async def repeat():
        while True:
            speaker.emit("say", "red", text)
            await asyncio.sleep(0.2)  # the pace of an impatient user

    speaking = asyncio.ensure_future(repeat())
    async with asyncio.timeout(20):
        await listener.skip_to("event", name="say", args=[{"room": "red", "from": name, "data": text}])
    speaking.cancel()


@pytest.mark.checklist("H110")
async def test_javascript_clients_outlive_a_redis_that_is_killed(js, tmp_path):
    broker = Broker("redis", tmp_path / "redis").start()
    settings = {"redis": broker.url, "database": str(tmp_path / "revocations.sqlite3")}
    try:
        with cluster_process(**settings) as (one, _), cluster_process(**settings) as (other, _):
            ada, bob = await member(js, one, "ada", "websocket"), await member(js, other, "bob", "polling")
            await hears(bob, ada, "ada", "before")
            await asyncio.to_thread(broker.kill)
            near = await member(js, one, "eve", "polling")  # the journal is not in Redis
            await hears(near, ada, "ada", "on the same node")
            await asyncio.to_thread(broker.start)
            await hears(bob, ada, "ada", "after")
            await hears(ada, bob, "bob", "after")
    finally:
        broker.kill()
