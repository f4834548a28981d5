"""Codes and tickets, which can be used once, in SQLite and PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import text

from roomkey.stores import Consumed, SqlSingleUseStore

NOW = 1_800_000_000
DATA = {"sub": "ada", "origin": "https://app.example"}


@pytest.fixture(params=["sqlite", "postgresql"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[SqlSingleUseStore]:
    where = tmp_path / "db.sqlite3" if request.param == "sqlite" else request.getfixturevalue("postgres").database()
    made = SqlSingleUseStore(where)
    await made.open()
    yield made
    await made.close()


async def test_of_fifty_concurrent_uses_exactly_one_is_the_first(store):
    await store.store("ticket", "h", DATA, NOW + 30)
    found = await asyncio.gather(*(store.consume("ticket", "h", NOW) for _ in range(50)))
    assert [taken.already_used for taken in found].count(False) == 1
    assert all(taken.data == DATA for taken in found)


async def test_second_use_returns_the_note_of_the_first(store):
    await store.store("code", "h", DATA, NOW + 30)
    assert await store.consume("code", "h", NOW) == Consumed(DATA, False, None)
    await store.annotate("h", "s1")
    assert await store.consume("code", "h", NOW + 29) == Consumed(DATA, True, "s1")


@pytest.mark.parametrize(("kind", "name", "now"), [("code", "h", NOW), ("ticket", "H", NOW), ("ticket", "h", NOW + 30)])
async def test_other_kind_other_value_or_expired_value_is_not_found(store, kind, name, now):
    await store.store("ticket", "h", DATA, NOW + 30)
    assert await store.consume(kind, name, now) is None
    assert await store.consume("ticket", "h", NOW) == Consumed(DATA, False, None)


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
