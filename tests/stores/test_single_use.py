"""What may be used once, in SQLite and PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import text

from roomkey.stores.single_use import SqlSingleUseStore, Taken

NOW = 1_800_000_000
DATA = {"sub": "ada", "origin": "https://app.example"}


@pytest.fixture(params=["sqlite", "postgresql"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[SqlSingleUseStore]:
    where = tmp_path / "db.sqlite3" if request.param == "sqlite" else request.getfixturevalue("postgres").database()
    made = SqlSingleUseStore(where)
    await made.open()
    yield made
    await made.close()


async def test_of_fifty_at_once_exactly_one_is_the_first(store):
    await store.put("ticket", "h", DATA, NOW + 30)
    found = await asyncio.gather(*(store.take("ticket", "h", NOW) for _ in range(50)))
    assert [taken.again for taken in found].count(False) == 1
    assert all(taken.data == DATA for taken in found)


async def test_a_second_use_tells_what_came_of_the_first(store):
    await store.put("code", "h", DATA, NOW + 30)
    assert await store.take("code", "h", NOW) == Taken(DATA, False, None)
    await store.became("h", "s1")
    assert await store.take("code", "h", NOW + 29) == Taken(DATA, True, "s1")


@pytest.mark.parametrize(("kind", "name", "now"), [("code", "h", NOW), ("ticket", "H", NOW), ("ticket", "h", NOW + 30)])
async def test_another_kind_another_name_or_too_late_is_nothing(store, kind, name, now):
    await store.put("ticket", "h", DATA, NOW + 30)
    assert await store.take(kind, name, now) is None
    assert await store.take("ticket", "h", NOW) == Taken(DATA, False, None)


async def test_what_is_over_is_forgotten_a_little_at_a_time(store, monkeypatch):
    monkeypatch.setattr("roomkey.stores.sql.FORGOTTEN_AT_ONCE", 2)
    await store.put("ticket", "h", DATA, NOW + 30)
    await store.put("ticket", "i", DATA, NOW + 31)
    for number in range(8):
        await store.put("code", f"old{number}", DATA, NOW - number)
    await store.forget_expired(NOW + 30)
    assert len(await store._database.rows(text("SELECT * FROM one_time"))) == 1
    assert await store.take("ticket", "h", NOW) is None
    assert await store.take("ticket", "i", NOW) is not None
