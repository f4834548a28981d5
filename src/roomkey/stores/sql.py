"""What everything kept in SQL shares: SQLite in a file or in memory, or PostgreSQL, and what becomes of a failure."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from sqlalchemy import URL, Executable, event
from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.pool import AsyncAdaptedQueuePool

from roomkey.errors import ConfigError, Unavailable
from roomkey.stores.migrations import upgrade

__all__ = ["Base", "Database", "SqlStore", "Where"]

PATIENCE = 5.0
"""Seconds that SQLite waits for another writer, and that PostgreSQL has for everything it is asked."""

POSTGRESQL = ("postgresql://", "postgres://")
POOL = {"pool_size": 5, "max_overflow": 0}

# Two processes that start together would both make the tables, and one would fail.
LOCK_SCHEMA = {"sqlite": "BEGIN IMMEDIATE", "postgresql": "SELECT pg_advisory_xact_lock(7519)"}

_Result = TypeVar("_Result")


Where: TypeAlias = "Path | str | Database | None"
"""Where tables are kept: a file, a URL, in memory, or a database that several share."""


class Base(DeclarativeBase):
    """The tables, as the migrations make them."""


class Database:
    """Where tables are kept.

    Args:
        where: a SQLite file, made with mode 0600 by :meth:`open`; a ``postgresql://user@host/name`` URL as libpq reads
            it, with ``PGPASSFILE`` and the other variables; None keeps everything in memory, on one connection.

    Raises:
        ConfigError: a URL of something else, or asyncpg is not installed.
    """

    def __init__(self, where: Path | str | None = None) -> None:
        url = where if isinstance(where, str) and "://" in where else None
        self._path = None if where is None or url is not None else Path(where)
        self._patience = PATIENCE if url is not None else None
        self._running: set[asyncio.Task[Any]] = set()
        self._opening = asyncio.Lock()
        self._opened = False
        self._engine = _sqlite(self._path) if url is None else _postgresql(url)

    @classmethod
    def at(cls, where: Where) -> Database:
        """The database that is meant: one that several share, or a new one."""
        return where if isinstance(where, Database) else cls(where)

    async def open(self) -> None:
        """Make the file where it is missing, and bring the tables up to date. What is first of all asked does it, too.

        Raises:
            ConfigError: the file cannot be made, or is no SQLite database.
            Unavailable: PostgreSQL is out of reach, or refuses.
        """
        async with self._opening:
            if self._opened:
                return
            if self._path is not None:
                _make_private(self._path)
            try:
                await self._bounded(self._transaction(_migrate))
            except Unavailable as error:
                if self._path is None:
                    raise
                raise ConfigError(f"cannot use the database {self._path}: {error}") from None
            self._opened = True

    async def close(self) -> None:
        """Close the connections, as far as the other side takes part in it."""
        with contextlib.suppress(Unavailable, SQLAlchemyError, OSError):
            await self._bounded(self._engine.dispose())

    async def rows(self, query: Executable) -> Sequence[Any]:
        """What a SELECT finds, as rows of SQLAlchemy.

        Raises:
            Unavailable: as for :meth:`run`.
        """

        async def fetch(connection: AsyncConnection) -> Sequence[Any]:
            return (await connection.execute(query)).all()

        return await self.run(fetch)

    async def change(self, statement: Executable) -> int:
        """Carry out an INSERT, UPDATE or DELETE.

        Returns:
            How many rows it changed.

        Raises:
            IntegrityError: as for :meth:`run`.
            Unavailable: as for :meth:`run`.
        """

        async def execute(connection: AsyncConnection) -> int:
            return (await connection.execute(statement)).rowcount

        return await self.run(execute)

    async def run(self, work: Callable[[AsyncConnection], Awaitable[_Result]]) -> _Result:
        """Work in one transaction, which is kept for good when this returns.

        It is carried through even if the caller stops waiting for it.

        Args:
            work: gets the connection.

        Returns:
            What ``work`` returned.

        Raises:
            IntegrityError: what is to be unique is there already.
            Unavailable: the database failed, or gave no answer in time; nothing is certain. The text has the kind of
                failure and no address.
        """
        if not self._opened:
            await self.open()
        return await self._bounded(self._transaction(work))

    async def _transaction(self, work: Callable[[AsyncConnection], Awaitable[_Result]]) -> _Result:
        try:
            async with self._engine.begin() as connection:
                return await work(connection)
        except IntegrityError:
            raise
        except (SQLAlchemyError, OSError) as error:
            raise Unavailable(f"the database failed: {_kind(error)}") from None

    async def _bounded(self, work: Coroutine[Any, Any, _Result]) -> _Result:
        # Not asyncio.timeout: that waits until the work has heeded its cancellation, and a driver first wants a word
        # with the server that does not answer.
        task = asyncio.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._forget)
        await asyncio.wait({task}, timeout=self._patience)
        if not task.done():
            task.cancel()
            raise Unavailable(f"the database gave no answer within {PATIENCE:g} s")
        return task.result()

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        if not task.cancelled():
            task.exception()  # marks it as seen: nobody may be waiting for it any more


class SqlStore:
    """What every store in SQL can do.

    Args:
        where: a file, a URL, None for in memory, or a :class:`Database` that several share.
    """

    def __init__(self, where: Where = None) -> None:
        self._database = Database.at(where)

    async def open(self) -> None:
        """Make the file where it is missing, and bring the tables up to date. Once more does no harm.

        Raises:
            ConfigError: the file cannot be made, or is no SQLite database.
            Unavailable: PostgreSQL is out of reach.
        """
        await self._database.open()

    async def close(self) -> None:
        """Close the connections."""
        await self._database.close()


def _sqlite(path: Path | None) -> AsyncEngine:
    # In memory there is one connection, taken in turns: what two share, one would commit for the other.
    pool = POOL if path is not None else {"pool_size": 1, "max_overflow": 0, "poolclass": AsyncAdaptedQueuePool}
    database = None if path is None else str(path)
    engine = create_async_engine(URL.create("sqlite+aiosqlite", database=database), **pool)
    event.listen(engine.sync_engine, "connect", _prepare_connection)
    return engine


def _postgresql(url: str) -> AsyncEngine:
    if not url.startswith(POSTGRESQL):
        raise ConfigError("a database is a file or a postgresql:// URL")
    try:
        import asyncpg
    except ModuleNotFoundError:
        raise ConfigError("asyncpg is missing: pip install 'roomkey[postgresql]'") from None

    async def connect() -> Any:
        # asyncpg reads the URL as libpq does, and SQLAlchemy has none that it could show.
        return await asyncpg.connect(url, timeout=PATIENCE, command_timeout=PATIENCE)

    return create_async_engine(
        "postgresql+asyncpg://", async_creator=connect, pool_pre_ping=True, pool_timeout=PATIENCE, **POOL
    )


async def _migrate(connection: AsyncConnection) -> None:
    await connection.exec_driver_sql(LOCK_SCHEMA[connection.dialect.name])
    await connection.run_sync(upgrade)


def _make_private(path: Path) -> None:
    # SQLite gives its -wal and -shm files the mode of the database, which holds password hashes. One that is there is
    # not opened: closing it would drop the locks of every connection that this process has to it (POSIX, fcntl), and
    # the next process to leave would take the -wal file away from under them.
    try:
        # Where a link leads to: O_EXCL follows none.
        os.close(os.open(os.path.realpath(path), os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    except FileExistsError:
        pass
    except OSError as error:
        raise ConfigError(f"cannot open the database {path}: {error.strerror}") from None


def _prepare_connection(connection: Any, _record: object) -> None:
    # WAL: the server reads while `roomkey user add` writes. FULL: what was answered survives a loss of power.
    cursor = connection.cursor()
    for pragma in (f"busy_timeout={PATIENCE * 1000:.0f}", "journal_mode=WAL", "synchronous=FULL"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _kind(error: BaseException) -> str:
    """What failed: SQLite's own few words, else the name of the error, because its text may hold addresses and rows."""
    while cause := getattr(error, "orig", None) or error.__cause__:
        error = cause
    return str(error) if isinstance(error, sqlite3.Error) else type(error).__name__
