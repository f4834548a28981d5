"""Two nodes on one database: each has connections, a guard and a memory of its own, and the database may fail."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from support.clock import FakeClock
from support.login_server import LoginServer, running
from support.postgres import PostgreSQL

from roomkey.guard import revoking


class Nodes(NamedTuple):
    """Two nodes on one database, by one clock that stands still."""

    here: LoginServer
    there: LoginServer


@pytest.fixture(params=["sqlite", "postgresql"])
async def nodes(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Nodes]:
    where: Any = tmp_path / "roomkey.sqlite3"
    if request.param == "postgresql":
        server: PostgreSQL = request.getfixturevalue("postgres")
        where = server.database()
    clock = FakeClock()
    async with AsyncExitStack() as stack:
        made = [await stack.enter_async_context(running(where, clock=clock, port=True)) for _ in range(2)]
        yield Nodes(*made)


on_postgresql = pytest.mark.parametrize("nodes", ["postgresql"], indirect=True)


async def connect(node: LoginServer, tokens: dict[str, Any]) -> str:
    """What a client is told that connects with a token."""
    raw = await node.raw()
    reply = await raw.ask({"token": tokens["access_token"]})
    await raw.close()
    return reply


@on_postgresql
async def test_a_revoked_token_is_not_admitted_though_the_database_stops_right_after(
    nodes: Nodes, postgres: PostgreSQL, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Checklist 126: the other node has not read it, has not failed to read it, and knows how old its knowledge is."""
    monkeypatch.setattr(revoking, "POLL_SECONDS", 3600.0)
    monkeypatch.setattr(revoking, "STORE_SECONDS", 0.5)
    tokens = await nodes.here.login()
    assert (await connect(nodes.there, tokens)).startswith("40")
    assert (await nodes.here.post("logout", tokens)).status_code == 200
    postgres.hold()
    try:
        nodes.there.clock.advance(revoking.FRESH_SECONDS + 0.01)
        assert "temporarily_unavailable" in await connect(nodes.there, tokens)
    finally:
        postgres.release()


async def test_a_backlog_of_expired_logins_makes_no_login_fail(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Checklist 128: dropping it takes longer than a request may."""
    begun = asyncio.Event()

    async def too_long(_: int) -> None:
        begun.set()
        await asyncio.sleep(3600)

    for part in (nodes.here.sessions, nodes.here.one_time):
        monkeypatch.setattr(part, "forget_expired", too_long)
    tokens = await nodes.here.login()
    assert (await nodes.here.post("ticket", tokens)).status_code == 200
    await asyncio.wait_for(begun.wait(), 5)
