"""A check that a database can be written to, at most once per second (internal)."""

from __future__ import annotations

import asyncio
import time

from roomkey.extras import needs

with needs("sql", "roomkey.stores.probe"):
    from sqlalchemy import Double, false, insert, text, update
    from sqlalchemy.ext.asyncio import AsyncConnection
    from sqlalchemy.orm import Mapped, mapped_column

from roomkey.errors import ConfigError, Unavailable
from roomkey.stores.patience import finishes_within
from roomkey.stores.sql import Base, Database

__all__ = ["Probe"]

KNOWN_SECONDS = 1.0
"""Seconds for which a result is returned again."""

PROBE_SECONDS = 2.0
"""Seconds in which the database must be writable."""


class _Row(Base):
    __tablename__ = "probe"

    id: Mapped[int] = mapped_column(primary_key=True)
    written_at: Mapped[float] = mapped_column(Double)


class Probe:
    """Writes one row, and checks that every table is writable, on a separate connection.

    Args:
        database: the database to check.
    """

    def __init__(self, database: Database) -> None:
        self._database = database.separate(1)
        self._checked_at = float("-inf")
        self._task: asyncio.Task[str | None] | None = None

    async def problem(self) -> str | None:
        """Return why the database cannot be written to, or None if it can."""
        if self._task is None or (self._task.done() and time.monotonic() - self._checked_at > KNOWN_SECONDS):
            self._checked_at = time.monotonic()
            self._task = asyncio.create_task(self._try())
        if not await finishes_within(self._task, PROBE_SECONDS):
            return f"the database cannot be written to: no response within {PROBE_SECONDS:g} s"
        return self._task.result()

    async def _try(self) -> str | None:
        try:
            await self._database.run(_write)
        except (Unavailable, ConfigError) as error:
            return f"the database cannot be written to: {error}"
        return None


async def _write(connection: AsyncConnection) -> None:
    if connection.dialect.name == "postgresql":
        await connection.execute(text(f"SET LOCAL lock_timeout = {PROBE_SECONDS * 750:.0f}"))
    # This changes no row, but waits for a table that is locked.
    for table in Base.metadata.sorted_tables:
        await connection.execute(update(table).where(false()).values({column: column for column in table.primary_key}))
    # Only a real write detects a full disk.
    now = time.time()
    if (await connection.execute(update(_Row).values(written_at=now))).rowcount == 0:
        await connection.execute(insert(_Row).values(id=1, written_at=now))
