"""Login sessions in SQLite or PostgreSQL (internal; import from :mod:`roomkey.stores`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from roomkey.extras import needs

with needs("sql", "roomkey.stores.sql_sessions"):
    from sqlalchemy import BigInteger, ForeignKey, Index, String, Text, and_, delete, insert, select, update
    from sqlalchemy.ext.asyncio import AsyncConnection
    from sqlalchemy.orm import Mapped, mapped_column

from roomkey.stores.records import LoginSession, RotationResult, StoredRefreshToken
from roomkey.stores.sql import Base, SqlStore

__all__ = ["SqlSessions"]


BATCH = 100
"""Sessions that are deleted in one transaction, with ten times as many refresh tokens."""


class _Session(Base):
    __tablename__ = "login_sessions"

    session_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    subject: Mapped[str] = mapped_column(String(255), index=True)
    client_id: Mapped[str] = mapped_column(String(255), index=True)
    auth_time: Mapped[int] = mapped_column(BigInteger)
    used_at: Mapped[int] = mapped_column(BigInteger)
    expires_at: Mapped[int] = mapped_column(BigInteger, index=True)
    scope: Mapped[str] = mapped_column(Text)
    address: Mapped[str] = mapped_column(Text)
    user_agent: Mapped[str] = mapped_column(Text)
    provider_issuer: Mapped[str] = mapped_column(String(255), default="", server_default="")
    provider_subject: Mapped[str] = mapped_column(String(255), default="", server_default="")
    provider_session: Mapped[str] = mapped_column(String(255), default="", server_default="")
    provider_auth_time: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    ended_at: Mapped[int | None] = mapped_column(BigInteger)

    __table_args__ = (
        Index("ix_login_sessions_provider_subject", "provider_subject", "provider_issuer"),
        Index("ix_login_sessions_provider_session", "provider_session", "provider_issuer"),
    )


class _RefreshToken(Base):
    __tablename__ = "refresh_tokens"

    token_hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    session_id: Mapped[str] = mapped_column(ForeignKey(_Session.session_id, ondelete="CASCADE"), index=True)
    used_at: Mapped[int | None] = mapped_column(BigInteger)


_FIELDS = tuple(LoginSession.__dataclass_fields__)
_columns = [getattr(_Session, name) for name in _FIELDS]


class SqlSessions(SqlStore):
    """Login sessions in SQLite or PostgreSQL. Refresh tokens are stored as hashes.

    Every method raises :class:`roomkey.errors.Unavailable` if the database does not respond.

    Args:
        where: a file, a URL, None for a database in memory, or a :class:`roomkey.stores.Database` that several stores
            share.
    """

    async def add(self, session: LoginSession, token_hash: str) -> None:
        """Store a new session with the hash of its first refresh token."""
        row = {name: getattr(session, name) for name in _FIELDS}

        async def write(connection: AsyncConnection) -> None:
            await connection.execute(insert(_Session).values(row))
            await _insert_token(connection, token_hash, session.session_id)

        await self._database.run(write)

    async def rotate(self, token_hash: str, next_hash: str, now: int, reuse_interval: int) -> RotationResult:
        """Consume a refresh token in one transaction."""
        active = select(_Session.session_id).where(_Session.ended_at.is_(None), _Session.expires_at > now)
        use = (
            update(_RefreshToken)
            .where(_RefreshToken.token_hash == token_hash, _RefreshToken.used_at.is_(None))
            .where(_RefreshToken.session_id.in_(active))
            .values(used_at=now)
            .returning(_RefreshToken.session_id)
        )

        async def work(connection: AsyncConnection) -> RotationResult:
            # The update comes first, because it takes the lock: a concurrent request then finds the token used.
            session_id = (await connection.execute(use)).scalar_one_or_none()
            if session_id is None:
                return await self._failed_rotation(connection, token_hash, next_hash, now, reuse_interval)
            await _insert_token(connection, next_hash, session_id)
            await connection.execute(_update(session_id).values(used_at=now))
            return RotationResult.ROTATED

        return await self._database.run(work)

    async def _failed_rotation(
        self, connection: AsyncConnection, token_hash: str, next_hash: str, now: int, reuse_interval: int
    ) -> RotationResult:
        """Return why a token could not be consumed."""
        row = (await connection.execute(_token(token_hash))).one_or_none()
        if row is None:
            return RotationResult.UNKNOWN
        if row.ended_at is not None:
            return RotationResult.ENDED
        if row.expires_at <= now:
            return RotationResult.EXPIRED
        successor = (await connection.execute(_token(next_hash))).one_or_none()
        unused = successor is not None and successor.token_used_at is None
        # If the token was used in the future, the clock was set back, so the age of the use is unknown. Two servers,
        # which count in whole seconds, may differ by one second.
        if unused and reuse_interval > 0 and -1 <= now - row.token_used_at <= reuse_interval:
            return RotationResult.REPEATED
        return RotationResult.REUSED

    async def find(self, token_hash: str, now: int) -> StoredRefreshToken | None:
        """Return a refresh token; None if it was never issued, or its session was deleted."""
        for row in await self._database.rows(_token(token_hash)):
            session = _session(row)
            active = row.ended_at is None and session.expires_at > now
            return StoredRefreshToken(session, active, row.token_used_at is not None)
        return None

    async def list_for(self, subject: str, now: int) -> Sequence[LoginSession]:
        """Return the active sessions of a subject, the most recently used first."""
        return await self._list(_Session.subject == subject, now)

    async def list_for_client(self, client_id: str, now: int) -> Sequence[LoginSession]:
        """Return the active sessions of an OAuth client, the most recently used first."""
        return await self._list(_Session.client_id == client_id, now)

    async def list_for_provider(
        self, issuer: str | None, now: int, *, subject: str | None = None, session: str | None = None
    ) -> Sequence[LoginSession]:
        """Return the active sessions of an OpenID provider's user or session, the most recently used first."""
        which = _Session.provider_session == session if subject is None else _Session.provider_subject == subject
        return await self._list(which if issuer is None else and_(_Session.provider_issuer == issuer, which), now)

    async def _list(self, which: Any, now: int) -> Sequence[LoginSession]:
        query = select(*_columns).where(*_active(which, now)).order_by(_Session.used_at.desc(), _Session.session_id)
        return [_session(row) for row in await self._database.rows(query)]

    async def end(self, session_id: str, now: int) -> LoginSession | None:
        """End a session and return it; None if there is no such active session."""
        end = update(_Session).where(*_active(_Session.session_id == session_id, now)).values(ended_at=now)

        async def work(connection: AsyncConnection) -> LoginSession | None:
            row = (await connection.execute(end.returning(*_columns))).one_or_none()
            return None if row is None else _session(row)

        return await self._database.run(work)

    async def delete_expired(self, now: int) -> None:
        """Delete expired sessions, a few at a time: a session has a token for each of its refreshes."""
        oldest = select(_Session.session_id).where(_Session.expires_at <= now).order_by(_Session.expires_at)

        async def work(connection: AsyncConnection) -> int:
            expired = (await connection.scalars(oldest.limit(BATCH))).all()
            if not expired:
                return 0
            tokens = select(_RefreshToken.token_hash).where(_RefreshToken.session_id.in_(expired)).limit(10 * BATCH)
            deleted = await connection.execute(delete(_RefreshToken).where(_RefreshToken.token_hash.in_(tokens)))
            if deleted.rowcount < 10 * BATCH:  # a cascade would be slow in PostgreSQL, and SQLite does not do it
                await connection.execute(delete(_Session).where(_Session.session_id.in_(expired)))
            return len(expired)

        await self._database.repeat(work)


async def _insert_token(connection: AsyncConnection, token_hash: str, session_id: str) -> None:
    await connection.execute(insert(_RefreshToken).values(token_hash=token_hash, session_id=session_id))


def _token(token_hash: str) -> Any:
    """Return a query for a refresh token with its session."""
    found = select(*_columns, _Session.ended_at, _RefreshToken.used_at.label("token_used_at")).join(_RefreshToken)
    return found.where(_RefreshToken.token_hash == token_hash)


def _active(which: Any, now: int) -> tuple[Any, ...]:
    return which, _Session.ended_at.is_(None), _Session.expires_at > now


def _update(session_id: str) -> Any:
    return update(_Session).where(_Session.session_id == session_id)


def _session(row: Any) -> LoginSession:
    return LoginSession(**{name: getattr(row, name) for name in _FIELDS})
