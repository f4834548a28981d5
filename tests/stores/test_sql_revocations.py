"""What only the SQL store of revocations does, in SQLite and PostgreSQL: it survives a process and reaches others."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from stores.backends import Place

from roomkey.core.revocations import Revocation
from roomkey.errors import ConfigError, Unavailable
from roomkey.stores import SqlRevocations, sql, sql_revocations

ADA = Revocation("subject", "ada", "roomkey", 1_700_000_000.25, 1_700_000_900.5)
TOKEN = Revocation("token", "jti-1")


def named(number: int) -> Revocation:
    return Revocation("token", f"token{number}")


@pytest.fixture
async def place(where: Path | str) -> AsyncIterator[Place]:
    made = Place(lambda: SqlRevocations(where), str(where))
    yield made
    await made.close()


on_postgresql = pytest.mark.parametrize("where", ["postgresql"], indirect=True)


async def test_long_journal_is_read_in_batches(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sql_revocations, "BATCH", 3)
    store = await place.open()
    for length in range(1, 8):
        await store.add(named(length))
        found: list[Revocation] = []
        position, more = 0, True
        while more:
            part, position = await store.since(position)
            assert len(part) <= 3
            found, more = [*found, *part], bool(part)
        assert [entry.name for entry in found] == [f"token{number}" for number in range(1, length + 1)]


@pytest.mark.parametrize("name", ["nul\x00", "half\ud800"])
async def test_name_that_databases_cannot_store_is_rejected(place: Place, name: str) -> None:
    store = await place.open()
    with pytest.raises(ConfigError, match="databases cannot store it"):
        await store.add(Revocation("subject", name))


async def test_many_stores_can_open_a_new_database_at_once(place: Place) -> None:
    await asyncio.gather(*(place.open() for _ in range(8)))


KEEP = """
import asyncio, sys
from roomkey.core.revocations import Revocation
from roomkey.stores import SqlRevocations


async def keep():
    store = SqlRevocations(sys.argv[1])
    await store.open()
    await store.add(Revocation("subject", "ada", "roomkey", 5.0))
    print("kept", flush=True)
    await asyncio.sleep(60)


asyncio.run(keep())
"""


async def test_stored_revocation_survives_a_kill(place: Place) -> None:
    with subprocess.Popen([sys.executable, "-c", KEEP, place.where], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert await asyncio.to_thread(child.stdout.readline) == "kept\n"
        child.send_signal(signal.SIGKILL)
        assert await asyncio.to_thread(child.wait) == -signal.SIGKILL
    store = await place.open()
    assert list((await store.since(0))[0]) == [Revocation("subject", "ada", "roomkey", 5.0)]


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait one second instead of five, to save time."""
    assert sql.PATIENCE == 5.0, "what docs/serve.md says"
    monkeypatch.setattr(sql, "PATIENCE", 1.0)


async def refused_in_time(work: Any) -> str:
    started = time.monotonic()
    with pytest.raises(Unavailable) as refused:
        await work
    assert time.monotonic() - started < 20
    return str(refused.value)


@on_postgresql
async def test_database_that_is_down_and_comes_back(place: Place, postgres: Any) -> None:
    store = await place.open()
    await store.add(ADA)
    postgres.stop()
    try:
        said = [await refused_in_time(store.since(0)), await refused_in_time(store.add(TOKEN))]
        said.append(await refused_in_time(SqlRevocations(place.where).open()))
    finally:
        postgres.start()
    assert all(text.startswith("the database failed: ") and "/" not in text for text in said), said
    await store.add(TOKEN)
    assert list((await store.since(0))[0]) == [ADA, TOKEN]


@on_postgresql
async def test_database_restart_between_two_calls_is_not_noticed(place: Place, postgres: Any) -> None:
    store = await place.open()
    await store.add(ADA)
    postgres.stop()
    postgres.start()
    assert list((await store.since(0))[0]) == [ADA]


@on_postgresql
async def test_database_that_hangs_and_wakes_up(impatient: None, place: Place, postgres: Any) -> None:
    store, fresh = await place.open(), SqlRevocations(place.where)
    await store.add(ADA)
    postgres.hold()
    try:
        works = [fresh.open(), store.delete_expired(0.0), *(store.since(0) for _ in range(8))]
        said = await asyncio.gather(*map(refused_in_time, works))
        again = await refused_in_time(store.since(0))
        started = time.monotonic()
        await fresh.close()
        assert time.monotonic() - started < 20
    finally:
        postgres.release()
    assert {*said, again} <= {"the database did not respond within 1 s", "the database failed: TimeoutError"}
    await store.add(TOKEN)
    assert list((await store.since(0))[0]) == [ADA, TOKEN]


