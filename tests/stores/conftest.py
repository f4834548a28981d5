"""One fixture for each store protocol, on every backend."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Protocol, TypeVar

import pytest
from stores.backends import BACKENDS, JOURNALS, Connect, Place
from support.brokers import Broker

from roomkey.stores import ManagedAccounts, ManagedClients, ProviderLinks, Sessions, SingleUseStore


class Opens(Protocol):
    async def open(self) -> None: ...
    async def close(self) -> None: ...


StoreT = TypeVar("StoreT", bound=Opens)


@asynccontextmanager
async def opened(store: StoreT) -> AsyncIterator[StoreT]:
    """Open a store, and close it in the end."""
    await store.open()
    yield store
    await store.close()


@pytest.fixture(params=BACKENDS, ids=lambda backend: backend.name)
def connect(request: pytest.FixtureRequest) -> Connect:
    """Return a function that connects to an empty backend. Tests that use it run against every backend."""
    made: Connect = request.param.new(request)
    return made


@pytest.fixture
async def accounts(connect: Connect) -> AsyncIterator[ManagedAccounts]:
    async with opened(connect().accounts) as store:
        yield store


@pytest.fixture
async def clients(connect: Connect) -> AsyncIterator[ManagedClients]:
    async with opened(connect().clients) as store:
        yield store


@pytest.fixture
async def sessions(connect: Connect) -> AsyncIterator[Sessions]:
    async with opened(connect().sessions) as store:
        yield store


@pytest.fixture
async def single_use(connect: Connect) -> AsyncIterator[SingleUseStore]:
    async with opened(connect().single_use) as store:
        yield store


@pytest.fixture
async def links(connect: Connect) -> AsyncIterator[ProviderLinks]:
    async with opened(connect().links) as store:
        yield store


@pytest.fixture(scope="session")
def brokers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Broker]]:
    """Return a function that starts Redis or Valkey, each once for all tests."""
    started: dict[str, Broker] = {}

    def of(kind: str) -> Broker:
        if kind not in started:
            started[kind] = Broker(kind, tmp_path_factory.mktemp(kind)).start()
        return started[kind]

    yield of
    for broker in started.values():
        broker.kill()


@pytest.fixture(params=JOURNALS, ids=lambda backend: backend.name)
async def place(request: pytest.FixtureRequest) -> AsyncIterator[Place]:
    """Return a place for revocations."""
    connect = request.param.new(request)
    made = Place(lambda: connect().revocations)
    yield made
    await made.close()
