"""Redis that hangs, refuses, forgets or ends connections; its users and TLS."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from redis.crc import key_slot
from redis.exceptions import AuthenticationError, NoPermissionError
from support.brokers import Broker, BrokerCluster, free_port
from support.buses import Ear
from support.certificate import make_certificate
from support.lag import lag_of_the_loop, seconds_awake
from support.missing import missing
from support.rawsocket import PATIENCE

from roomkey import ConfigError
from roomkey.bus import RedisBus, redis_connections
from roomkey.bus.redis_connections import hint, pack, reason
from roomkey.bus.redis_links import CLASSIC, TICKS, Subscriber
from roomkey.bus.redis_servers import servers_of, slot_of


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """One server for the tests that leave it as it was."""
    broker = Broker("redis", tmp_path_factory.mktemp("redis")).start()
    yield broker
    broker.kill()


@pytest.fixture
def broker(shared: Broker) -> Broker:
    shared.resume()
    for name, value in {
        "maxmemory": "0",
        "maxmemory-policy": "noeviction",
        "client-output-buffer-limit": "pubsub 33554432 8388608 60",
    }.items():
        shared.command("CONFIG", "SET", name, value)
    shared.command("FLUSHALL")
    return shared


MakeEar = Callable[..., Awaitable[Ear]]


@pytest.fixture
async def ear(broker: Broker) -> AsyncIterator[MakeEar]:
    ears = []

    async def make(*channels: str, url: str | None = None, **settings: Any) -> Ear:
        ears.append(Ear(RedisBus(url or broker.url, **settings)))
        await ears[-1].open(*channels)
        return ears[-1]

    yield make
    broker.resume()
    for each in ears:
        await each.bus.close()


def clients(broker: Broker, kind: str) -> list[str]:
    """Return the IDs of the connections that publish, or receive."""
    answer = broker.command("CLIENT", "LIST", "TYPE", "pubsub" if kind == "receives" else "normal")
    assert isinstance(answer, bytes)
    lines = [dict(word.split("=", 1) for word in line.split()) for line in answer.decode().splitlines()]
    return [line["id"] for line in lines if line["name"] == "roomkey-bus"]


# Lost and hanging connections


@pytest.mark.parametrize("kind", ["publishes", "receives"])
async def test_killed_connection_is_reported_and_replaced(broker, ear, kind):
    a = await ear("a")
    for number in clients(broker, kind):
        broker.command("CLIENT", "KILL", "ID", number)
    await a.until(lambda: a.states == [True, False, True])
    a.bus.publish("a", b"x")
    assert await a.receives(1) == [b"x"]
    assert len(clients(broker, "receives")) == len(clients(broker, "publishes")) == 1


@pytest.mark.long
async def test_hanging_server_is_noticed_in_two_seconds_and_never_blocks(broker, ear):
    a = await ear("a")
    broker.suspend()
    async with lag_of_the_loop() as lag:
        with seconds_awake() as seconds:
            while a.states == [True]:
                a.bus.publish("a", b"x")
                await asyncio.sleep(0.01)
        assert seconds() < 2.5
        assert lag() < 0.5
    assert not await a.bus.subscribed("a")
    broker.resume()
    await a.until(lambda: a.states == [True, False, True])
    a.heard.clear()
    a.bus.publish("a", b"after")
    await a.until(lambda: ("a", b"after") in a.heard)


@pytest.mark.long
async def test_busy_event_loop_does_not_lose_the_connection(ear):
    a, b = await ear("a"), await ear()
    for _ in range(2):
        for number in range(100):
            b.bus.publish("a", b"%d" % number)
        time.sleep(1.3)
        await asyncio.sleep(0)
    assert len(await a.receives(200)) == 200
    await asyncio.sleep(1.3)
    assert a.states == [True]
    assert b.states == [True]


@pytest.mark.long
async def test_messages_lost_in_the_buffer_of_a_slow_node_are_reported(broker, ear):
    broker.command("CONFIG", "SET", "client-output-buffer-limit", "pubsub 1mb 1mb 1")
    a = await ear("a")
    _flood(broker)
    await a.until(lambda: a.states == [True, False, True])
    a.heard.clear()
    a.bus.publish("a", b"after")
    await a.until(lambda: ("a", b"after") in a.heard)


def _flood(broker: Broker) -> None:
    """Publish 20 MB. The event loop, and so the bus, waits until it is done."""
    with socket.create_connection(("127.0.0.1", broker.port)) as raw:
        raw.sendall(pack("PUBLISH", "a", b"x" * 50_000) * 400)
        received = b""
        while received.count(b"\r\n") < 400:
            received += raw.recv(65536)


class ScriptedConnection:
    """A connection on which a test answers."""

    is_connected = True

    def __init__(self) -> None:
        self.answers: asyncio.Queue[Any] = asyncio.Queue()

    async def send_packed_command(self, commands: Any, check_health: bool) -> None: ...

    async def read_response(self, disable_decoding: bool) -> Any:
        return await self.answers.get()


async def test_server_is_late_only_while_it_owes_an_answer():
    connection = ScriptedConnection()
    changed = asyncio.Event()
    subscriber = Subscriber(connection, CLASSIC, lambda channel, payload: changed.set(), changed.set)
    running = asyncio.create_task(subscriber.run())

    async def answer(*answers: Any) -> bool:
        for each in (*answers, [b"message", b"a", b"x"]):
            connection.answers.put_nowait(each)
        changed.clear()
        async with asyncio.timeout(5):
            while connection.answers.qsize():
                await changed.wait()
                changed.clear()
        return subscriber.progress.waiting

    subscriber.subscribe([b"a"])
    assert subscriber.progress.waiting
    assert not await answer([b"subscribe", b"a", 1])
    for _ in range(TICKS + 1):
        subscriber.progress.tick()  # raises if an answer is due
    subscriber.probe()
    subscriber.subscribe([b"b"])
    subscriber.probe()
    assert await answer([b"pong", b""])
    assert await answer([b"subscribe", b"b", 2])
    assert not await answer([b"pong", b""])
    running.cancel()


async def test_forced_unsubscription_is_reported(broker, ear):
    a = await ear("a")
    a.bus._links[0].subscriber._queue.append(pack("UNSUBSCRIBE"))  # as a cluster does when a slot moves away
    a.bus._links[0].subscriber._wake.set()
    await a.until(lambda: a.states == [True, False, True])
    await a.subscribed("a")


# A server that works only partly


async def test_server_that_refuses_writes_counts_as_lost(broker, ear, caplog):
    a = await ear("a", probe_key="roomkey:probe")
    plain = await ear("a")
    broker.command("CONFIG", "SET", "maxmemory", "1")
    await a.until(lambda: a.states == [True, False])
    assert "Redis is unavailable (OutOfMemoryError)" in caplog.text
    plain.bus.publish("a", b"x")
    assert await plain.receives(1) == [b"x"]  # for a journal elsewhere it is good enough
    broker.command("CONFIG", "SET", "maxmemory", "0")
    await a.until(lambda: a.states == [True, False, True])
    assert [record.message for record in caplog.records if record.message.startswith("Redis is")] == [
        "Redis is unavailable (OutOfMemoryError); messages to other nodes are dropped until it is back",
        "Redis is available again",
    ]


async def test_server_that_can_delete_the_journal_is_refused_at_the_start(broker, caplog):
    broker.command("CONFIG", "SET", "maxmemory-policy", "allkeys-lru", "maxmemory", "100mb")
    bus = RedisBus(broker.url, probe_key="roomkey:probe")
    with pytest.raises(ConfigError, match="cannot use this server as a bus: Redis can delete the journal"):
        await bus.open(lambda channel, payload: None, lambda connected: None)
    plain = RedisBus(broker.url)  # its journal is elsewhere
    await plain.open(lambda channel, payload: None, lambda connected: None)
    assert plain.connected
    await plain.close()


async def test_replica_is_not_used(broker, tmp_path, caplog):
    replica = Broker("redis", tmp_path, "--replicaof", "127.0.0.1", str(broker.port)).start()
    bus = RedisBus(replica.url)
    await bus.open(lambda channel, payload: None, lambda connected: None)
    assert not bus.connected
    await bus.close()
    replica.kill()
    assert "Redis is unavailable (this Redis server is a replica; use the address of the primary server)" in caplog.text


async def test_weak_settings_are_logged_once(broker, ear, caplog):
    a = await ear("a", probe_key="roomkey:probe")
    for number in clients(broker, "receives"):
        broker.command("CLIENT", "KILL", "ID", number)
    await a.until(lambda: a.states == [True, False, True])
    assert caplog.text.count("Redis forgets the journal when it restarts; set appendonly yes") == 1


async def test_full_queue_drops_and_counts(broker, ear):
    a = await ear(queue=10_000)
    for _ in range(20):
        a.bus.publish("a", b"x" * 1000)
    assert a.bus.counts["dropped: queue full"] == 11
    assert a.bus.counts["published"] == 9
    await a.bus._links[0].publisher.flush()
    a.bus.publish("a", b"x" * 20_000)  # larger than the queue
    assert a.bus.counts["published"] == 10


async def test_failing_callback_does_not_stop_the_bus(ear, broker, caplog):
    b = await ear()
    heard: list[bytes] = []

    def fails(channel: str, payload: bytes) -> None:
        heard.append(payload)
        raise ValueError("confidential")

    bus = RedisBus(broker.url)
    bus.subscribe("a")
    await bus.open(fails, lambda connected: None)
    async with asyncio.timeout(PATIENCE):
        while not await bus.subscribed("a"):
            await asyncio.sleep(0.01)
    for _ in range(2):
        b.bus.publish("a", b"x")
    async with asyncio.timeout(PATIENCE):
        while len(heard) < 2:
            await asyncio.sleep(0.01)
    await bus.close()
    assert caplog.text.count("could not handle a message") == 2


async def test_messages_of_one_turn_are_sent_together(broker, ear):
    a = await ear("a")
    before = broker.command("INFO", "stats")
    for number in range(300):
        a.bus.publish("a", b"%d" % number)
    await a.receives(300)
    after = broker.command("INFO", "stats")
    assert isinstance(before, dict)
    assert isinstance(after, dict)
    assert after["total_reads_processed"] - before["total_reads_processed"] < 20


# Users, passwords, TLS


@pytest.fixture
def user(broker: Broker) -> Iterator[str]:
    """A user with a password; yields the URL."""
    broker.command("ACL", "SETUSER", "node", "on", ">s3cr3t-pass", "allcommands", "allchannels", "allkeys")
    yield broker.url.replace("//", "//node:s3cr3t-pass@")
    broker.command("ACL", "DELUSER", "node")


async def test_user_name_and_password_of_the_url_are_used(broker, user, ear):
    a = await ear("a", url=user)
    a.bus.publish("a", b"x")
    assert await a.receives(1) == [b"x"]


async def test_tls_checks_the_certificate(broker, tmp_path, caplog):
    if not broker.command("CONFIG", "GET", "tls-port"):
        missing("this Redis is built without TLS: install one that is built with it")
    make_certificate(tmp_path)
    port = free_port()
    files = ("--tls-cert-file", str(tmp_path / "cert.pem"), "--tls-key-file", str(tmp_path / "key.pem"))
    server = Broker("redis", tmp_path, "--tls-port", str(port), "--tls-auth-clients", "no", *files).start()
    trusted = Ear(RedisBus(f"rediss://localhost:{port}?ssl_ca_certs={tmp_path / 'cert.pem'}"))
    other = Ear(RedisBus(f"rediss://localhost:{port}"))
    await trusted.open("a")
    trusted.bus.publish("a", b"x")
    assert await trusted.receives(1) == [b"x"]
    await other.bus.open(other._heard, other._state)
    assert not other.bus.connected
    assert "Redis is unavailable (ConnectionError)" in caplog.text
    await trusted.bus.close()
    await other.bus.close()
    server.kill()


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ("resetpass", "AuthenticationError"),
        ("-publish", "NoPermissionError"),
        ("-subscribe", "NoPermissionError"),
        ("resetchannels", "NoPermissionError"),
        ("-set", "NoPermissionError"),
    ],
)
async def test_missing_permission_is_logged_without_the_password(broker, user, ear, caplog, change, why):
    caplog.set_level(logging.DEBUG)
    a = Ear(RedisBus(user, probe_key="roomkey:probe"))
    a.bus.subscribe("a")
    await a.bus.open(a._heard, a._state)
    await a.until(lambda: a.bus.connected)
    if change == "-publish":
        a.bus.publish("a", b"x")
    broker.command("ACL", "SETUSER", "node", change)
    broker.command("CLIENT", "KILL", "USER", "node") if change != "-publish" else a.bus.publish("a", b"x")
    await a.until(lambda: a.states[:2] == [True, False])
    async with asyncio.timeout(PATIENCE):
        while f"({why})" not in caplog.text and "(ConnectionError)" not in caplog.text:
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.3)  # some attempts later, it is still not reported as connected
    assert a.states == [True, False]
    await a.bus.close()
    assert "s3cr3t" not in caplog.text
    assert "s3cr3t" not in repr(a.bus) + repr(a.bus.__dict__)


async def test_close_ends_a_bus_whose_connection_fails_at_the_same_time(monkeypatch):
    bus, lost = RedisBus("redis://127.0.0.1:1"), asyncio.Event()

    async def fail() -> None:
        await lost.wait()
        raise ConnectionResetError

    async def session() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(fail())
            await asyncio.Event().wait()

    monkeypatch.setattr(bus, "_session", session)
    await bus.open(lambda channel, payload: None, lambda connected: None)
    lost.set()
    async with asyncio.timeout(PATIENCE):
        await bus.close()


def test_hints_say_what_to_do_about_a_failed_connection():
    for why in (reason(AuthenticationError("WRONGPASS invalid")), "NOAUTH"):
        assert hint(why) == "; correct the user and password in its URL"
    assert hint(reason(NoPermissionError("NOPERM this user"))).startswith("; give the user the permissions")
    assert (
        hint(reason(redis_connections.LostConnection("at redis://:hunter2@host")))
        == "; start Redis, or correct its URL"
    )
    assert hint("OutOfMemoryError") == ""


@pytest.mark.parametrize("url", ["http://u:s3cr3t@h", "redis://u:s3cr3t@h:port", "", "s3cr3t", "redis://h?db=s3cr3t"])
def test_invalid_url_is_refused_without_quoting_it(url):
    with pytest.raises(ConfigError, match="invalid Redis URL") as caught:
        RedisBus(url)
    assert "s3cr3t" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_options_of_the_url_cannot_bring_retries_back():
    connections = redis_connections.Connections(
        "redis://h?socket_timeout=9&protocol=3&decode_responses=yes&retry_on_timeout=yes&health_check_interval=3",
        name="x",
    )
    settings = connections._settings
    assert (settings["socket_timeout"], settings["protocol"], settings["decode_responses"]) == (None, 2, False)
    assert not settings["retry_on_timeout"]


# Clusters


def test_slots_are_those_of_redis():
    for name in (b"a", b"roomkey:{17}", b"{}x", b"x{", b"{a}{b}", b"roomkey:node:abc", b"{{a}}", "ä".encode()):
        assert slot_of(name) == key_slot(name)


def test_answer_of_a_cluster_is_read():
    answer = [
        [0, 5460, [b"10.0.0.1", 7000, b"id", []], [b"10.0.0.4", 7000, b"id", []]],
        [5461, 10922, [b"", 7001, b"id", []]],
        [10923, 16383, [None, 7002, b"id", []]],
    ]
    servers = servers_of(answer, "asked")
    assert [(server.host, server.port) for server in servers] == [("10.0.0.1", 7000), ("asked", 7001), ("asked", 7002)]
    for server in servers:
        assert any(first <= slot_of(server.tag().encode()) <= last for first, last in server.slots)
    with pytest.raises(redis_connections.LostConnection, match="incomplete"):
        servers_of(answer[:2], "asked")


@pytest.mark.long
async def test_moved_slot_is_followed(tmp_path):
    """Messages are lost while it moves, and this is reported."""
    cluster = BrokerCluster("redis", tmp_path).start()
    bus = RedisBus(cluster.url)
    a = Ear(bus)
    try:
        await a.open("a")
        slot = slot_of(b"a")
        owner = slot * 3 // 16384
        servers = cluster.servers
        names = [server.command("CLUSTER", "MYID") for server in servers]
        target = (owner + 1) % 3
        servers[target].command("CLUSTER", "SETSLOT", str(slot), "IMPORTING", names[owner])
        servers[owner].command("CLUSTER", "SETSLOT", str(slot), "MIGRATING", names[target])
        for server in (servers[target], servers[owner], *servers):
            server.command("CLUSTER", "SETSLOT", str(slot), "NODE", names[target])
        await a.until(lambda: a.states == [True, False, True])
        bus.publish("a", b"x")
        assert await a.receives(1) == [b"x"]
    finally:
        await bus.close()
        cluster.kill()


@pytest.mark.long
async def test_url_of_a_cluster_is_accepted(tmp_path: Path):
    cluster = BrokerCluster("valkey", tmp_path).start()
    a = Ear(RedisBus(cluster.url.replace("redis://", "redis+cluster://")))
    try:
        await a.open("a")
        a.bus.publish("a", b"x")
        assert await a.receives(1) == [b"x"]
    finally:
        await a.bus.close()
        cluster.kill()
