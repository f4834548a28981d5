"""Used DPoP proofs in Redis and Valkey: of all servers that ask, one is the first."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.brokers import Broker
from support.lag import seconds_awake

from roomkey import ConfigError
from roomkey.bus import RedisProofs
from roomkey.errors import Unavailable

HASH, OTHER = "a" * 64, "b" * 64


@pytest.fixture(params=["redis", "valkey"])
def broker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Broker]:
    server = Broker(request.param, tmp_path / "broker").start()
    yield server
    server.kill()


def soon() -> int:
    return int(time.time()) + 120


async def test_of_many_concurrent_uses_on_two_servers_one_is_the_first(broker):
    one, two = RedisProofs.at(broker.url), RedisProofs.at(broker.url)
    found = await asyncio.gather(*(store.add_once("proof", HASH, soon()) for store in (one, two) for _ in range(50)))
    assert Counter(found) == {True: 1, False: 99}
    assert await two.add_once("proof", OTHER, soon())
    await one.close()
    await two.close()


async def test_clusters_with_different_names_do_not_share_proofs(broker):
    one, two = RedisProofs.at(broker.url), RedisProofs.at(broker.url, name="chat")
    assert [await store.add_once("proof", HASH, soon()) for store in (one, two)] == [True, True]
    await one.close()
    await two.close()


async def test_proofs_leave_when_they_expire(broker):
    store = RedisProofs.at(broker.url)
    await store.add_once("proof", HASH, soon())
    [key] = broker.command("KEYS", "*")
    assert 100_000 < broker.command("PTTL", key) <= 120_000
    await store.close()


@pytest.mark.checklist("H110")
@pytest.mark.parametrize("what", ["away", "hangs", "read-only", "full"])
async def test_unavailable_redis_is_reported_within_two_seconds(broker, what):
    store = RedisProofs.at(broker.url)
    assert await store.add_once("proof", HASH, soon())
    if what == "away":
        broker.kill()
    elif what == "hangs":
        broker.suspend()
    elif what == "read-only":
        broker.command("REPLICAOF", "127.0.0.1", "1")
    else:
        broker.command("CONFIG", "SET", "maxmemory", "1")
    with seconds_awake() as seconds, pytest.raises(Unavailable):
        await store.add_once("proof", OTHER, soon())
    assert seconds() < 2
    if what == "hangs":
        broker.resume()
    await store.close()


def test_invalid_url_is_rejected_without_its_password():
    with pytest.raises(ConfigError) as caught:
        RedisProofs.at("http://ada:hunter2@localhost")
    assert "hunter2" not in str(caught.value)
