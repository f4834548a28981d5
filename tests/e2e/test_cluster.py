"""Two processes with a hub each on one Redis server, and the official JavaScript client."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest
import pytest_asyncio
from support.cluster_process import ISSUER, cluster_process
from support.redis_server import redis_server

__all__ = ["redis_server"]

pytestmark = [pytest.mark.long, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(loop_scope="module")
async def js(js_process):
    """Return the Node process, without a server in this process."""
    yield js_process
    js_process.close_all()


@pytest.fixture
def nodes(redis_server, tmp_path):
    """Return two nodes that know each other."""
    url = redis_server.url
    settings = {"redis": url, "database": str(tmp_path / "revocations.sqlite3")}
    with cluster_process(**settings) as (one, first), cluster_process(**settings) as (other, second):
        yield (
            SimpleNamespace(url=one, path="/socket.io", process=first),
            SimpleNamespace(url=other, path="/socket.io", process=second),
        )


async def admitted(js, site, subject, transport, rooms=("red",)):
    socket = js.open(site, ("current", transport), auth={"token": ISSUER.issue(subject, rooms=rooms)})
    await socket.expect("connect")
    return socket


async def everybody(socket, *subjects):
    """Wait until a node knows that these are connected: a node that has just started does not know the others."""
    while await socket.call("who") != [sorted(subjects), True]:
        await asyncio.sleep(0.1)


@pytest.mark.parametrize("transport", ["websocket", "polling"])
async def test_two_processes_on_redis_behave_as_one_server(js, nodes, transport):
    one, other = nodes
    ada, bob = await admitted(js, one, "ada", transport), await admitted(js, other, "bob", transport)
    await everybody(ada, "ada", "bob")
    await everybody(bob, "ada", "bob")
    for socket in (ada, bob):
        assert await socket.call("join-room", "red") == [{"ok": True}]

    ada.emit("say", "red", {"text": "größer 🙂"})
    await bob.event("say", {"room": "red", "from": "ada", "data": {"text": "größer 🙂"}})
    bob.emit("say", "red", b"\x00\xff")
    await ada.event("say", {"room": "red", "from": "bob", "data": b"\x00\xff"})

    [sid] = await bob.call("whoami")
    ada.emit("tell", sid, [1, 2])
    await bob.event("told", [1, 2])
    assert await ada.call("put", sid, "red") == [["ada", "bob"]]
    denied = await ada.call("put", sid, "blue")
    assert denied[0]["ok"] is False

    again = await admitted(js, other, "bob", transport)
    [again_sid] = await again.call("whoami")
    assert await ada.call("kick", again_sid) == []
    report = await again.expect("disconnect")
    assert (report["reason"], report["active"]) == ("io server disconnect", False)

    assert await ada.call("revoke", "bob") == [0]  # on its own node
    report = await bob.expect("event", name="unauthorized")
    assert report["args"][0]["data"]["reason"] == "token_revoked"
    await bob.expect("disconnect")
    await everybody(ada, "ada")


async def test_sockets_of_a_killed_process_are_gone_with_its_lease(js, nodes):
    one, other = nodes
    ada, bob = await admitted(js, one, "ada", "websocket"), await admitted(js, other, "bob", "websocket")
    await everybody(ada, "ada", "bob")
    other.process.kill()
    report = await bob.expect("disconnect")
    assert report["active"]
    async with asyncio.timeout(15):
        await everybody(ada, "ada")
