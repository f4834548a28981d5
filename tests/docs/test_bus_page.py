"""The ACL users of docs/internals/bus.md are enough for a hub and for a guard, and permit nothing else."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.brokers import Broker, BrokerCluster
from support.clock import FakeClock
from support.nodes import SECRET
from support.offline import Offline
from support.tokens import issuer_at

from roomkey.bus import Cluster, RedisJournal
from roomkey.bus.redis_checks import examine
from roomkey.bus.redis_connections import Connections
from roomkey.core.revocations import Revocation

PAGE = (Path(__file__).parents[2] / "docs/internals/bus.md").read_text("utf-8")
USERS = {words[2]: words for line in re.findall(r"^ACL SETUSER .*$", PAGE, re.MULTILINE) if (words := line.split())}
NODE, GUARD = "roomkey-node:node-password", "roomkey-guard:guard-password"


def secure(broker: Broker) -> None:
    for words in USERS.values():
        broker.command(*words)


@pytest.fixture(scope="module", params=["redis", "valkey"])
def broker(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    broker = Broker(request.param, tmp_path_factory.mktemp("redis"), "--appendonly", "yes").start()
    secure(broker)
    yield broker
    broker.kill()


def test_page_shows_two_users():
    assert USERS.keys() == {"roomkey-node", "roomkey-guard"}


async def test_hubs_work_with_the_user_of_nodes(broker, caplog):
    clock = FakeClock()
    url = broker.url.replace("//", f"//{NODE}@")
    hubs = [
        Offline("hub", cluster=Cluster.redis(url, secrets=[SECRET]), clock=clock, issuer=issuer_at(clock))
        for _ in range(2)
    ]
    for hub in hubs:
        await hub.sio.open()
    one, other = hubs
    bob = await other.client()
    bob.begin_connect(other.issuer.issue("bob"), "")
    async with asyncio.timeout(20):
        while not await bob.settle():
            await asyncio.sleep(0.005)
        await one.sio.emit("news", 1)
        while bob.heard("news") != [1]:
            await bob.settle()
            await asyncio.sleep(0.005)
        await one.sio.guard.revoke(subject="bob")
        while not bob.heard("unauthorized"):
            await bob.settle()
            await asyncio.sleep(0.005)
    for hub in hubs:
        await hub.close()
        await hub.sio.close()
    assert [record.message for record in caplog.records if "unavailable" in record.message] == []


@pytest.mark.parametrize("user", [NODE, GUARD])
async def test_journal_works_with_both_users(broker, user):
    url = broker.url.replace("//", f"//{user}@")
    journal = RedisJournal.at(url, secrets=[SECRET])
    await journal.open()
    await journal.add(Revocation("token", user, expires_at=1.0))
    await journal.delete_expired(1e12)
    await journal.close()
    assert "fail" not in [level for level, _ in await examine(Connections(url, name="x"), journal=True)]


ALLOWED = {
    "roomkey-node": [
        ("PUBLISH", "roomkey:all", "x"), ("SPUBLISH", "roomkey:{17}", "x"), ("SSUBSCRIBE", "roomkey:{17}"),
        ("SUNSUBSCRIBE",), ("CLUSTER", "SLOTS"), ("SET", "roomkey:probe:{17}", "1", "EX", "60"),
    ],
    "roomkey-guard": [],
}  # fmt: skip
JOURNAL = [
    ("XADD", "{roomkey}:journal", "NOMKSTREAM", "0-*", "a", "b"), ("XREAD", "STREAMS", "{roomkey}:journal", "0"),
    ("RENAME", "{roomkey}:journal", "{roomkey}:journal:old"), ("DEL", "{roomkey}:journal:old"), ("MULTI",), ("EXEC",),
    ("XDEL", "{roomkey}:journal", "0-1"), ("SET", "{roomkey}:journal:writable", "1", "PX", "60000"),
]  # fmt: skip
FORBIDDEN = [
    ("FLUSHALL",), ("CONFIG", "GET", "requirepass"), ("KEYS", "*"), ("GET", "other"), ("SET", "other", "1"),
    ("DEL", "other"), ("EVAL", "return 1", "0"), ("ACL", "LIST"), ("MONITOR",), ("SHUTDOWN",),
    ("PUBLISH", "other", "x"), ("RENAME", "{roomkey}:journal", "other"), ("CLIENT", "LIST"),
]  # fmt: skip


@pytest.mark.parametrize("user", sorted(ALLOWED))
def test_users_have_the_permissions_they_need_and_no_others(broker, user):
    for command in ALLOWED[user] + JOURNAL:
        assert broker.command("ACL", "DRYRUN", user, *command) == b"OK", command
    for command in FORBIDDEN + (ALLOWED["roomkey-node"][:3] if user == "roomkey-guard" else []):
        assert broker.command("ACL", "DRYRUN", user, *command) != b"OK", command


@pytest.mark.long
async def test_node_works_in_a_cluster(tmp_path):
    cluster = BrokerCluster("redis", tmp_path).start()
    for server in cluster.servers:
        secure(server)
    bus = Cluster.redis(cluster.url.replace("//", f"//{NODE}@"), secrets=[SECRET]).bus
    bus.subscribe("roomkey:all")
    heard = asyncio.Event()
    await bus.open(lambda channel, payload: heard.set(), lambda connected: None)
    bus.publish("roomkey:all", b"x")
    await asyncio.wait_for(heard.wait(), 20)
    await bus.close()
    cluster.kill()
