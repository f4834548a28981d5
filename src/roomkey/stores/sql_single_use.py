"""Single-use values in SQLite or PostgreSQL (internal; import from :mod:`roomkey.stores`)."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Mapping
from typing import Any

from roomkey.extras import needs

with needs("sql", "roomkey.stores.sql_single_use"):
    from sqlalchemy import JSON, BigInteger, String, insert, select, update
    from sqlalchemy.exc import IntegrityError
    from sqlalchemy.ext.asyncio import AsyncConnection
    from sqlalchemy.orm import Mapped, mapped_column

from roomkey.stores.records import Consumed, SingleUseKind
from roomkey.stores.sql import Base, SqlStore, Where

__all__ = ["SqlSingleUseStore"]

KEY_NAME = "one_time"


class _SingleUse(Base):
    __tablename__ = "one_time"

    name_hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    kind: Mapped[str] = mapped_column(String(16))
    data: Mapped[dict[str, Any]] = mapped_column(JSON)
    expires_at: Mapped[int] = mapped_column(BigInteger, index=True)
    used_at: Mapped[int | None] = mapped_column(BigInteger)
    became: Mapped[str | None] = mapped_column(String(255))


class _Secret(Base):
    __tablename__ = "secrets"

    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    secret: Mapped[str] = mapped_column(String(64))


class SqlSingleUseStore(SqlStore):
    """Authorization codes, tickets, logins and logout tokens in SQLite or PostgreSQL, by their hashes.

    Every method raises :class:`roomkey.errors.Unavailable` if the database does not respond.

    Args:
        where: a file, a URL, None for a database in memory, or a :class:`roomkey.stores.Database` that several stores
            share.
    """

    def __init__(self, where: Where = None) -> None:
        super().__init__(where)
        self._key: asyncio.Task[bytes] | None = None

    async def key(self) -> bytes:
        """Return a secret of 32 bytes. The first server that needs it creates it and stores it in the database."""
        if self._key is None or (self._key.done() and self._key.exception() is not None):
            self._key = asyncio.create_task(self._read_key())  # read once, for all who wait
        await asyncio.wait({self._key})
        return self._key.result()

    async def _read_key(self) -> bytes:
        query = select(_Secret.secret).where(_Secret.name == KEY_NAME)
        if not (rows := await self._database.rows(query)):
            new = insert(_Secret).values(name=KEY_NAME, secret=secrets.token_hex(32))
            with contextlib.suppress(IntegrityError):  # another server was faster; use its key
                await self._database.change(new)
            rows = await self._database.rows(query)
        return bytes.fromhex(rows[0].secret)

    async def store(self, kind: SingleUseKind, value_hash: str, data: Mapping[str, Any], expires_at: int) -> None:
        """Store data under the hash of the value that the client gets."""
        row = {"name_hash": value_hash, "kind": kind, "data": dict(data), "expires_at": expires_at}
        await self._database.change(insert(_SingleUse).values(row))

    async def consume(self, kind: SingleUseKind, value_hash: str, now: int) -> Consumed | None:
        """Consume a value in one transaction; None if there is no such value, or it has expired."""
        which = (_SingleUse.name_hash == value_hash, _SingleUse.kind == kind, _SingleUse.expires_at > now)

        async def work(connection: AsyncConnection) -> Consumed | None:
            use = update(_SingleUse).where(*which, _SingleUse.used_at.is_(None)).values(used_at=now)
            first = (await connection.execute(use)).rowcount == 1
            row = (await connection.execute(select(_SingleUse.data, _SingleUse.became).where(*which))).one_or_none()
            return None if row is None else Consumed(row.data, not first, row.became)

        return await self._database.run(work)

    async def add_once(self, kind: SingleUseKind, value_hash: str, expires_at: int) -> bool:
        """Store a value that another server created; return False if it is known already."""
        try:
            await self.store(kind, value_hash, {}, expires_at)
        except IntegrityError:
            return False
        return True

    async def is_known(self, kind: SingleUseKind, value_hash: str) -> bool:
        """Return True if a value is stored, used or not."""
        query = select(_SingleUse.kind).where(_SingleUse.name_hash == value_hash, _SingleUse.kind == kind)
        return bool(await self._database.rows(query))

    async def annotate(self, value_hash: str, note: str) -> None:
        """Add a note to a value, which later calls of :meth:`consume` return."""
        await self._database.change(update(_SingleUse).where(_SingleUse.name_hash == value_hash).values(became=note))

    async def delete_expired(self, now: int) -> None:
        """Delete expired values."""
        await self._database.delete_where(_SingleUse.name_hash, _SingleUse.expires_at <= now)
