"""What only the SQL store of login sessions does, in SQLite and PostgreSQL."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import inspect, text

from roomkey.stores import LoginSession, SqlSessions

NOW = 1_800_000_000
SESSION = LoginSession("s1", "ada", "roomkey", NOW, NOW, NOW + 3600, "chat", "127.0.0.1", "a browser")


@pytest.fixture
async def sessions(where: Path | str) -> AsyncIterator[SqlSessions]:
    made = SqlSessions(where)
    await made.open()
    yield made
    await made.close()


@pytest.mark.checklist("I128")
async def test_backlog_is_deleted_in_small_transactions(sessions, monkeypatch):
    """No transaction grows with the backlog, and a long session has many tokens."""
    monkeypatch.setattr("roomkey.stores.sql_sessions.BATCH", 2)
    for number in range(7):
        await sessions.add(replace(SESSION, session_id=f"s{number}"), f"t{number}-0")
    for number in range(45):
        await sessions.rotate(f"t0-{number}", f"t0-{number + 1}", NOW, 10)
    await sessions.add(replace(SESSION, session_id="s9", expires_at=NOW + 7200), "u0")
    deleted = []
    run = sessions._database.run

    async def watched(work):
        before = await rows(sessions)
        found = await run(work)
        deleted.append(before - await rows(sessions))
        return found

    monkeypatch.setattr(sessions._database, "run", watched)
    await sessions.delete_expired(NOW + 3600)
    assert sum(deleted) == 7 + 7 + 45
    assert max(deleted) <= 2 + 20
    assert await rows(sessions) == 2


async def rows(sessions) -> int:
    tables = ("login_sessions", "refresh_tokens")
    return sum([(await sessions._database.rows(text(f"SELECT count(*) FROM {name}")))[0][0] for name in tables])


async def test_sessions_of_a_client_are_found_by_an_index(sessions):
    def indexed(connection):
        return [index["column_names"] for index in inspect(connection).get_indexes("login_sessions")]

    found = await sessions._database.run(lambda connection: connection.run_sync(indexed))
    assert ["client_id"] in found
