"""The database behind the SQL stores: SQLite in a file or in memory, or PostgreSQL (internal)."""

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
"""Seconds that SQLite waits for another writer, and that PostgreSQL has for each request."""

UPGRADE_PATIENCE = 60.0
"""Seconds that PostgreSQL has to bring the tables up to date, such as for an index on a large table."""

DELETED_AT_ONCE = 1000
CONNECTIONS = 5
MAX_WAITING = 500
"""Requests that wait for a connection; the next one fails immediately."""

# Without a lock, two processes that start together would both create the tables, and one would fail.
LOCK_SCHEMA = {"sqlite": "BEGIN IMMEDIATE", "postgresql": "SELECT pg_advisory_xact_lock(7519)"}

_Result = TypeVar("_Result")


Where: TypeAlias = "Path | str | Database | None"
"""A SQLite file, a PostgreSQL URL, None for memory, or a database that several stores share."""


class Base(DeclarativeBase):
    """The base class of the tables, which the migrations create."""


class Database:
    """A database that several stores can share. It opens on first use.

    Args:
        where: a SQLite file, which :meth:`open` creates with mode 0600; a ``postgresql://user@host/name`` URL as libpq
            reads it, with ``PGPASSFILE`` and the other variables; None for a database in memory, with one connection.
        connections: the greatest number of connections.
        max_waiting: the greatest number of requests that wait for a connection.

    Raises:
        ConfigError: the URL is not a PostgreSQL URL, or asyncpg is not installed.
    """

    def __init__(
        self,
        where: Path | str | None = None,
        *,
        connections: int = CONNECTIONS,
        max_waiting: int = MAX_WAITING,
    ) -> None:
        self._url = where if isinstance(where, str) and "://" in where else None
        self._path = None if where is None or self._url is not None else Path(where)
        self._connections = connections if where is not None else 1
        self._free = asyncio.Semaphore(self._connections)
        self._waiting, self._max_waiting = 0, max_waiting
        self._running: set[asyncio.Task[Any]] = set()
        self._opening = asyncio.Lock()
        self._opened = self._closed = False
        self._separate: list[Database] = []
        self._opener = self  # brings the tables up to date
        self._engine = self._new_engine()
        # A single statement is a transaction. Without BEGIN and COMMIT around it, a process that freezes between them
        # holds no locks.
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
        """Return a database as it is, and a new one for a file, a URL or None."""
        return where if isinstance(where, Database) else cls(where)

    def separate(self, connections: int, max_waiting: int = MAX_WAITING) -> Database:
        """Return the same database with separate connections, which other requests cannot exhaust.

        A database in memory has only one connection, so it returns itself.

        Args:
            connections: the greatest number of connections.
            max_waiting: the greatest number of requests that wait for a connection.
        """
        where = self._url or self._path
        if where is None:
            return self
        made = Database(where, connections=connections, max_waiting=max_waiting)
        made._opener = self
        self._separate.append(made)
        return made

    async def open(self) -> None:
        """Create a missing file, and bring the tables up to date. The first request also opens the database.

        Raises:
            ConfigError: the file cannot be created, or is not a SQLite database.
            Unavailable: PostgreSQL does not respond, or refuses the connection.
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
        """Finish running transactions, as far as the database responds, and close the connections."""
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
        return None if self._url is None else PATIENCE  # SQLite bounds its own waiting, which cannot be interrupted

    async def rows(self, query: Executable) -> Sequence[Any]:
        """Return the rows that a SELECT finds, as SQLAlchemy rows.

        Raises:
            Unavailable: as for :meth:`run`.
        """

        async def fetch(connection: AsyncConnection) -> Sequence[Any]:
            return (await connection.execute(query)).all()

        return await self._do(self._single, fetch)

    async def change(self, statement: Executable) -> int:
        """Execute one INSERT, UPDATE or DELETE in a transaction.

        Returns:
            The number of changed rows.

        Raises:
            IntegrityError: as for :meth:`run`.
            Unavailable: as for :meth:`run`.
        """

        async def execute(connection: AsyncConnection) -> int:
            return (await connection.execute(statement)).rowcount

        return await self._do(self._single, execute)

    async def run(self, work: Callable[[AsyncConnection], Awaitable[_Result]]) -> _Result:
        """Run work in one transaction, which is committed when this returns.

        If the caller is cancelled before the work has a connection, nothing happens. After that the work is completed.

        Args:
            work: receives the connection.

        Returns:
            The result of ``work``.

        Raises:
            IntegrityError: a unique value already exists.
            Unavailable: the database failed, did not respond in time, or is overloaded. The transaction may or may not
                be committed. The text contains the kind of failure, and no address.
        """
        return await self._do(self._engine, work)

    async def repeat(self, work: Callable[[AsyncConnection], Awaitable[int]]) -> None:
        """Run work again and again, each time in a new transaction, until nothing is left or the database is closed.

        It pauses after each transaction for as long as the transaction took, so that others can use the database.

        Args:
            work: returns 0 if nothing was left to do.

        Raises:
            Unavailable: as for :meth:`run`. Earlier transactions remain committed.
        """
        more = True
        while more and not self._closed:
            started = time.monotonic()
            more = await self.run(work) > 0
            await asyncio.sleep(time.monotonic() - started)

    async def delete_where(self, key: InstrumentedAttribute[Any], expired: ColumnElement[bool]) -> None:
        """Delete rows of a table, a thousand at a time.

        Args:
            key: the primary key of the table.
            expired: the condition for the rows.

        Raises:
            Unavailable: as for :meth:`repeat`.
        """
        some = delete(key.class_).where(key.in_(select(key).where(expired).limit(DELETED_AT_ONCE)))

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
        """Wait for a free connection in the caller's task, so that cancelling the caller also cancels the request.

        Returns:
            The seconds that it waited.

        Raises:
            Unavailable: too many requests wait already, or it takes too long.
        """
        if self._waiting >= self._max_waiting:
            raise Unavailable("too many requests wait for the database")
        self._waiting += 1
        started = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(PATIENCE):
                await self._free.acquire()
        except TimeoutError:
            raise Unavailable(f"the database did not respond within {PATIENCE:g} s") from None
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
        # asyncio.timeout would wait until the cancelled work ends, and a driver first tries to talk to the server that
        # does not respond.
        task = asyncio.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._finished)
        if then is not None:
            task.add_done_callback(lambda _: then())
        if not await finishes_within(task, patience):
            task.cancel()
            raise Unavailable(f"the database did not respond within {self._patience or patience:g} s")
        return task.result()

    def _finished(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        if not task.cancelled():
            task.exception()  # marks it as retrieved: perhaps nothing waits for the task


class SqlStore:
    """The base class of the SQL stores.

    Args:
        where: a file, a URL, None for a database in memory, or a :class:`Database` that several stores share.
    """

    def __init__(self, where: Where = None) -> None:
        self._database = Database.at(where)

    async def open(self) -> None:
        """Create a missing file, and bring the tables up to date. It may be called again.

        Raises:
            ConfigError: the file cannot be created, or is not a SQLite database.
            Unavailable: PostgreSQL does not respond.
        """
        await self._database.open()

    async def close(self) -> None:
        """Close the connections."""
        await self._database.close()


async def _migrate(connection: AsyncConnection) -> None:
    await connection.exec_driver_sql(LOCK_SCHEMA[connection.dialect.name])
    await connection.run_sync(upgrade)


def _make_private(path: Path) -> None:
    # SQLite gives its -wal and -shm files the mode of the database, which contains password hashes. An existing file is
    # not opened: closing it would release the locks of every connection that this process has to it (POSIX, fcntl), and
    # the next process to exit would delete the -wal file that those connections use.
    try:
        # Resolve symbolic links first: O_EXCL does not follow them.
        os.close(os.open(os.path.realpath(path), os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    except FileExistsError:
        pass
    except OSError as error:
        raise ConfigError(f"cannot open the database {path}: {error.strerror}") from None


def _kind(error: BaseException) -> str:
    """Return SQLite's message, else the name of the error, because its text may contain addresses and rows."""
    while cause := getattr(error, "orig", None) or error.__cause__:
        error = cause
    return str(error) if isinstance(error, sqlite3.Error) else type(error).__name__
