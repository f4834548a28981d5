"""What may be used once: authorization codes and connection tickets, by their hashes alone."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, Protocol

from roomkey.extras import needs

with needs("sql", "roomkey.stores.single_use"):
    from sqlalchemy import JSON, BigInteger, String, insert, select, update
    from sqlalchemy.exc import IntegrityError
    from sqlalchemy.ext.asyncio import AsyncConnection
    from sqlalchemy.orm import Mapped, mapped_column

from roomkey.stores.sql import Base, SqlStore, Where

__all__ = ["SingleUseKind", "SingleUseStore", "SqlSingleUseStore", "Taken"]

SingleUseKind = Literal["code", "ticket"]

KEY_NAME = "one_time"


class Taken(NamedTuple):
    """What was kept under a hash.

    Attributes:
        data: as it was kept.
        again: True if it was used up before.
        became: what :meth:`SingleUseStore.became` noted at its first use, or None.
    """

    data: Mapping[str, Any]
    again: bool
    became: str | None


class SingleUseStore(Protocol):
    """Where they are kept. Every method raises :class:`roomkey.errors.Unavailable` if that fails."""

    async def open(self) -> None:
        """Make it ready."""

    async def key(self) -> bytes:
        """A secret of 32 bytes that all who use the same store share: it shows which names may be in it."""

    async def put(self, kind: SingleUseKind, name_hash: str, data: Mapping[str, Any], expires_at: int) -> None:
        """Keep something under the hash of what the client is given."""

    async def take(self, kind: SingleUseKind, name_hash: str, now: int) -> Taken | None:
        """Use it up, in one transaction: of many at once exactly one is the first. None if there is none, or it is too
        late."""

    async def became(self, name_hash: str, what: str) -> None:
        """Note what came of it, so that a second use can end that."""

    async def forget_expired(self, now: int) -> None:
        """Drop what nobody can use any more."""

    async def close(self) -> None:
        """Give back what it holds open."""


class _OneTime(Base):
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
    """:class:`SingleUseStore` in SQLite or PostgreSQL.

    Args:
        where: a file, a URL, None for in memory, or a :class:`roomkey.stores.sql.Database` that several share.
    """

    def __init__(self, where: Where = None) -> None:
        super().__init__(where)
        self._key: asyncio.Task[bytes] | None = None

    async def key(self) -> bytes:
        """A secret of 32 bytes, made by the first server that asks for it, and kept in the database."""
        if self._key is None or (self._key.done() and self._key.exception() is not None):
            self._key = asyncio.create_task(self._read_key())  # once, however many wait for it
        await asyncio.wait({self._key})
        return self._key.result()

    async def _read_key(self) -> bytes:
        query = select(_Secret.secret).where(_Secret.name == KEY_NAME)
        if not (rows := await self._database.rows(query)):
            new = insert(_Secret).values(name=KEY_NAME, secret=secrets.token_hex(32))
            with contextlib.suppress(IntegrityError):  # another server was faster, and its key counts
                await self._database.change(new)
            rows = await self._database.rows(query)
        return bytes.fromhex(rows[0].secret)

    async def put(self, kind: SingleUseKind, name_hash: str, data: Mapping[str, Any], expires_at: int) -> None:
        """Keep something under the hash of what the client is given."""
        row = {"name_hash": name_hash, "kind": kind, "data": dict(data), "expires_at": expires_at}
        await self._database.change(insert(_OneTime).values(row))

    async def take(self, kind: SingleUseKind, name_hash: str, now: int) -> Taken | None:
        """Use it up, in one transaction."""
        which = (_OneTime.name_hash == name_hash, _OneTime.kind == kind, _OneTime.expires_at > now)

        async def work(connection: AsyncConnection) -> Taken | None:
            use = update(_OneTime).where(*which, _OneTime.used_at.is_(None)).values(used_at=now)
            first = (await connection.execute(use)).rowcount == 1
            row = (await connection.execute(select(_OneTime.data, _OneTime.became).where(*which))).one_or_none()
            return None if row is None else Taken(row.data, not first, row.became)

        return await self._database.run(work)

    async def became(self, name_hash: str, what: str) -> None:
        """Note what came of it."""
        await self._database.change(update(_OneTime).where(_OneTime.name_hash == name_hash).values(became=what))

    async def forget_expired(self, now: int) -> None:
        """Drop what nobody can use any more."""
        await self._database.forget(_OneTime.name_hash, _OneTime.expires_at <= now)
