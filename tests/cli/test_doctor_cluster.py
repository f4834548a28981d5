"""``roomkey doctor`` about workers, Redis, the cluster secret, the nodes and their clocks."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.brokers import Broker
from support.journals import journal_at
from support.nodes import SECRET

from roomkey.bus import overhearing
from roomkey.bus.leases import Hello
from roomkey.bus.overhearing import Heard, HeardNode
from roomkey.cli import doctor_cluster
from roomkey.cli.doctor_cluster import clock_finding, node_address_finding
from roomkey.core.revocations import Revocation
from roomkey.keysets import KeyFolder, load_or_create
from roomkey.server.settings import Settings
from roomkey.server.shared_keys import fingerprint

Cli = Callable[..., Any]

APPLICATION = f"""
from roomkey import Verifier
from roomkey.bus import Cluster, MemoryBus, MemoryNetwork, RedisBus
from roomkey.hub import Hub
from roomkey.stores import MemoryRevocations
verifier = Verifier.hs256("kT9vX2mQ8rL4wZ7yB1nC6dF3gH5jP0sA", issuer="https://login.example", audience="chat")
SECRET = "{SECRET}"
"""


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overhearing, "HEARTBEAT_SECONDS", 0.2)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    server = Broker("redis", tmp_path / "broker").start()
    yield server
    server.kill()


def secret_file(here: Path, mode: int = 0o600) -> Path:
    path = here / "cluster.secret"
    path.write_text(f"{SECRET}\n")
    path.chmod(mode)
    return path


def test_one_process_needs_no_cluster(roomkey: Cli) -> None:
    out = roomkey("doctor").out
    assert "workers" not in out
    assert "cluster secret" not in out


def test_more_workers_than_cores_are_reported(roomkey: Cli, here: Path) -> None:
    (here / "roomkey.toml").write_text("workers = 60\n")
    ran = roomkey("doctor")
    assert "warn  workers: 60 on" in ran.out
    assert "the first start creates keys/cluster.secret" in ran.out
    assert not (here / "keys").exists(), "doctor creates nothing"


def test_redis_without_a_secret_fails(roomkey: Cli, here: Path, broker: Broker) -> None:
    (here / "roomkey.toml").write_text(f'redis = "{broker.url}"\n')
    ran = roomkey("doctor")
    assert ran.code == 1
    assert "fail  no cluster secret keys/cluster.secret; create it once" in ran.out


def test_secret_that_others_can_read_fails(roomkey: Cli, here: Path, broker: Broker) -> None:
    (here / "roomkey.toml").write_text(f'redis = "{broker.url}"\ncluster_secret = "{secret_file(here, 0o644)}"\n')
    ran = roomkey("doctor")
    assert ran.code == 1
    assert "cluster.secret" in ran.out
    assert SECRET not in ran.out + ran.err


def test_redis_is_examined(roomkey: Cli, here: Path, broker: Broker) -> None:
    (here / "roomkey.toml").write_text(f'redis = "{broker.url}"\ncluster_secret = "{secret_file(here)}"\n')
    out = roomkey("doctor").out
    for words in (
        "ok    cluster secret",
        "ok    Redis ",
        "ok    Redis answers after ",
        "ok    the clocks of Redis and of this machine agree",
        "ok    nodes that are alive: 0",
        "warn  other machines do not have the accounts, logins and tickets in roomkey.sqlite3",
        "warn  no node_address",
    ):
        assert words in out, out


@pytest.mark.parametrize("what", ["away", "hangs"])
def test_unreachable_redis_fails_without_its_password(
    roomkey: Cli, here: Path, broker: Broker, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    monkeypatch.setattr(doctor_cluster, "REDIS_SECONDS", 0.5)
    url = broker.url.replace("//", "//ada:hunter2@")
    (here / "roomkey.toml").write_text(f'redis = "{url}"\ncluster_secret = "{secret_file(here)}"\n')
    broker.suspend() if what == "hangs" else broker.kill()
    try:
        ran = roomkey("doctor")
    finally:
        if what == "hangs":
            broker.resume()
    assert ran.code == 1
    assert "fail  cannot reach Redis" in ran.out
    assert "hunter2" not in ran.out + ran.err


def test_address_of_a_node_is_tried() -> None:
    assert node_address_finding("127.0.0.1:7400")[0] == "warn"
    assert "this machine only" in node_address_finding("[::1]:7400")[1]
    found = node_address_finding("host.invalid:7400")
    assert found[0] == "warn"
    assert "cannot be reached" in found[1]


def test_reachable_address_of_a_node_is_ok(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_cluster, "is_loopback", lambda host: False)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        accepting = threading.Thread(target=listener.accept)
        accepting.start()
        assert node_address_finding(f"127.0.0.1:{listener.getsockname()[1]}")[0] == "ok"
        accepting.join()


@pytest.mark.parametrize(("ahead", "level"), [(0.0, "ok"), (1.9, "ok"), (-3.0, "warn"), (7.0, "warn")])
def test_clocks_are_compared(ahead: float, level: str) -> None:
    assert clock_finding("the database", ahead)[0] == level


def heard(*told: object) -> Heard:
    """Return nodes that tell these fingerprints of their keys."""
    hellos = [Hello(f"10.0.0.{number}:7400", {"keys": one}) for number, one in enumerate(told)]
    return Heard(True, {f"node{number}": HeardNode(hello, 0.0) for number, hello in enumerate(hellos)})


@pytest.mark.parametrize("told", [(), (None,), ("a" * 8, "a" * 8), ("a" * 8, None)])
def test_nodes_with_the_same_signing_keys_are_ok(told: tuple[object, ...]) -> None:
    assert {level for level, _ in doctor_cluster._nodes(heard(*told))} == {"ok"}


def test_nodes_with_different_signing_keys_fail() -> None:
    level, text = list(doctor_cluster._nodes(heard("a" * 8, "b" * 8, "a" * 8)))[-1]
    assert level == "fail"
    assert "(10.0.0.0:7400, 10.0.0.2:7400 | 10.0.0.1:7400); copy the folder of the keys" in text


def test_signing_keys_of_this_machine_are_compared(roomkey: Cli, here: Path) -> None:
    settings = Settings(keys=here / "keys")
    assert doctor_cluster._own_keys(settings) is None
    load_or_create(settings.keys, "ES256")
    own = doctor_cluster._own_keys(settings)
    assert own == fingerprint(KeyFolder(settings.keys, "ES256", 900).accepted(0.0))
    assert list(doctor_cluster._nodes(heard(own), own))[-1] == ("ok", "the nodes have the same signing keys")
    level, text = list(doctor_cluster._nodes(heard("b" * 8), own))[-1]
    assert level == "fail"
    assert "(10.0.0.0:7400 | this machine)" in text
    assert len(list(doctor_cluster._nodes(heard(), own))) == 1, "without nodes, there is nothing to compare"


def test_new_machine_with_other_signing_keys_fails(roomkey: Cli, here: Path, broker: Broker, monkeypatch: Any) -> None:
    async def overhear(*_: Any, **__: Any) -> Heard:
        return heard("b" * 8)

    monkeypatch.setattr(doctor_cluster, "overhear", overhear)
    load_or_create(here / "keys", "ES256")
    (here / "roomkey.toml").write_text(f'redis = "{broker.url}"\ncluster_secret = "{secret_file(here)}"\n')
    ran = roomkey("doctor")
    assert ran.code == 1
    assert "fail  nodes have different signing keys" in ran.out


# --app


def inspect(roomkey: Cli, here: Path, body: str, number: int) -> Any:
    (here / f"clustered{number}.py").write_text(APPLICATION + body)
    return roomkey("doctor", "--app", f"clustered{number}:hub")


def test_cluster_of_an_application_is_examined(roomkey: Cli, here: Path, broker: Broker) -> None:
    body = f'cluster = Cluster(RedisBus("{broker.url}"), secrets=[SECRET])\n'
    body += "hub = Hub(verifier, cluster=cluster, revocations=MemoryRevocations())\n"
    out = inspect(roomkey, here, body, os.getpid()).out
    assert "ok    cluster 'roomkey' on a RedisBus" in out
    assert "ok    nodes that are alive: 0" in out


def test_workers_without_a_cluster_fail(roomkey: Cli, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEB_CONCURRENCY", "4")
    ran = inspect(roomkey, here, "hub = Hub(verifier, revocations=MemoryRevocations())\n", os.getpid() + 1)
    assert ran.code == 1
    assert "4 workers without a cluster" in ran.out


JOURNAL = f"""
import socketio
from roomkey import Verifier
from roomkey.bus import RedisJournal
from roomkey.socketio import AsyncGuard
hub = socketio.AsyncServer(async_mode="asgi")
journal = RedisJournal.at("URL", secrets=["{SECRET}"])
guard = AsyncGuard(Verifier.hs256("kT9vX2mQ8rL4wZ7yB1nC6dF3gH5jP0sA"), revocations=journal)
guard.attach(hub)
"""


@pytest.mark.parametrize(("signed_with", "code"), [(SECRET, 0), ("vB7nM2kX9pQ4wE6rT8yU1iO3aS5dF0gH", 1)])
def test_journal_of_an_application_is_examined(
    roomkey: Cli, here: Path, broker: Broker, signed_with: str, code: int
) -> None:
    async def revoke() -> None:
        other = journal_at(broker, signed_with)
        await other.add(Revocation("subject", "ada"))
        await other.close()

    asyncio.run(revoke())
    before = broker.command("DBSIZE")
    ran = inspect(roomkey, here, JOURNAL.replace("URL", broker.url), os.getpid() + 2 + code)
    assert ran.code == code
    assert "Redis forgets the journal when it restarts; set appendonly yes" in ran.out
    assert ("fail  other servers sign the journal with another secret" in ran.out) == (code == 1)
    assert broker.command("DBSIZE") == before


def test_journal_that_cannot_be_reached_fails(roomkey: Cli, here: Path, broker: Broker) -> None:
    broker.kill()
    url = broker.url.replace("//", "//ada:hunter2@")
    ran = inspect(roomkey, here, JOURNAL.replace("URL", url), os.getpid() + 4)
    assert ran.code == 1
    assert "fail  cannot reach Redis (ConnectionError): start it, or correct the URL" in ran.out
    assert "hunter2" not in ran.out + ran.err
