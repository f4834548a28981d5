"""Connections to SQLite and PostgreSQL that commit durably and never wait forever (internal)."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from pathlib import Path
from typing import Any

from roomkey.extras import needs

with needs("sql", "roomkey.stores.sql_engines"):
    import aiosqlite  # noqa: F401 - SQLAlchemy loads it later
    from sqlalchemy import URL, event
    from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
    from sqlalchemy.pool import AsyncAdaptedQueuePool
    from sqlalchemy.util import await_only

from roomkey.errors import ConfigError, Unavailable

__all__ = ["postgresql_engine", "sqlite_engine"]

POSTGRESQL = ("postgresql://", "postgres://")

SWITCH_AGAIN = 0.01
"""Seconds until a connection again tries to switch a SQLite file to WAL."""

# A setting of the role or the database must not lose committed data: with `off`, a crash loses the last half second.
# `local` is allowed, because it survives a crash of this server. If a process freezes in a transaction, the transaction
# is cancelled before those that wait for its locks time out.
PREPARE_SESSION = """
SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off';
SET lock_timeout = {lock:.0f};
SET idle_in_transaction_session_timeout = {idle:.0f};
"""


def sqlite_engine(path: Path | None, connections: int, patience: float) -> AsyncEngine:
    """Return an engine for a file, or for a database in memory.

    Args:
        path: the file; None for memory.
        connections: the greatest number of connections.
        patience: seconds to wait for another writer.
    """
    # In memory there is one connection, used in turns: sharing it, one task would commit for another.
    pool = {"pool_size": connections, "max_overflow": 0, "poolclass": AsyncAdaptedQueuePool}
    database = None if path is None else str(path)
    engine = create_async_engine(URL.create("sqlite+aiosqlite", database=database), **pool)

    def prepare(connection: Any, _record: object) -> None:
        # WAL: the server can read while `roomkey user add` writes. FULL: commits survive power loss.
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout={patience * 1000:.0f}")
        _switch_to_wal(cursor, patience)
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.close()

    event.listen(engine.sync_engine, "connect", prepare)
    return engine


def _switch_to_wal(cursor: Any, patience: float) -> None:
    # If several connections switch a new file at the same time, SQLite does not wait: each holds a lock that another
    # one needs, so all but one fail immediately, whatever busy_timeout says.
    deadline = time.monotonic() + patience
    while True:
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() >= deadline:
                raise
            await_only(asyncio.sleep(SWITCH_AGAIN))
        else:
            return


def postgresql_engine(url: str, connections: int, to_connect: float, to_answer: float) -> AsyncEngine:
    """Return an engine for a ``postgresql://`` URL.

    Args:
        url: as libpq reads it.
        connections: the greatest number of connections.
        to_connect: seconds in which a new connection must open.
        to_answer: seconds in which a command must finish.

    Raises:
        ConfigError: the URL is not a PostgreSQL URL, or asyncpg is not installed.
    """
    if not url.startswith(POSTGRESQL):
        raise ConfigError("invalid database; use a file path or a postgresql:// URL")
    try:
        import asyncpg
    except ModuleNotFoundError:
        raise ConfigError("asyncpg is not installed; run: pip install 'roomkey[postgresql]'") from None
    # In milliseconds. If a process freezes while it holds a lock, others get the lock before they time out.
    prepare = PREPARE_SESSION.format(lock=to_answer * 800, idle=to_answer * 600)

    async def connect() -> Any:
        # asyncpg reads the URL as libpq does, and SQLAlchemy has no URL that it could log. Errors are translated here,
        # because SQLAlchemy 2.0 would let asyncpg's own errors through.
        try:
            connection = await asyncpg.connect(url, timeout=to_connect, command_timeout=to_answer)
            try:
                await connection.execute(prepare)
            except BaseException:
                connection.terminate()
                raise
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
            raise Unavailable(f"the database failed: {type(error).__name__}") from None
        return connection

    pool = {"pool_size": connections, "max_overflow": 0, "pool_timeout": to_connect}
    return create_async_engine("postgresql+asyncpg://", async_creator=connect, pool_pre_ping=True, **pool)
