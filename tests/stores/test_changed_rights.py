"""Guards on one store of revocations agree on changed rights, whichever store it is."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest
from stores.backends import Place
from support.clock import FakeClock
from support.journals import JournalServer

from roomkey.guard import revocation_sync

Servers = tuple[JournalServer, JournalServer]


@pytest.fixture
async def servers(place: Place, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Servers]:
    """Two servers on one clock. They read the store when the test says so, or when a journal wakes them."""
    monkeypatch.setattr(revocation_sync, "POLL_SECONDS", 3600.0)
    clock = FakeClock()
    async with AsyncExitStack() as stack:
        made = []
        for _ in range(2):
            made.append(JournalServer(await place.open(), clock=clock))
            stack.push_async_callback(made[-1].close)
            await made[-1].sync.check()
        yield made[0], made[1]


def rights(server: JournalServer) -> tuple[Any, Any]:
    change = server.guard._authorizer.changed.latest("ada")
    assert change is not None
    return change.roles, change.rooms


async def update(server: JournalServer, **changed: Any) -> None:
    server.guard.clock.advance(0.001)
    await server.guard.update("ada", **changed)


async def nothing(one: JournalServer, two: JournalServer) -> None:
    """Read nothing in between."""


async def reads_first(one: JournalServer, two: JournalServer) -> None:
    await one.read()


async def reads_second(one: JournalServer, two: JournalServer) -> None:
    await two.read()


@pytest.mark.parametrize("between", [nothing, reads_first, reads_second])
async def test_last_change_applies_in_every_server(
    servers: Servers, between: Callable[[JournalServer, JournalServer], Awaitable[None]]
) -> None:
    one, two = servers
    for number in range(2):
        await update(one, rooms=[f"one{number}"], roles=["admin"])
        await between(one, two)
        await update(two, rooms=[f"two{number}"], roles=[])
        await between(one, two)
    await one.read()
    await two.read()
    assert rights(one) == rights(two) == ((), ["two1"])


async def test_change_of_the_roles_survives_one_of_the_rooms_by_another_server(servers: Servers) -> None:
    one, two = servers
    await update(two, roles=[])
    await update(one, rooms=["red"])
    await one.read()
    await two.read()
    assert rights(one) == rights(two) == ((), ["red"])


async def test_earlier_change_of_another_server_does_not_replace_ours_while_it_is_read(servers: Servers) -> None:
    one, two = servers
    await update(two, rooms=["two"])
    await update(one, rooms=["one"])
    seen = []
    followed = one.sync.on_rights
    one.sync.on_rights = lambda change: (followed(change), seen.append(rights(one)[1]))
    await one.read()
    assert all(rooms == ["one"] for rooms in seen)
    assert rights(one) == (None, ["one"])
