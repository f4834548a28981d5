from __future__ import annotations

from typing import Any

import pytest
from support.brokers import Broker, BrokerCluster

from roomkey.bus.redis_checks import Facts, examine, facts_of, findings, unsuitable
from roomkey.bus.redis_connections import Connections

GOOD = {
    "redis_version": "7.0.15", "role": "master", "loading": "0", "maxmemory": "0", "maxmemory_policy": "noeviction",
    "used_memory": "900000", "aof_enabled": "1", "aof_last_write_status": "ok", "rdb_last_bgsave_status": "ok",
    "cluster_enabled": "0", "maxclients": "10000", "connected_clients": "10",
}  # fmt: skip
CONFIG = {
    "save": "",
    "appendonly": "yes",
    "appendfsync": "everysec",
    "protected-mode": "yes",
    "requirepass": "",
    "bind": "*",
}


def found(info: dict[str, str] | None = None, config: dict[str, str] | None = None, **arguments: Any) -> list[Any]:
    facts = Facts(GOOD | (info or {}), CONFIG | (config or {}), arguments.pop("cluster", {}))
    return findings(facts, **{"journal": True, **arguments})


def test_good_server_has_no_complaints():
    assert found() == [("ok", "Redis 7.0.15"), ("ok", "Redis appends the journal to a file")]
    assert found(journal=False) == [("ok", "Redis 7.0.15")]
    assert found({"redis_version": "7.2.4", "valkey_version": "9.1.2"}, journal=False) == [("ok", "Valkey 9.1.2")]


@pytest.mark.parametrize(
    ("info", "config", "level", "text"),
    [
        ({"redis_version": "6.0.16"}, {}, "fail", "use Redis 6.2 or later"),
        ({"redis_version": "6.2.14"}, {}, "fail", "too old for the journal"),
        ({"redis_version": "nonsense"}, {}, "fail", "too old"),
        ({"role": "slave"}, {}, "fail", "replica"),
        ({"loading": "1"}, {}, "warn", "loading"),
        ({"maxmemory": "950000"}, {}, "warn", "almost out of memory"),
        ({"connected_clients": "9999"}, {}, "warn", "raise maxclients"),
        ({"maxmemory": "9000000", "maxmemory_policy": "allkeys-lru"}, {}, "fail", "can delete the journal"),
        ({"maxmemory_policy": "allkeys-lfu"}, {}, "warn", "as soon as maxmemory is set"),
        ({"aof_last_write_status": "err"}, {}, "fail", "cannot write to its disk"),
        ({"rdb_last_bgsave_status": "err"}, {}, "fail", "cannot write to its disk"),
        ({"aof_enabled": "0"}, {}, "warn", "forgets the journal when it restarts"),
        ({"aof_enabled": "0"}, {"save": "3600 1 300 100"}, "warn", "forgets the last minutes"),
        ({}, {"appendfsync": "no"}, "warn", "set appendfsync everysec"),
        ({}, {"protected-mode": "no"}, "warn", "every host"),
        ({}, {"protected-mode": "no", "bind": "10.0.0.1"}, "warn", "every host"),
    ],
)
def test_problems_are_found(info, config, level, text):
    assert [level for level, told in found(info, config) if text in told] == [level]


@pytest.mark.parametrize(
    ("info", "config"),
    [
        ({"maxmemory": "9000000", "maxmemory_policy": "volatile-lru"}, {}),
        ({}, {"protected-mode": "no", "requirepass": "set"}),
        ({}, {"protected-mode": "no", "bind": "127.0.0.1 -::1"}),
    ],
)
def test_safe_settings_are_accepted(info, config):
    assert {level for level, _ in found(info, config)} == {"ok"}


def test_journal_elsewhere_needs_no_persistence():
    info = {"maxmemory": "9000000", "maxmemory_policy": "allkeys-lru", "aof_enabled": "0", "redis_version": "6.2.0"}
    assert {level for level, _ in found(info, journal=False)} == {"ok"}


def test_cluster_without_all_slots_fails():
    assert ("ok", "Redis 7.0.15") in found({"cluster_enabled": "1"}, cluster={"cluster_state": "ok"})
    assert any(level == "fail" for level, _ in found({"cluster_enabled": "1"}, cluster={"cluster_state": "fail"}))
    assert any("too old for a cluster" in text for _, text in found({"cluster_enabled": "1", "redis_version": "6.2.0"},
                                                                     journal=False))  # fmt: skip


def test_user_without_permissions_is_told():
    assert findings(Facts({}), journal=True) == [
        ("warn", "cannot check Redis: the user has no permission for INFO; allow +info")
    ]


@pytest.mark.parametrize("kind", ["redis", "valkey"])
async def test_real_server_is_examined(tmp_path, kind):
    broker = Broker(kind, tmp_path, "--appendonly", "yes", "--requirepass", "s3cr3t-pass").start()
    connections = Connections(broker.url.replace("//", "//:s3cr3t-pass@"), name="test")
    connection = await connections.open()
    facts = await facts_of(connection, config=True)
    await connection.disconnect()
    assert "s3cr3t" not in repr(facts)
    assert facts.config["appendonly"] == "yes"
    told = await examine(connections, journal=True)
    broker.kill()
    assert [level for level, _ in told] == ["ok"] * 4
    assert told[0][1].lower().startswith(kind)


async def test_time_below_a_millisecond_has_two_decimals(tmp_path):
    broker = Broker("redis", tmp_path).start()
    times = iter(range(100))
    told = await examine(Connections(broker.url, name="test"), journal=False, timer=lambda: next(times) * 0.00004)
    broker.kill()
    assert ("ok", "Redis answers after 0.04 ms") in told


async def test_slow_server_and_other_clock_are_told(tmp_path):
    broker = Broker("redis", tmp_path).start()
    times = iter(range(100))
    told = await examine(
        Connections(broker.url, name="test"), journal=False, now=lambda: 1e9, timer=lambda: float(next(times))
    )
    broker.kill()
    assert any("1000.0 ms; place it closer" in text for _, text in told)
    assert any("differ by" in text for _, text in told)


@pytest.mark.long
async def test_real_cluster_is_examined(tmp_path):
    cluster = BrokerCluster("valkey", tmp_path).start()
    told = await examine(Connections(cluster.url, name="test"), journal=False)
    cluster.kill()
    assert {level for level, _ in told} == {"ok"}


def test_old_server_and_one_that_deletes_the_journal_are_unsuitable():
    assert unsuitable(Facts(GOOD), journal=True) is None
    full = Facts(GOOD | {"maxmemory": "9000000", "maxmemory_policy": "allkeys-lru", "loading": "1"})
    assert "can delete the journal" in (unsuitable(full, journal=True) or "")
    assert unsuitable(full, journal=False) is None
    assert "too old" in (unsuitable(Facts(GOOD | {"redis_version": "5.0.7"}), journal=False) or "")
    assert unsuitable(Facts({}), journal=True) is None
