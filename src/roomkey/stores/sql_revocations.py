"""Revocations in SQLite or PostgreSQL (internal; import from :mod:`roomkey.stores`)."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from roomkey.extras import needs

with needs("sql", "roomkey.stores.sql_revocations"):
    from sqlalchemy import JSON, BigInteger, Double, Insert, Integer, Text, and_, case, func, insert, literal, select
    from sqlalchemy.orm import Mapped, mapped_column

from roomkey.core.revocations import FOREVER, MARGIN, Revocation, RevocationKind
from roomkey.errors import ConfigError
from roomkey.stores.sql import Base, SqlStore, Where

__all__ = ["SqlRevocations"]

BATCH = 10_000
"""Rows of one query, so that a long journal is read within the time limit of a query."""


class _Entry(Base):
    __tablename__ = "revocations"
    __table_args__ = {"sqlite_autoincrement": True}  # noqa: RUF012 - an id is never reused, even if its row is deleted

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

# PostgreSQL assigns ids before it commits: without the lock, a reader could see 8 and never look for 7 again. The
# statement that writes takes and releases the lock, so a process that freezes cannot hold it. Nothing else uses this
# lock. SQLite has one writer at a time.
JOURNAL = 7520
_locked = select(func.pg_advisory_xact_lock(JOURNAL)).cte("locked")


class SqlRevocations(SqlStore):
    """A journal of revocations in SQLite or PostgreSQL. It survives restarts; every server on the database reads it.

    Args:
        where: a file, a URL, None for a database in memory, or a :class:`roomkey.stores.Database` that several stores
            share.
        clock: seconds since the epoch, for the column ``recorded_at``.
    """

    def __init__(self, where: Where = None, *, clock: Callable[[], float] = time.time) -> None:
        super().__init__(where)
        # The reader has its own connection, so that it never waits for writers or for other requests.
        self._reader = self._database.separate(1)
        self._clock = clock

    async def add(self, revoked: Revocation) -> None:
        """Store a revocation. When this returns, it is on disk.

        Raises:
            ConfigError: the name contains a NUL, or half a surrogate pair, which databases cannot store.
            Unavailable: the revocation may or may not be stored. Call again.
        """
        _check(revoked.name)
        _check(revoked.issuer or "")
        row = {
            "kind": revoked.kind,
            "name": revoked.name,
            "issuer": revoked.issuer,
            "issued_before": revoked.issued_before,
            "expires_at": revoked.kept_until,
            "recorded_at": self._clock(),
            "rights": None if revoked.rights is None else dict(revoked.rights),
        }
        await self._database.change(_insertion(row) if self._database.is_postgresql else insert(_Entry).values(row))

    async def since(self, position: int) -> tuple[Sequence[Revocation], int]:
        """Return at most one batch of the revocations after a position (0 is the beginning), and the new position.

        A position after the end belongs to another database, or the database was restored from a backup: then the
        result starts at the beginning.

        Raises:
            Unavailable: the database did not respond.
        """
        end = select(func.coalesce(func.max(_Entry.id), 0)).scalar_subquery()
        known = case((end < position, 0), else_=position)
        query = select(*_columns).where(_Entry.id > known).order_by(_Entry.id).limit(BATCH)
        rows = await self._reader.rows(query)
        return [_revocation(*row[1:]) for row in rows], rows[-1].id if rows else position

    async def delete_expired(self, now: float) -> None:
        """Delete revocations that no token can match any more: an hour after ``expires_at``. The last one stays.

        Without the last one, the position of readers would be after the end, and they would read everything again.

        Args:
            now: seconds since the epoch.

        Raises:
            Unavailable: the database did not respond.
        """
        last = select(func.max(_Entry.id)).scalar_subquery().correlate(None)
        await self._database.delete_where(_Entry.id, and_(_Entry.expires_at <= now - MARGIN, _Entry.id < last))


def _insertion(row: Mapping[str, Any]) -> Insert:
    """Return one statement that takes the lock, then an id, and commits."""
    values = [literal(value, _Entry.__table__.c[name].type) for name, value in row.items()]
    return insert(_Entry).from_select(list(row), select(*values).select_from(_locked))


def _check(name: str) -> None:
    try:
        if "\0" not in name:
            name.encode()
            return
    except UnicodeEncodeError:
        pass
    raise ConfigError(f"invalid name {name!a}: databases cannot store it; remove NUL characters and lone surrogates")


def _revocation(
    kind: RevocationKind,
    name: str,
    issuer: str | None,
    issued_before: float,
    expires_at: float | None,
    rights: dict[str, Any] | None,
) -> Revocation:
    return Revocation(kind, name, issuer, issued_before, FOREVER if expires_at is None else expires_at, rights)
