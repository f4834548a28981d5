"""What everything kept in SQL shares."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from roomkey.errors import ConfigError
from roomkey.stores.revocations import MemoryRevocations
from roomkey.stores.sql import Database


async def pragma(database: Database, name: str) -> object:
    async def ask(connection: AsyncConnection) -> object:
        return (await connection.exec_driver_sql(f"PRAGMA {name}")).scalar_one()

    return await database.run(ask)


async def test_sqlite_keeps_what_it_answered_through_a_loss_of_power(tmp_path: Path) -> None:
    database = Database(tmp_path / "a?b.sqlite3")
    await database.open()
    full = 2
    assert await pragma(database, "synchronous") == full
    assert await pragma(database, "journal_mode") == "wal"
    assert (tmp_path / "a?b.sqlite3").stat().st_mode & 0o777 == 0o600
    await database.close()


@pytest.mark.parametrize("name", [None, "a.sqlite3"])
async def test_two_transactions_do_not_mix(tmp_path: Path, name: str | None) -> None:
    """One that fails takes back its own rows, and not those of another that runs meanwhile."""
    database = Database(name and tmp_path / name)
    both = asyncio.Barrier(2)

    async def write(connection: AsyncConnection, fails: bool) -> None:
        await connection.exec_driver_sql(f"INSERT INTO t VALUES ({fails:d})")
        if fails:
            raise LookupError

    async def one(fails: bool) -> None:
        await both.wait()
        await database.run(lambda connection: write(connection, fails))

    await database.run(lambda connection: connection.exec_driver_sql("CREATE TABLE t (x)"))
    answers = await asyncio.gather(one(False), one(True), return_exceptions=True)
    assert [type(answer) for answer in answers] == [type(None), LookupError]

    async def count(connection: AsyncConnection) -> object:
        return (await connection.exec_driver_sql("SELECT group_concat(x) FROM t")).scalar_one()

    assert await database.run(count) == "0"
    await database.close()


async def test_what_is_begun_is_finished_though_nobody_waits() -> None:
    """In memory a connection that is broken off would take everything with it."""
    database = Database()
    await database.run(lambda connection: connection.exec_driver_sql("CREATE TABLE t (x)"))
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def write(connection: AsyncConnection) -> None:
        begun.set()
        await go_on.wait()
        await connection.exec_driver_sql("INSERT INTO t VALUES (1)")

    waiting = asyncio.create_task(database.run(write))
    await begun.wait()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    go_on.set()

    async def count(connection: AsyncConnection) -> object:
        return (await connection.exec_driver_sql("SELECT count(*) FROM t")).scalar_one()

    assert await database.run(count) == 1
    await database.close()


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "asyncpg", None)
    with pytest.raises(ConfigError, match=r"^asyncpg is missing: pip install 'roomkey\[postgresql\]'$"):
        Database("postgresql://u:hunter2@h/db")


def test_a_guard_needs_no_sql() -> None:
    assert MemoryRevocations.__module__ == "roomkey.stores.revocations"
    look = "import sys, roomkey.stores.revocations; sys.exit('sqlalchemy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", look], env=os.environ).returncode == 0


async def test_a_database_behind_a_link_is_private_from_its_first_byte(tmp_path: Path) -> None:
    (tmp_path / "link.sqlite3").symlink_to(tmp_path / "real.sqlite3")
    database = Database(tmp_path / "link.sqlite3")
    await database.run(lambda connection: connection.exec_driver_sql("CREATE TABLE t (x)"))
    found = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir() if not path.is_symlink()}
    assert set(found.values()) == {0o600}
    assert "real.sqlite3" in found
    await database.close()


async def test_what_a_second_database_on_the_same_file_does_takes_nothing_from_the_first(tmp_path: Path) -> None:
    """SQLite's locks are the process's: to open and close the file once more would drop them."""
    path = tmp_path / "shared.sqlite3"
    first, second = Database(path), Database(path)
    await first.run(lambda connection: connection.exec_driver_sql("CREATE TABLE t (x)"))
    await second.open()
    other_process = "import sqlite3, sys; print(sqlite3.connect(sys.argv[1]).execute('SELECT x FROM t').fetchall())"
    look = [sys.executable, "-c", other_process, str(path)]
    assert subprocess.run(look, capture_output=True, text=True, check=True).stdout == "[]\n"
    assert path.with_name("shared.sqlite3-wal").exists(), "the other process is not the last to leave"
    await first.run(lambda connection: connection.exec_driver_sql("INSERT INTO t VALUES (1)"))
    assert subprocess.run(look, capture_output=True, text=True, check=True).stdout == "[(1,)]\n"
    for database in (first, second):
        await database.close()
