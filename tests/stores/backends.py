"""Where stores keep their records. The contract tests (``test_<protocol>.py``) run against every entry of ``BACKENDS``.

To add a kind of store, add a backend here. If it has only some of the stores, give the others with
``dataclasses.replace(Stores.at(), …)``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from support.brokers import Broker

from roomkey.bus import RedisJournal
from roomkey.stores import MemoryRevocations, RevocationStore, Stores

Connect = Callable[[], Stores]
"""Returns stores that are not open yet. Each call is like another process that uses the same records."""


@dataclass(frozen=True)
class Backend:
    """One kind of store.

    Attributes:
        name: in the ids of the tests.
        new: creates an empty place for records, for one test.
    """

    name: str
    new: Callable[[pytest.FixtureRequest], Connect]


def _memory(_request: pytest.FixtureRequest) -> Connect:
    shared = replace(Stores.at(), revocations=MemoryRevocations())
    return lambda: shared


def _sqlite(request: pytest.FixtureRequest) -> Connect:
    path: Path = request.getfixturevalue("tmp_path") / "roomkey.sqlite3"
    return lambda: Stores.at(path)


def _postgresql(request: pytest.FixtureRequest) -> Connect:
    url: str = request.getfixturevalue("postgres").database()
    return lambda: Stores.at(url)


def _broker(kind: str) -> Callable[[pytest.FixtureRequest], Connect]:
    def new(request: pytest.FixtureRequest) -> Connect:
        broker: Broker = request.getfixturevalue("brokers")(kind)
        broker.command("FLUSHALL")
        return lambda: replace(Stores.at(), revocations=RedisJournal.at(broker.url, secrets=[CLUSTER_SECRET]))

    return new


CLUSTER_SECRET = "mW3xQ9vT5kB8nR2cJ7dL4fH6gZ1pS0yA"

BACKENDS = (Backend("memory", _memory), Backend("sqlite", _sqlite), Backend("postgresql", _postgresql))

JOURNALS = (*BACKENDS, Backend("redis", _broker("redis")), Backend("valkey", _broker("valkey")))
"""Those that have a place for revocations."""


@dataclass
class Place:
    """A place for revocations, on which tests can open any number of stores.

    Attributes:
        make: returns a store that is not open yet.
        where: the file or URL, in tests of one kind of store.
    """

    make: Callable[[], RevocationStore]
    where: str = ""
    opened: list[RevocationStore] = field(default_factory=list)

    async def open(self) -> RevocationStore:
        store = self.make()
        await store.open()
        self.opened.append(store)
        return store

    async def close(self) -> None:
        for store in self.opened:
            await store.close()