@on_postgresql
async def test_error_names_its_kind_and_no_address(place: Place, postgres: Any) -> None:
    for where in (place.where.replace("/test", "/absent"), "postgresql://u:hunter2@127.0.0.1:1/db"):
        said = await refused_in_time(SqlRevocations(where).open())
        assert said in ("the database failed: InvalidCatalogNameError", "the database failed: ConnectionRefusedError")


async def test_file_locked_by_another_process_is_unavailable(impatient: None, tmp_path: Path) -> None:
    store = SqlRevocations(tmp_path / "a.sqlite3")
    await store.open()
    with sqlite3.connect(tmp_path / "a.sqlite3") as other:
        other.execute("BEGIN IMMEDIATE")
        assert await refused_in_time(store.add(ADA)) == "the database failed: database is locked"
    await store.add(ADA)
    assert list((await store.since(0))[0]) == [ADA]
    await store.close()


@pytest.mark.parametrize("where", ["mysql://u:hunter2@h/db", "sqlite:///a", "postgresql+asyncpg://h/db"])
def test_other_database_url_is_rejected(where: str) -> None:
    with pytest.raises(ConfigError, match=r"^invalid database; use a file path or a postgresql:// URL$"):
        SqlRevocations(where)


# Several processes

FREEZE = """
import asyncio, os, signal, sys
from sqlalchemy import event
from sqlalchemy.engine import Engine
from roomkey.core.revocations import Revocation
from roomkey.stores import SqlRevocations


@event.listens_for(Engine, "after_cursor_execute")
def freeze(connection, cursor, statement, *_):
    if "INTO revocations" in statement:
        print("frozen", flush=True)
        os.kill(os.getpid(), signal.SIGSTOP)


asyncio.run(SqlRevocations(sys.argv[1]).add(Revocation("subject", "ada")))
"""


@pytest.mark.checklist("I125")
async def test_process_that_freezes_while_it_revokes_blocks_nobody(impatient: None, place: Place) -> None:
    """The lock ends with the writing statement, not with the process."""
    store = await place.open()
    with subprocess.Popen([sys.executable, "-c", FREEZE, place.where], stdout=subprocess.PIPE, text=True) as child:
        try:
            assert child.stdout is not None
            assert await asyncio.to_thread(child.stdout.readline) == "frozen\n"
            await store.add(TOKEN)
            assert [entry.name for entry in (await store.since(0))[0]] == ["ada", "jti-1"]
        finally:
            child.kill()


@pytest.mark.checklist("I125")
@on_postgresql
async def test_vacuum_and_analyze_and_the_journal_do_not_wait_for_each_other(impatient: None, place: Place) -> None:
    """They hold this lock while they run."""
    store = await place.open()
    other = await asyncpg.connect(place.where)
    try:
        async with other.transaction():
            await other.execute("LOCK TABLE revocations IN SHARE UPDATE EXCLUSIVE MODE")
            await store.add(TOKEN)
    finally:
        await other.close()


@pytest.mark.checklist("I125")
async def test_reader_does_not_wait_for_writers(place: Place) -> None:
    """It has its own connection, so that a locked table does not affect new sockets."""
    store = await place.open()
    async with locked(place):
        adding = [asyncio.create_task(store.add(named(number))) for number in range(10)]
        await asyncio.wait(adding, timeout=0.1)
        assert (await store.since(0))[0] == []
        assert not [task for task in adding if task.done()]  # none of them has made room, or given up
    await asyncio.wait(adding)
    assert [task.exception() for task in adding] == [None] * 10


@asynccontextmanager
async def locked(place: Place) -> AsyncIterator[None]:
    """The journal can be read but not written."""
    if "://" not in place.where:
        with sqlite3.connect(place.where) as other:
            other.execute("BEGIN IMMEDIATE")
            yield
        return
    other = await asyncpg.connect(place.where)
    async with other.transaction():
        await other.execute("LOCK TABLE revocations IN SHARE MODE")
        yield
    await other.close()


@pytest.mark.checklist("I127")
@on_postgresql
async def test_acknowledged_write_survives_a_kill_of_the_database(place: Place, postgres: Any) -> None:
    """With ``synchronous_commit=off``, a crash would lose the last half second."""
    name = place.where.partition("@/")[2].partition("?")[0]
    other = await asyncpg.connect(place.where)
    await other.execute(f"ALTER DATABASE {name} SET synchronous_commit = off")
    await other.close()
    store = await place.open()
    await store.add(ADA)
    postgres.stop()
    postgres.start()
    assert list((await store.since(0))[0]) == [ADA]
