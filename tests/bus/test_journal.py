"""The journal in Redis and Valkey: losses are noticed, forgeries dropped, and a failing Redis is unavailable soon."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterator

import pytest
from support.brokers import Broker, BrokerCluster
from support.journals import SECRET, JournalServer, journal_at
from support.lag import lag_of_the_loop, seconds_awake

from roomkey import ConfigError
from roomkey.bus import ClusterSecrets, RedisJournal
from roomkey.bus.journal_entries import MAX_ENTRY, EntryFormat
from roomkey.core.revocations import Revocation, Version
from roomkey.errors import Unavailable
from roomkey.guard import journal_repair, revocation_sync

KINDS = ("redis", "valkey")
OLD_SECRET = "vB7nM2kX9pQ4wE6rT8yU1iO3aS5dF0gH"
KEY = "{roomkey}:journal"
SETTINGS = {"maxmemory": "0", "maxmemory-policy": "noeviction"}


@pytest.fixture(scope="module", params=KINDS)
def shared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    broker = Broker(request.param, tmp_path_factory.mktemp("journal")).start()
    yield broker
    broker.kill()


@pytest.fixture
def broker(shared: Broker) -> Iterator[Broker]:
    """An empty server; a test can suspend it and change its settings."""
    shared.command("FLUSHALL")
    yield shared
    shared.resume()
    shared.command("CLIENT", "UNPAUSE")
    shared.command("REPLICAOF", "NO", "ONE")
    for name, value in SETTINGS.items():
        shared.command("CONFIG", "SET", name, value)


@pytest.fixture
async def servers(broker: Broker, monkeypatch) -> AsyncIterator[Callable[..., list[JournalServer]]]:
    """``servers(n)``: guards that read the journal when the test says so."""
    monkeypatch.setattr(revocation_sync, "POLL_SECONDS", 3600.0)
    monkeypatch.setattr(journal_repair, "WRITE_BACK_SECONDS", 0.0)
    made = []

    def make(number: int, at: Broker = broker) -> list[JournalServer]:
        made.extend(JournalServer(journal_at(at)) for _ in range(number))
        return made[-number:]

    yield make
    for one in made:
        await one.close()


@pytest.fixture
async def journal(broker: Broker) -> AsyncIterator[RedisJournal]:
    made = journal_at(broker)
    yield made
    await made.close()


NAMES = [f"t{number}" for number in range(5)]


async def known_to_all(*servers: JournalServer) -> None:
    for name in NAMES:
        await servers[0].guard.revoke(token_id=name)
    for server in servers:
        await server.read()


# What gets lost


def evict(broker: Broker) -> None:
    used = int(broker.command("INFO", "memory")["used_memory"])
    broker.command("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    broker.command("CONFIG", "SET", "maxmemory", str(used + 200_000))
    number = 0
    while broker.command("EXISTS", KEY):
        broker.command("SET", f"other{number}", "x" * 20_000)
        number += 1
    broker.command("CONFIG", "SET", "maxmemory", "0")
    broker.command("CONFIG", "SET", "maxmemory-policy", "noeviction")


LOSSES = {
    "flushed": lambda broker: broker.command("FLUSHALL"),
    "deleted": lambda broker: broker.command("DEL", KEY),
    "trimmed to nothing": lambda broker: broker.command("XTRIM", KEY, "MAXLEN", "0"),
    "trimmed": lambda broker: broker.command("XTRIM", KEY, "MAXLEN", "2"),
    "evicted": evict,
}


@pytest.mark.parametrize("loss", LOSSES)
async def test_lost_entries_are_noticed_and_written_back(broker, servers, loss):
    one, two = servers(2)
    await known_to_all(one, two)
    epoch = one.journal.epoch
    LOSSES[loss](broker)
    await one.read()
    assert one.journal.epoch != epoch
    await one.sync.check()
    [fresh] = servers(1)
    await fresh.read()
    assert all(fresh.revoked(*NAMES))
    await two.read()
    assert int(broker.command("XLEN", KEY)) <= 7 + 5


@pytest.mark.long
@pytest.mark.parametrize("newer", [0, 1, 3, 10])
@pytest.mark.parametrize("kind", KINDS)
async def test_restart_with_an_older_state_is_noticed(kind, servers, tmp_path, newer):
    """The lost entries' numbers are used again; a reader compares the entry at its position, and not its number."""
    broker = Broker(kind, tmp_path).start()
    try:
        one, two = servers(2, broker)
        await one.guard.revoke(token_id="t0")
        await one.guard.revoke(token_id="t1")
        broker.command("SAVE")
        await known_to_all(one, two)
        broker.kill()
        broker.start()
        other = journal_at(broker)
        for number in range(newer):
            await other.add(Revocation("token", f"new{number}"))
        await other.close()
        await two.read()
        assert all(two.revoked(*NAMES, *(f"new{number}" for number in range(newer))))
        [fresh] = servers(1, broker)
        await fresh.read()
        assert all(fresh.revoked(*NAMES, *(f"new{number}" for number in range(newer))))
        for server in (one, two, fresh):
            await server.close()
    finally:
        broker.kill()


