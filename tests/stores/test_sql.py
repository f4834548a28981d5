"""The database behind all SQL stores."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import asyncpg
import pytest
from packaging.requirements import Requirement
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection
from support.postgres import PostgreSQL

from roomkey.errors import ConfigError, Unavailable
from roomkey.stores import Database, sql
from roomkey.stores.sql_engines import postgresql_engine


async def pragma(database: Database, name: str) -> object:
    async def ask(connection: AsyncConnection) -> object:
        return (await connection.exec_driver_sql(f"PRAGMA {name}")).scalar_one()

    return await database.run(ask)


async def test_committed_sqlite_data_survives_power_loss(tmp_path: Path) -> None:
    database = Database(tmp_path / "a?b.sqlite3")
    await database.open()
    full = 2
    assert await pragma(database, "synchronous") == full
    assert await pragma(database, "journal_mode") == "wal"
    assert (tmp_path / "a?b.sqlite3").stat().st_mode & 0o777 == 0o600
    await database.close()


async def test_open_waits_for_a_connection_that_holds_the_new_file(tmp_path: Path) -> None:
    path = tmp_path / "new.sqlite3"
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        database = Database(path)
        opening = asyncio.create_task(database.open())
        await asyncio.wait({opening}, timeout=0.1)
        other.execute("COMMIT")
        await opening
    await database.close()


@pytest.mark.parametrize("name", [None, "a.sqlite3"])
async def test_two_transactions_do_not_mix(tmp_path: Path, name: str | None) -> None:
    """A failed transaction rolls back its own rows, and not those of a concurrent one."""
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


async def test_started_work_is_finished_after_the_caller_is_cancelled() -> None:
    """In memory, an interrupted connection would lose everything."""
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


def test_missing_driver_error_names_the_command_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "asyncpg", None)
    with pytest.raises(ConfigError, match=r"^asyncpg is not installed; run: pip install 'roomkey\[postgresql\]'$"):
        Database("postgresql://u:hunter2@h/db")


WITHOUT_SQLALCHEMY = """
import sys

sys.modules["sqlalchemy"] = None  # importing it raises ModuleNotFoundError
import roomkey.auth
import roomkey.guard.guard
import roomkey.stores

for name in roomkey.stores.__all__:
    if name != "Database" and not name.startswith("Sql"):
        getattr(roomkey.stores, name)
try:
    roomkey.stores.Stores.at()
except ImportError as error:
    assert str(error) == "roomkey.stores.Stores.at requires sqlalchemy; run: pip install 'roomkey[sql]'", error
else:
    raise AssertionError("SQLAlchemy was imported")
"""


def test_interfaces_guard_and_login_server_do_not_require_sqlalchemy() -> None:
    program = [sys.executable, "-c", WITHOUT_SQLALCHEMY]
    assert subprocess.run(program, env=os.environ).returncode == 0


async def test_database_behind_a_link_is_private_from_its_first_byte(tmp_path: Path) -> None:
    (tmp_path / "link.sqlite3").symlink_to(tmp_path / "real.sqlite3")
    database = Database(tmp_path / "link.sqlite3")
    await database.run(lambda connection: connection.exec_driver_sql("CREATE TABLE t (x)"))
    found = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir() if not path.is_symlink()}
    assert set(found.values()) == {0o600}
    assert "real.sqlite3" in found
    await database.close()


async def test_second_database_on_the_same_file_does_not_affect_the_first(tmp_path: Path) -> None:
    """SQLite's locks belong to the process: opening and closing the file again would release them."""
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


async def value(database: Database, query: str) -> object:
    async def ask(connection: AsyncConnection) -> object:
        return (await connection.exec_driver_sql(query)).scalar_one()

    return await database.run(ask)


@pytest.mark.checklist("I127")
@pytest.mark.parametrize(("theirs", "ours"), [("off", "on"), ("local", "local"), ("remote_apply", "remote_apply")])
async def test_asynchronous_commit_of_the_database_is_overridden(postgres: PostgreSQL, theirs: str, ours: str) -> None:
    """Only the value that loses committed data is changed."""
    where = postgres.database()
    other = await asyncpg.connect(where)
    await other.execute(f"ALTER DATABASE {where.partition('@/')[2].partition('?')[0]} SET synchronous_commit={theirs}")
    await other.close()
    database = Database(where)
    assert await value(database, "SHOW synchronous_commit") == ours
    await database.close()


