"""One fixture for each store protocol, on every backend."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from stores.backends import BACKENDS, Connect, Place

from roomkey.stores import ManagedAccounts, ManagedClients, Sessions, SingleUseStore


@pytest.fixture(params=BACKENDS, ids=lambda backend: backend.name)
def connect(request: pytest.FixtureRequest) -> Connect:
    """Return a function that connects to an empty backend. Tests that use it run against every backend."""
    made: Connect = request.param.new(request)
    return made


@pytest.fixture
async def accounts(connect: Connect) -> AsyncIterator[ManagedAccounts]:
    store = connect().accounts
    await store.open()
    yield store
    await store.close()


@pytest.fixture
async def clients(connect: Connect) -> AsyncIterator[ManagedClients]:
    store = connect().clients
    await store.open()
    yield store
    await store.close()


@pytest.fixture
async def sessions(connect: Connect) -> AsyncIterator[Sessions]:
    store = connect().sessions
    await store.open()
    yield store
    await store.close()


@pytest.fixture
async def single_use(connect: Connect) -> AsyncIterator[SingleUseStore]:
    store = connect().single_use
    await store.open()
    yield store
    await store.close()


@pytest.fixture
async def place(connect: Connect) -> AsyncIterator[Place]:
    """Return a place for revocations."""
    made = Place(lambda: connect().revocations)
    yield made
    await made.close()
