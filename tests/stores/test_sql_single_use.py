"""What only the SQL store of codes and tickets does, in SQLite and PostgreSQL."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import text

from roomkey.stores import SqlSingleUseStore

NOW = 1_800_000_000
DATA = {"sub": "ada", "origin": "https://app.example"}


@pytest.fixture
async def store(where: Path | str) -> AsyncIterator[SqlSingleUseStore]:
    made = SqlSingleUseStore(where)
    await made.open()
    yield made
    await made.close()


async def test_expired_values_are_deleted_in_small_transactions(store, monkeypatch):
    monkeypatch.setattr("roomkey.stores.sql.DELETED_AT_ONCE", 2)
    await store.store("ticket", "h", DATA, NOW + 30)
    await store.store("ticket", "i", DATA, NOW + 31)
    for number in range(8):
        await store.store("code", f"old{number}", DATA, NOW - number)
    await store.delete_expired(NOW + 30)
    assert len(await store._database.rows(text("SELECT * FROM one_time"))) == 1
    assert await store.consume("ticket", "h", NOW) is None
    assert await store.consume("ticket", "i", NOW) is not None
