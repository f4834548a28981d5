"""Connections to SQLite and PostgreSQL, set up so that what was answered is kept and nothing is waited for forever."""

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

# What a role or a database has set must not lose what was answered: with `off`, a crash loses the last half second.
# `local` stays, because it survives a crash of this server. A process that freezes in a transaction loses it before
# those that wait for its locks give up.
PREPARE_SESSION = """
SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off';
SET lock_timeout = {lock:.0f};
SET idle_in_transaction_session_timeout = {idle:.0f};
"""


def sqlite_engine(path: Path | None, connections: int, patience: float) -> AsyncEngine:
    """Return an engine for a file, or for a database in memory.

    Args:
        path: the file; None for in memory.
        connections: how many at most.
        patience: seconds to wait for another writer.
    """
    # In memory there is one connection, taken in turns: what two share, one would commit for the other.
    pool = {"pool_size": connections, "max_overflow": 0, "poolclass": AsyncAdaptedQueuePool}
    database = None if path is None else str(path)
    engine = create_async_engine(URL.create("sqlite+aiosqlite", database=database), **pool)

    def prepare(connection: Any, _record: object) -> None:
        # WAL: the server reads while `roomkey user add` writes. FULL: what was answered survives a loss of power.
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
        connections: how many at most.
        to_connect: seconds that a new connection may take.
        to_answer: seconds that a command may take.

    Raises:
        ConfigError: a URL of something else, or asyncpg is not installed.
    """
    if not url.startswith(POSTGRESQL):
        raise ConfigError("invalid database; use a file path or a postgresql:// URL")
    try:
        import asyncpg
    except ModuleNotFoundError:
        raise ConfigError("asyncpg is missing: pip install 'roomkey[postgresql]'") from None
    # In milliseconds; whoever waits for a lock still gets it from a process that froze with it.
    prepare = PREPARE_SESSION.format(lock=to_answer * 800, idle=to_answer * 600)

    async def connect() -> Any:
        # asyncpg reads the URL as libpq does, and SQLAlchemy has none that it could show. What fails is told here:
        # SQLAlchemy 2.0 would let asyncpg's own errors through.
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