@pytest.mark.long
@pytest.mark.parametrize("kind", KINDS)
async def test_restart_without_persistence_is_noticed(kind, servers, tmp_path):
    broker = Broker(kind, tmp_path).start()
    try:
        one, two = servers(2, broker)
        await known_to_all(one, two)
        broker.kill()
        await one.read()
        with pytest.raises(Unavailable):
            await one.sync.check()
        broker.start()
        await one.read()
        await one.sync.check()
        [fresh] = servers(1, broker)
        await fresh.read()
        assert all(fresh.revoked(*NAMES))
        for server in (one, two, fresh):
            await server.close()
    finally:
        broker.kill()


async def test_flush_before_anything_was_read_is_noticed(broker, servers):
    """A server that has only written, too, knows something."""
    [one] = servers(1)
    await one.read()
    await one.guard.revoke(token_id="t0")
    broker.command("FLUSHALL")
    await one.read()
    [fresh] = servers(1)
    await fresh.read()
    assert fresh.revoked("t0") == [True]


async def test_journal_without_entries_that_was_deleted_is_another(broker, journal):
    """It has no entry at the position that was read: only the epoch tells."""
    nothing = await journal.read(0)
    assert not (await journal.read(nothing.position)).is_another
    broker.command("FLUSHALL")
    assert (await journal.read(nothing.position)).is_another


async def test_numbers_do_not_depend_on_a_clock(broker, journal):
    await journal.add(Revocation("token", "t0"))
    ids = [entry[0] for entry in broker.command("XRANGE", KEY, "-", "+")]
    assert [id.partition(b"-")[0] for id in ids] == [b"0", b"0"]


async def test_reader_of_a_position_from_another_journal_starts_at_the_beginning(broker, journal):
    """Servers that read over HTTP have positions only."""
    for name in ("a", "b", "c"):
        await journal.add(Revocation("token", name))
    _, position = await journal.since(0)
    assert position < 2**53
    broker.command("FLUSHALL")
    for name in ("d", "e", "f", "g"):
        await journal.add(Revocation("token", name))
    found, _ = await journal.since(position)
    assert [entry.name for entry in found] == ["d", "e", "f", "g"]


# Forged entries


def forgeries(broker: Broker) -> list[tuple[str, tuple[bytes | str, ...]]]:
    secrets = ClusterSecrets([SECRET])
    ours, text_of = EntryFormat(secrets, KEY, "x"), EntryFormat(secrets, "{other}:journal", "x")
    revoked = Revocation("subject", "ada")
    text, mac = ours.write(revoked, None)
    copied = text_of.write(revoked, None)
    foreign = EntryFormat(ClusterSecrets([OLD_SECRET]), KEY, "x").write(revoked, None)

    def signed(content: bytes) -> tuple[bytes, bytes]:
        return content, ours._mac(ours._keys[0], content)

    return [
        ("not signed", ("e", text)),
        ("not signed", ("kind", "subject", "name", "ada")),
        ("not signed", ("x", b"\x80\x04\x95.")),
        ("bad signature", ("e", text, "m", "")),
        ("bad signature", ("e", text, "m", mac[:-1])),
        ("bad signature", ("e", text.replace(b"ada", b"eve"), "m", mac)),
        ("bad signature", ("e", copied[0], "m", copied[1])),
        ("bad signature", ("e", foreign[0], "m", foreign[1])),
        ("too large", ("e", b" " * (MAX_ENTRY + 1), "m", mac)),
        ("malformed", _named(signed(b"[]"))),
        ("malformed", _named(signed(b"{"))),
        ("malformed", _named(signed(text.replace(b'"before":0.0', b'"before":NaN')))),
        ("malformed", _named(signed(text.replace(b'"ada"', b'"a\\u0000"')))),
        ("unknown kind", _named(signed(text.replace(b'"subject"', b'"pardon"')))),
        ("unknown kind", _named(signed(text.replace(b'"v":1', b'"v":2')))),
    ]


