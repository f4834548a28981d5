"""Revocations in SQL: they outlast the process, and reach every server on the same database."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from roomkey.extras import needs

with needs("sql", "roomkey.stores.sql_revocations"):
    from sqlalchemy import JSON, BigInteger, Double, Insert, Integer, Text, case, func, insert, literal, select
    from sqlalchemy.orm import Mapped, mapped_column

from roomkey.core.revocations import FOREVER, Revocation, RevocationKind
from roomkey.errors import ConfigError
from roomkey.stores.revocations import KEPT_AFTER_EXPIRY
from roomkey.stores.sql import Base, SqlStore, Where

__all__ = ["SqlRevocations"]

BATCH = 10_000
"""Rows of one query, so that a long journal is read within the time that a query may take."""


class _Entry(Base):
    __tablename__ = "revocations"
    __table_args__ = {"sqlite_autoincrement": True}  # noqa: RUF012 - an id is never given twice, deleted rows or not

    id: Mapped[int] = mapped_column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True)
    kind: Mapped[str] = mapped_column(Text)
    name: Mapped[str] = mapped_column(Text)
    issuer: Mapped[str | None] = mapped_column(Text)
    issued_before: Mapped[float] = mapped_column(Double)
    expires_at: Mapped[float | None] = mapped_column(Double, index=True)
    recorded_at: Mapped[float] = mapped_column(Double)
    rights: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))


_columns = (
    *(_Entry.id, _Entry.kind, _Entry.name, _Entry.issuer, _Entry.issued_before, _Entry.expires_at),
    _Entry.rights,
)

# PostgreSQL gives ids before it commits: without the lock a reader could see 8 and never look for 7 again. The lock is
# taken and given back by the statement that writes, so that a process that freezes cannot hold it, and it is the
# journal's alone, so that it is in nobody's way. SQLite has one writer at a time.
JOURNAL = 7520
_locked = select(func.pg_advisory_xact_lock(JOURNAL)).cte("locked")


class SqlRevocations(SqlStore):
    """A :class:`roomkey.stores.revocations.RevocationStore` in SQLite or PostgreSQL.

    Args:
        where: a file, a URL, None for in memory, or a :class:`roomkey.stores.sql.Database` that several share.
        clock: seconds since the epoch, for the column ``recorded_at``.
    """

    def __init__(self, where: Where = None, *, clock: Callable[[], float] = time.time) -> None:
        super().__init__(where)
        # What is new is read on a connection of its own: whatever writes or waits, the reader does not wait for it.
        self._reader = self._database.separate(1)
        self._clock = clock

    async def add(self, revoked: Revocation) -> None:
        """Keep a revocation. When this returns it is on the disk.

        Raises:
            ConfigError: a name that no database keeps: with a NUL, or half a surrogate pair.
            Unavailable: the database is out of reach, and nothing is certain.
        """
        _check(revoked.name)
        _check(revoked.issuer or "")
        row = {
            "kind": revoked.kind,
            "name": revoked.name,
            "issuer": revoked.issuer,
            "issued_before": revoked.issued_before,
            "expires_at": None if revoked.expires_at == FOREVER else revoked.expires_at,
            "recorded_at": self._clock(),
            "rights": None if revoked.rights is None else dict(revoked.rights),
        }

        await self._database.change(_insertion(row) if self._database.is_postgresql else insert(_Entry).values(row))

    async def since(self, position: int) -> tuple[Sequence[Revocation], int]:
        """What was added after a position (0 is the beginning), a batch at the most, and the position after it.

        A position that lies after the end belongs to another database or to one that was put back from a copy: then
        everything is told again.

        Raises:
            Unavailable: the database is out of reach.
        """
        end = select(func.coalesce(func.max(_Entry.id), 0)).scalar_subquery()
        known = case((end < position, 0), else_=position)
        query = select(*_columns).where(_Entry.id > known).order_by(_Entry.id).limit(BATCH)
        rows = await self._reader.rows(query)
        return [_revocation(*row[1:]) for row in rows], rows[-1].id if rows else position

    async def forget_expired(self, now: float) -> None:
        """Drop what no token can match any more (``expires_at`` and an hour are over).

        Args:
            now: seconds since the epoch.

        Raises:
            Unavailable: the database is out of reach.
        """
        await self._database.forget(_Entry.id, _Entry.expires_at <= now - KEPT_AFTER_EXPIRY)


def _insertion(row: Mapping[str, Any]) -> Insert:
    """Return a statement that first takes the lock, then an id, and commits by itself."""
    values = [literal(value, _Entry.__table__.c[name].type) for name, value in row.items()]
    return insert(_Entry).from_select(list(row), select(*values).select_from(_locked))


def _check(name: str) -> None:
    try:
        if "\0" not in name:
            name.encode()
            return
    except UnicodeEncodeError:
        pass
    raise ConfigError(f"no database keeps this name: {name!a}")


def _revocation(
    kind: RevocationKind,
    name: str,
    issuer: str | None,
    issued_before: float,
    expires_at: float | None,
    rights: dict[str, Any] | None,
) -> Revocation:
    return Revocation(kind, name, issuer, issued_before, FOREVER if expires_at is None else expires_at, rights)
