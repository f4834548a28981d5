"""Two python-socketio servers, a hub and a Node.js server on one Redis: what one says reaches the sockets of all."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack

import pytest
from support import journal_process
from support.brokers import Broker
from support.journal_process import CLUSTER_SECRET, SECRET
from support.live import until
from support.member import Member, admitted
from support.node import built_node_package

from roomkey import Issuer, Key

pytestmark = pytest.mark.long

ENGINES = ("asgi", "threading", "hub", "node")


@pytest.fixture(scope="module")
def ports(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, int]]:
    broker = Broker("redis", tmp_path_factory.mktemp("redis")).start()
    environment = {**os.environ, "REDIS_URL": broker.url, "TOKEN_SECRET": SECRET, "CLUSTER_SECRET": CLUSTER_SECRET}
    node = str(built_node_package() / "test" / "support" / "redis_journal_server.mjs")
    with ExitStack() as stack:
        stack.callback(broker.kill)
        processes = {}
        for engine in ENGINES:
            python = [sys.executable, journal_process.__file__, engine, broker.url]
            command = ["node", node] if engine == "node" else python
            process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
            stack.callback(process.communicate)
            stack.callback(process.kill)
            processes[engine] = process
        yield {engine: int(process.stdout.readline()) for engine, process in processes.items()}


@pytest.fixture
async def joined(ports) -> AsyncIterator[Callable]:
    """``joined(token)``: members on all servers; they admit nobody before they have read the journal."""
    issuer, made = Issuer(Key.from_secret(SECRET), audience="chat"), []

    async def join(subject: str, **claims) -> dict[str, Member]:
        token = issuer.issue(subject, **claims)
        members = {engine: await admitted(f"http://127.0.0.1:{port}", token) for engine, port in ports.items()}
        made.extend(members.values())
        return members

    yield join
    for member in made:
        await member.client.disconnect()


@pytest.mark.parametrize("by", ["asgi", "threading", "hub"])
async def test_revocation_rights_and_disconnect_reach_the_sockets_of_all_servers(joined, by):
    operator = (await joined("operator"))[by]

    async def do(verb: str, **arguments) -> None:
        await operator.client.call("do", (verb, arguments))

    eve, bob, ada = [await joined(f"{name} {by}", rooms=["red", "blue"]) for name in ("eve", "bob", "ada")]
    for member in bob.values():
        assert await member.client.call("join-room", "red") == {"ok": True}
    await do("update", subject=f"bob {by}", rooms=["blue"])
    changed = ("permissions_changed", {"left": ["red"]})
    await until(lambda: all(changed in member.told for member in bob.values()))
    await do("disconnect", subject=f"eve {by}")
    await until(lambda: not any(member.client.connected for member in eve.values()))
    assert [member.told for member in eve.values()] == [[]] * len(ENGINES)
    assert all(member.client.connected for member in (await joined(f"eve {by}")).values())
    await do("revoke", subject=f"ada {by}")
    await until(lambda: not any(member.client.connected for member in ada.values()))
    for member in ada.values():
        assert member.told[0][1]["data"]["reason"] == "token_revoked"
    assert all(member.client.connected for member in bob.values())