def _named(signed: tuple[bytes, bytes]) -> tuple[bytes | str, ...]:
    return ("e", signed[0], "m", signed[1])


@pytest.mark.checklist("H111")
async def test_forged_entries_are_dropped_counted_and_logged_once(broker, servers, caplog):
    [one] = servers(1)
    await one.guard.revoke(token_id="t0")
    expected: dict[str, int] = {}
    for why, fields in forgeries(broker):
        for _ in range(2):
            broker.command("XADD", KEY, "*" if why == "x" else "0-*", *fields)
            expected[f"dropped: {why}"] = expected.get(f"dropped: {why}", 0) + 1
    with caplog.at_level(logging.WARNING, logger="roomkey.bus"):
        await one.read()
    assert {name: count for name, count in one.journal.counts.items() if name.startswith("dropped")} == expected
    assert len(caplog.records) == len(expected)
    assert "bad signature; give all servers the same secrets; more" in caplog.text
    assert len(one.sync.revocations) == 1
    await one.read()  # nothing is read again
    assert one.journal.counts["dropped: bad signature"] == expected["dropped: bad signature"]
    other = journal_at(broker)
    await other.read(0)
    begun = time.monotonic()
    await other.wait(0.2)  # and nothing pretends to be new
    assert time.monotonic() - begun >= 0.2
    await other.close()


@pytest.mark.checklist("H111")
async def test_replayed_entries_change_nothing(broker, servers):
    one, two = servers(2)
    await one.guard.update("ada", roles=["first"])
    await one.guard.disconnect(subject="ada")
    await one.guard.update("ada", roles=["second"])
    await two.read()
    entries = broker.command("XRANGE", KEY, "-", "+")[1:]
    for _, fields in entries[:2]:
        broker.command("XADD", KEY, "0-*", *fields)
    for server in (one, two):
        await server.read()
        assert server.guard._authorizer.changed.latest("ada").roles == ("second",)


@pytest.mark.checklist("H111")
async def test_entry_with_a_foreign_id_does_not_stop_the_journal(broker, servers):
    one, two = servers(2)
    await known_to_all(one, two)
    broker.command("XADD", KEY, "*", "a", "b")  # as typed into redis-cli
    await one.guard.revoke(token_id="after")
    broker.command("XADD", KEY, "*", "a", "b")
    await two.read()
    assert two.revoked("after") == [True]
    await two.sync.check()
    assert all(two.revoked(*NAMES))
    assert broker.command("KEYS", f"{KEY}:old*") == []
    [fresh] = servers(1)
    await fresh.read()
    assert all(fresh.revoked(*NAMES, "after"))


@pytest.mark.long
async def test_large_entries_of_strangers_delay_reading_only_once(broker, servers, monkeypatch):
    """If an answer does not come in time because it is so long, fewer entries are read."""
    [one] = servers(1)
    await one.read()
    one.journal._count = 500
    broker.suspend()
    await one.read()
    broker.resume()
    assert one.journal._count == 1
    for name in NAMES:
        await one.guard.revoke(token_id=name)
    await one.read()
    assert one.journal._count > 1


async def test_changes_that_are_too_long_are_rejected(journal):
    rooms = ["x" * 255 for _ in range(3000)]
    with pytest.raises(ConfigError, match="too long"):
        await journal.add(Revocation("rights", "ada", rights={"rooms": rooms}))


# Rotation of the secret


async def test_secret_is_rotated_in_three_steps(broker):
    async def found(*secrets: str) -> list[str]:
        journal = journal_at(broker, *secrets)
        entries, _ = await journal.since(0)
        await journal.close()
        return [entry.name for entry in entries]

    async def add(name: str, *secrets: str) -> None:
        journal = journal_at(broker, *secrets)
        await journal.add(Revocation("token", name, expires_at=2e9))
        await journal.close()

    await add("one", OLD_SECRET)
    await add("two", OLD_SECRET, SECRET)
    await add("three", SECRET, OLD_SECRET)
    assert await found(OLD_SECRET, SECRET) == await found(SECRET, OLD_SECRET) == ["one", "two", "three"]
    both = journal_at(broker, SECRET, OLD_SECRET)
    await both.delete_expired(1.8e9)
    await both.close()
    assert sorted(await found(SECRET)) == ["one", "three", "two"]
    assert await found(OLD_SECRET) == []


