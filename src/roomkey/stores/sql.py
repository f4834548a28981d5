"""What everything kept in SQL shares: SQLite in a file or in memory, or PostgreSQL, and what becomes of a failure."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from roomkey.extras import needs

with needs("sql", "roomkey.stores.sql"):
    from sqlalchemy import ColumnElement, Executable, delete, select
    from sqlalchemy.exc import IntegrityError, SQLAlchemyError
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
    from sqlalchemy.orm import DeclarativeBase, InstrumentedAttribute

from roomkey.errors import ConfigError, Unavailable
from roomkey.stores.migrations import upgrade
from roomkey.stores.patience import finishes_within
from roomkey.stores.sql_engines import postgresql_engine, sqlite_engine

__all__ = ["Base", "Database", "SqlStore", "Where"]

PATIENCE = 5.0
"""Seconds that SQLite waits for another writer, and that PostgreSQL has for everything it is asked."""

UPGRADE_PATIENCE = 60.0
"""Seconds that PostgreSQL has to bring the tables up to date, such as for an index on a large table."""

FORGOTTEN_AT_ONCE = 1000
CONNECTIONS = 5
MOST_WAITING = 500
"""Requests that wait for a connection; the next one fails immediately."""

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
        connections: how many at most.
        most_waiting: how many requests may wait for one of them.

    Raises:
        ConfigError: a URL of something else, or asyncpg is not installed.
    """

    def __init__(
        self,
        where: Path | str | None = None,
        *,
        connections: int = CONNECTIONS,
        most_waiting: int = MOST_WAITING,
    ) -> None:
        self._url = where if isinstance(where, str) and "://" in where else None
        self._path = None if where is None or self._url is not None else Path(where)
        self._connections = connections if where is not None else 1
        self._free = asyncio.Semaphore(self._connections)
        self._waiting, self._most_waiting = 0, most_waiting
        self._running: set[asyncio.Task[Any]] = set()
        self._opening = asyncio.Lock()
        self._opened = self._closed = False
        self._separate: list[Database] = []
        self._opener = self  # whose part it is to bring the tables up to date
        self._engine = self._new_engine()
        # One statement is a transaction by itself. Without BEGIN and COMMIT around it, a process that freezes
        # in between holds no locks.
        self._single = self._engine.execution_options(isolation_level="AUTOCOMMIT")

    @property
    def is_postgresql(self) -> bool:
        """True for PostgreSQL, False for SQLite."""
        return self._url is not None

    def _new_engine(self) -> AsyncEngine:
        if self._url is None:
            return sqlite_engine(self._path, self._connections, PATIENCE)
        return postgresql_engine(self._url, self._connections, PATIENCE, PATIENCE)

    @classmethod
    def at(cls, where: Where) -> Database:
        """The database that is meant: one that several share, or a new one."""
        return where if isinstance(where, Database) else cls(where)

    def separate(self, connections: int, most_waiting: int = MOST_WAITING) -> Database:
        """Return the same database with connections of its own, which nothing else can use up.

        In memory there is only one connection, so it is this database itself.

        Args:
            connections: how many at most.
            most_waiting: how many requests may wait for one of them.
        """
        where = self._url or self._path
        if where is None:
            return self
        made = Database(where, connections=connections, most_waiting=most_waiting)
        made._opener = self
        self._separate.append(made)
        return made

    async def open(self) -> None:
        """Make the file where it is missing, and bring the tables up to date. What is first of all asked does it, too.

        Raises:
            ConfigError: the file cannot be made, or is no SQLite database.
            Unavailable: PostgreSQL is out of reach, or refuses.
        """
        async with self._opening:
            if self._opened:
                return
            if self._opener is not self:
                await self._opener.open()
                self._opened = True
                return
            if self._path is not None:
                _make_private(self._path)
            try:
                await self._upgrade()
            except Unavailable as error:
                if self._path is None:
                    raise
                raise ConfigError(f"cannot use the database {self._path}: {error}") from None
            self._opened = True

    async def _upgrade(self) -> None:
        if self._url is None:
            await self._bounded(self._transaction(self._engine, _migrate), None)
            return
        engine = postgresql_engine(self._url, 1, PATIENCE, UPGRADE_PATIENCE)
        try:
            await self._bounded(self._transaction(engine, _migrate), UPGRADE_PATIENCE)
        finally:
            await self._dispose(engine)

    async def close(self) -> None:
        """Finish what is under way and close the connections, as far as the other side takes part in it."""
        self._closed = True
        await asyncio.gather(*(one.close() for one in self._separate))
        if self._running:
            await asyncio.wait(self._running, timeout=PATIENCE / 5)
        await self._dispose(self._engine)

    async def _dispose(self, engine: AsyncEngine) -> None:
        with contextlib.suppress(Unavailable, SQLAlchemyError, OSError):
            await self._bounded(engine.dispose(), self._patience)

    @property
    def _patience(self) -> float | None:
        return None if self._url is None else PATIENCE  # SQLite's own waiting is bounded, and cannot be broken off

    async def rows(self, query: Executable) -> Sequence[Any]:
        """What a SELECT finds, as rows of SQLAlchemy.

        Raises:
            Unavailable: as for :meth:`run`.
        """

        async def fetch(connection: AsyncConnection) -> Sequence[Any]:
            return (await connection.execute(query)).all()

        return await self._do(self._single, fetch)

    async def change(self, statement: Executable) -> int:
        """Carry out one INSERT, UPDATE or DELETE, as :meth:`run` does.

        Returns:
            How many rows it changed.

        Raises:
            IntegrityError: as for :meth:`run`.
            Unavailable: as for :meth:`run`.
        """

        async def execute(connection: AsyncConnection) -> int:
            return (await connection.execute(statement)).rowcount

        return await self._do(self._single, execute)

    async def run(self, work: Callable[[AsyncConnection], Awaitable[_Result]]) -> _Result:
        """Work in one transaction, which is kept for good when this returns.

        If the caller stops waiting before the work has a connection, nothing is done. After that it is carried through.

        Args:
            work: gets the connection.

        Returns:
            What ``work`` returned.

        Raises:
            IntegrityError: what is to be unique is there already.
            Unavailable: the database failed, gave no answer in time, or has too much to do; nothing is certain. The
                text has the kind of failure and no address.
        """
        return await self._do(self._engine, work)

    async def repeat(self, work: Callable[[AsyncConnection], Awaitable[int]]) -> None:
        """Do a little at a time, each in its own transaction, until there is nothing left or the database is closed.

        In between, others get as much time as the last transaction took.

        Args:
            work: returns 0 if there was nothing left to do.

        Raises:
            Unavailable: as for :meth:`run`. What was done stays done.
        """
        more = True
        while more and not self._closed:
            started = time.monotonic()
            more = await self.run(work) > 0
            await asyncio.sleep(time.monotonic() - started)

    async def forget(self, key: InstrumentedAttribute[Any], expired: ColumnElement[bool]) -> None:
        """Drop the rows of a table that have expired, a thousand at a time.

        Args:
            key: the table's primary key.
            expired: which rows.

        Raises:
            Unavailable: as for :meth:`repeat`.
        """
        some = delete(key.class_).where(key.in_(select(key).where(expired).limit(FORGOTTEN_AT_ONCE)))

        async def work(connection: AsyncConnection) -> int:
            return (await connection.execute(some)).rowcount

        await self.repeat(work)

    async def _do(self, engine: AsyncEngine, work: Callable[[AsyncConnection], Awaitable[_Result]]) -> _Result:
        if not self._opened:
            await self.open()
        waited = await self._get_connection()
        patience = None if self._patience is None else max(self._patience - waited, self._patience / 8)
        return await self._bounded(self._transaction(engine, work), patience, self._free.release)

    async def _get_connection(self) -> float:
        """Wait for a free connection, in the caller's own task: a client that leaves takes its request along.

        Returns:
            Seconds that it took.

        Raises:
            Unavailable: too many wait already, or it takes too long.
        """
        if self._waiting >= self._most_waiting:
            raise Unavailable("too many requests wait for the database")
        self._waiting += 1
        started = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(PATIENCE):
                await self._free.acquire()
        except TimeoutError:
            raise Unavailable(f"the database gave no answer within {PATIENCE:g} s") from None
        finally:
            self._waiting -= 1
        return asyncio.get_running_loop().time() - started

    @staticmethod
    async def _transaction(engine: AsyncEngine, work: Callable[[AsyncConnection], Awaitable[_Result]]) -> _Result:
        try:
            async with engine.begin() as connection:
                return await work(connection)
        except IntegrityError:
            raise
        except (SQLAlchemyError, OSError) as error:
            raise Unavailable(f"the database failed: {_kind(error)}") from None

    async def _bounded(
        self, work: Coroutine[Any, Any, _Result], patience: float | None, then: Callable[[], None] | None = None
    ) -> _Result:
        # Not asyncio.timeout: that waits until the work has heeded its cancellation, and a driver first wants a word
        # with the server that does not answer.
        task = asyncio.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._forget)
        if then is not None:
            task.add_done_callback(lambda _: then())
        if not await finishes_within(task, patience):
            task.cancel()
            raise Unavailable(f"the database gave no answer within {self._patience or patience:g} s")
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


def _kind(error: BaseException) -> str:
    """What failed: SQLite's own few words, else the name of the error, because its text may hold addresses and rows."""
    while cause := getattr(error, "orig", None) or error.__cause__:
        error = cause
    return str(error) if isinstance(error, sqlite3.Error) else type(error).__name__
