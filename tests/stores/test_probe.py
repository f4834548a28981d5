"""The write probe, with SQLite and PostgreSQL and with each kind of failure."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy import event, text
from sqlalchemy.engine import Engine
from support.postgres import PostgreSQL

from roomkey.stores import Database
from roomkey.stores import probe as probing
from roomkey.stores.probe import Probe


@pytest.fixture
async def probe(where: Path | str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Probe]:
    monkeypatch.setattr(probing, "KNOWN_SECONDS", 0.0)
    database = Database(where)
    await database.open()
    yield Probe(database)
    await database.close()


on_postgresql = pytest.mark.parametrize("where", ["postgresql"], indirect=True)


async def test_writable_database_has_no_problem(probe: Probe) -> None:
    assert [await probe.problem() for _ in range(3)] == [None] * 3


@pytest.mark.parametrize("table", ["revocations", "login_sessions"])
async def test_locked_table_is_a_problem_until_it_is_free(
    probe: Probe, where: Path | str, table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await probe.problem() is None
    monkeypatch.setattr(probing, "PROBE_SECONDS", 0.4)
    if isinstance(where, str):
        other = await asyncpg.connect(where)
        async with other.transaction():
            await other.execute(f"LOCK TABLE {table} IN SHARE MODE")
            said = await probe.problem()
        await other.close()
    else:
        with sqlite3.connect(where) as holder:
            holder.execute("BEGIN IMMEDIATE")
            said = await probe.problem()
    assert said is not None
    assert said.startswith("the database cannot be written to: ")
    async with asyncio.timeout(10):
        while await probe.problem() is not None:
            await asyncio.sleep(0.05)


@on_postgresql
async def test_read_only_database_is_a_problem(where: str, postgres: PostgreSQL) -> None:
    database = Database(where)
    await database.open()
    name = where.partition("@/")[2].partition("?")[0]
    await database.change(text(f"ALTER DATABASE {name} SET default_transaction_read_only = on"))
    said = await Probe(database).problem()
    assert said == "the database cannot be written to: the database failed: ReadOnlySQLTransactionError"
    await database.close()


FULL = """
import asyncio, resource, sys
from pathlib import Path
from roomkey.stores.probe import Probe
from roomkey.stores import Database

async def main():
    database = Database(Path(sys.argv[1]))
    await database.open()
    resource.setrlimit(resource.RLIMIT_FSIZE, (1, resource.RLIM_INFINITY))
    print(await Probe(database).problem())
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    await database.close()

asyncio.run(main())
"""


def test_file_that_cannot_grow_is_a_problem(tmp_path: Path) -> None:
    """As on a full disk, every table is writable, but a write fails."""
    look = [sys.executable, "-c", FULL, str(tmp_path / "db.sqlite3")]
    ran = subprocess.run(look, env=os.environ, capture_output=True, text=True, timeout=100)
    assert ran.stdout.startswith("the database cannot be written to: "), ran.stderr


async def test_concurrent_probes_cost_one_write(monkeypatch: pytest.MonkeyPatch) -> None:
    database = Database()
    await database.open()
    written = []

    def count(*arguments: object) -> None:
        written.append(str(arguments[2])) if "UPDATE probe" in str(arguments[2]) else None

    event.listen(Engine, "before_cursor_execute", count)
    try:
        probe = Probe(database)
        await asyncio.gather(*(probe.problem() for _ in range(50)))
        await probe.problem()
    finally:
        event.remove(Engine, "before_cursor_execute", count)
    assert len(written) <= 2  # every table, and the row
    await database.close()