# Failures


def read_only(broker: Broker) -> None:
    broker.command("REPLICAOF", "127.0.0.1", "1")


FAULTS = {
    "suspended": Broker.suspend,
    "paused": lambda broker: broker.command("CLIENT", "PAUSE", "6000", "ALL"),  # three calls, each up to 2 s
    "out of memory": lambda broker: broker.command("CONFIG", "SET", "maxmemory", "1"),
    "read-only": read_only,
}
SLOW = ("suspended", "paused")


async def checked(server: JournalServer) -> None:
    await server.sync.poll()
    await server.sync.check()


@pytest.mark.checklist("H110")
@pytest.mark.parametrize(
    "fault", [pytest.param(name, marks=pytest.mark.long if name in SLOW else ()) for name in FAULTS]
)
async def test_failing_redis_is_unavailable_within_a_second(broker, servers, fault):
    [one] = servers(1)
    await known_to_all(one)
    one.journal._probed_at = float("-inf")
    FAULTS[fault](broker)
    async with lag_of_the_loop() as lag:
        for call in (one.journal.read(0), one.journal.add(Revocation("token", "t9")), checked(one)):
            with seconds_awake() as seconds, pytest.raises(Unavailable):
                await call
            assert seconds() < 2.0
        assert lag() < 0.5
    broker.resume()
    broker.command("CLIENT", "UNPAUSE")
    broker.command("CONFIG", "SET", "maxmemory", "0")
    broker.command("REPLICAOF", "NO", "ONE")
    await one.read()
    await one.sync.check()
    await one.journal.add(Revocation("token", "t9"))


async def test_url_with_a_password_is_in_no_error(caplog):
    journal = RedisJournal.at("redis://user:hunter2@127.0.0.1:1/0", secrets=[SECRET])
    with pytest.raises(Unavailable) as caught, caplog.at_level(logging.DEBUG):
        await journal.open()
    assert "hunter2" not in f"{caught.value!r} {caught.value.__cause__!r} {caplog.text} {journal!r}"


async def test_repeated_writes_are_harmless(broker, servers):
    one, two = servers(2)
    change = Revocation("rights", "ada", None, 1.0, 2e9, {"roles": ["a"]}, Version(1, "x"))
    for _ in range(3):
        await one.journal.add(change)
    await two.read()
    assert two.guard._authorizer.changed.latest("ada").roles == ("a",)


async def test_journal_can_be_used_on_another_event_loop(broker):
    journal = journal_at(broker)
    await journal.add(Revocation("token", "t0"))

    async def elsewhere():
        found, _ = await journal.since(0)
        await journal.close()
        return [entry.name for entry in found]

    assert await asyncio.to_thread(asyncio.run, elsewhere()) == ["t0"]
    assert len((await journal.since(0))[0]) == 1
    await journal.close()


async def test_revocation_reaches_another_guard_within_milliseconds(broker, servers):
    """The other guard waits in Redis; it does not poll."""
    one, two = servers(2)
    for server in (one, two):
        await server.sync.check()
    times = []
    for number in range(20):
        begun = time.monotonic()
        await one.guard.revoke(token_id=f"t{number}")
        while two.revoked(f"t{number}") != [True]:
            await asyncio.sleep(0.0005)
        times.append(time.monotonic() - begun)
    assert sorted(times)[4] < 0.25  # if it polled, all but the first would take half a second


@pytest.mark.long
@pytest.mark.parametrize("kind", KINDS)
async def test_journal_in_a_cluster_follows_its_slot(kind, tmp_path):
    cluster = BrokerCluster(kind, tmp_path).start()
    try:
        for server in cluster.servers:  # at most one of them has the key
            journal = RedisJournal.at(server.url.replace("redis://", "redis+cluster://"), secrets=[SECRET])
            await journal.add(Revocation("token", "t0"))
            found, _ = await journal.since(0)
            assert "t0" in [entry.name for entry in found]
            await journal.wait(0.01)
            await journal.close()
    finally:
        cluster.kill()


def test_entry_is_json_that_operators_can_read():
    text, mac = EntryFormat(ClusterSecrets([SECRET]), KEY, "x").write(Revocation("subject", "ada"), None)
    assert json.loads(text)["name"] == "ada"
    assert text.isascii()
    assert len(mac) == 22