HOLD = """
import asyncio, os, signal, sys
from roomkey.stores import sql
sql.PATIENCE = 1.0

async def freeze(connection):
    await connection.exec_driver_sql("UPDATE t SET x = 1")
    print("frozen", flush=True)
    os.kill(os.getpid(), signal.SIGSTOP)

asyncio.run(sql.Database(sys.argv[1]).run(freeze))
"""


@pytest.mark.checklist("I125")
async def test_frozen_process_loses_its_transaction_before_others_give_up(
    postgres: PostgreSQL, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For every lock, the server cancels the transaction of an unresponsive process."""
    monkeypatch.setattr(sql, "PATIENCE", 1.0)
    database = Database(where := postgres.database())
    await database.run(lambda connection: connection.exec_driver_sql("CREATE TABLE t AS SELECT 0 AS x"))
    with subprocess.Popen([sys.executable, "-c", HOLD, where], stdout=subprocess.PIPE, text=True) as child:
        try:
            assert child.stdout is not None
            assert await asyncio.to_thread(child.stdout.readline) == "frozen\n"
            await database.change(text("UPDATE t SET x = 2"))
        finally:
            child.kill()
    assert await value(database, "SELECT x FROM t") == 2
    await database.close()


async def test_caller_cancelled_in_the_queue_leaves_no_work() -> None:
    database = Database()
    await database.run(lambda connection: connection.exec_driver_sql("CREATE TABLE t (x)"))
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def hold(_: AsyncConnection) -> None:
        begun.set()
        await go_on.wait()

    holding = asyncio.create_task(database.run(hold))
    await begun.wait()
    waiting = asyncio.create_task(database.change(text("INSERT INTO t VALUES (1)")))
    await asyncio.sleep(0)
    waiting.cancel()
    go_on.set()
    await holding
    assert await value(database, "SELECT count(*) FROM t") == 0
    await database.close()


async def test_overload_fails_immediately_and_only_then() -> None:
    database = Database(max_waiting=2)
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def hold(_: AsyncConnection) -> None:
        begun.set()
        await go_on.wait()

    holding = asyncio.create_task(database.run(hold))
    await begun.wait()
    waiting = [asyncio.create_task(database.rows(text("SELECT 1"))) for _ in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(Unavailable, match="too many"):
        await database.rows(text("SELECT 1"))
    go_on.set()
    await asyncio.gather(holding, *waiting)
    await database.rows(text("SELECT 1"))
    await database.close()


@pytest.mark.checklist("I126")
async def test_busy_event_loop_does_not_look_like_an_unresponsive_database(
    postgres: PostgreSQL, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A late event loop is not a late database."""
    database = Database(postgres.database())
    await database.open()
    monkeypatch.setattr(sql, "PATIENCE", 0.5)
    asking = asyncio.create_task(database.rows(text("SELECT 1")))
    await asyncio.sleep(0.001)
    time.sleep(0.7)
    assert await asking == [(1,)]
    await database.close()


async def test_asyncpg_errors_while_connecting_are_unavailable() -> None:
    """SQLAlchemy 2.0 does not translate these errors."""
    engine = postgresql_engine("postgresql://u:hunter2@127.0.0.1:1/db", 1, 5.0, 5.0)
    with pytest.raises(Unavailable, match=r"^the database failed: ConnectionRefusedError$"):
        await engine.connect()
    await engine.dispose()


def test_postgresql_extra_installs_next_to_sqlalchemy_2_0() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    for extra in ("sql", "postgresql"):
        needed = [Requirement(line) for line in project["optional-dependencies"][extra]]
        assert all("2.0.36" in one.specifier for one in needed if one.name == "sqlalchemy")


@pytest.mark.checklist("I115")
async def test_separate_connections_are_not_exhausted_by_others(tmp_path: Path) -> None:
    """Logins do not wait for sockets with tickets."""
    database = Database(tmp_path / "db.sqlite3")
    apart = database.separate(1, max_waiting=1)
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def hold(_: AsyncConnection) -> None:
        begun.set()
        await go_on.wait()

    holding = asyncio.create_task(apart.run(hold))
    await begun.wait()
    waiting = asyncio.create_task(apart.rows(text("SELECT 1")))
    await asyncio.sleep(0)
    with pytest.raises(Unavailable):
        await apart.rows(text("SELECT 1"))
    assert await database.rows(text("SELECT 1")) == [(1,)]
    go_on.set()
    await asyncio.gather(holding, waiting)
    await database.close()
