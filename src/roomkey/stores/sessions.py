"""Logins: who is logged in, on which device, and the refresh tokens of each, by their hashes alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, NamedTuple, Protocol

from roomkey.extras import needs

with needs("sql", "roomkey.stores.sessions"):
    from sqlalchemy import BigInteger, ForeignKey, String, Text, delete, insert, select, update
    from sqlalchemy.ext.asyncio import AsyncConnection
    from sqlalchemy.orm import Mapped, mapped_column

from roomkey.stores.sql import Base, SqlStore

__all__ = ["Found", "LoginSession", "Outcome", "Sessions", "SqlSessions"]


BATCH = 100
"""Sessions that are dropped in one transaction, with ten times as many refresh tokens."""


@dataclass(frozen=True, slots=True)
class LoginSession:
    """One login on one device, and all tokens that come of it.

    Attributes:
        session_id: the ``sid`` claim of its access tokens.
        subject: whose it is.
        client_id: the OAuth client it was made for.
        auth_time: when the password was given, in seconds since the epoch.
        used_at: when it was last refreshed.
        expires_at: when it ends, however often it is refreshed.
        scope: what its tokens may, separated by spaces.
        address: of the client at the login.
        user_agent: of the client at the login.
    """

    session_id: str
    subject: str
    client_id: str
    auth_time: int
    used_at: int
    expires_at: int
    scope: str = ""
    address: str = ""
    user_agent: str = ""


class Outcome(Enum):
    """What became of a refresh token that was presented."""

    ROTATED = auto()  # it is used up now, and its successor counts
    REPEATED = auto()  # it was used up a moment ago: the same successor is given again
    REUSED = auto()  # it was used up before that: somebody has a copy, so the session is to be ended
    UNKNOWN = auto()  # nobody has it
    ENDED = auto()  # its session was ended
    EXPIRED = auto()  # its session's time is over


class Found(NamedTuple):
    """A refresh token that was given out.

    Attributes:
        session: the login that it belongs to.
        live: False if that was ended, or its time is over.
        used: True if the token was used up.
    """

    session: LoginSession
    live: bool
    used: bool

    @property
    def good(self) -> bool:
        """True if it can be exchanged for new tokens."""
        return self.live and not self.used


class Sessions(Protocol):
    """Where logins are kept. Every method raises :class:`roomkey.errors.Unavailable` if that fails."""

    async def open(self) -> None:
        """Make it ready."""

    async def begin(self, session: LoginSession, token_hash: str) -> None:
        """Keep a new login with the hash of its first refresh token."""

    async def rotate(self, token_hash: str, next_hash: str, now: int, grace: int) -> Outcome:
        """Use a refresh token up, in one transaction: of many at once exactly one rotates.

        Args:
            token_hash: of the token that was presented.
            next_hash: of the successor that is derived from it.
            now: seconds since the epoch.
            grace: seconds in which the same token gets the same successor once more.
        """

    async def find(self, token_hash: str, now: int) -> Found | None:
        """What a refresh token is; None if it was never given out, or its login is long forgotten."""

    async def of(self, subject: str, now: int) -> Sequence[LoginSession]:
        """A subject's live sessions, the last used first."""

    async def end(self, session_id: str, now: int) -> LoginSession | None:
        """End a session; None if there is none that is live."""

    async def end_all(self, subject: str, now: int, *, but: str | None = None) -> Sequence[LoginSession]:
        """End every session of a subject, except one; those that it ended."""

    async def forget_expired(self, now: int) -> None:
        """Drop sessions whose time is over."""

    async def close(self) -> None:
        """Give back what it holds open."""


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
    ended_at: Mapped[int | None] = mapped_column(BigInteger)


class _RefreshToken(Base):
    __tablename__ = "refresh_tokens"

    token_hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    session_id: Mapped[str] = mapped_column(ForeignKey(_Session.session_id, ondelete="CASCADE"), index=True)
    used_at: Mapped[int | None] = mapped_column(BigInteger)


_FIELDS = tuple(LoginSession.__dataclass_fields__)
_columns = [getattr(_Session, name) for name in _FIELDS]


class SqlSessions(SqlStore):
    """:class:`Sessions` in SQLite or PostgreSQL.

    Args:
        where: a file, a URL, None for in memory, or a :class:`roomkey.stores.sql.Database` that several share.
    """

    async def begin(self, session: LoginSession, token_hash: str) -> None:
        """Keep a new login with the hash of its first refresh token."""
        row = {name: getattr(session, name) for name in _FIELDS}

        async def write(connection: AsyncConnection) -> None:
            await connection.execute(insert(_Session).values(row))
            await _insert_token(connection, token_hash, session.session_id)

        await self._database.run(write)

    async def rotate(self, token_hash: str, next_hash: str, now: int, grace: int) -> Outcome:
        """Use a refresh token up, in one transaction."""

        live = select(_Session.session_id).where(_Session.ended_at.is_(None), _Session.expires_at > now)
        use = (
            update(_RefreshToken)
            .where(_RefreshToken.token_hash == token_hash, _RefreshToken.used_at.is_(None))
            .where(_RefreshToken.session_id.in_(live))
            .values(used_at=now)
            .returning(_RefreshToken.session_id)
        )

        async def work(connection: AsyncConnection) -> Outcome:
            # First of all the change, which takes the lock: whoever comes second finds the token used.
            session_id = (await connection.execute(use)).scalar_one_or_none()
            if session_id is None:
                return await self._refused(connection, token_hash, next_hash, now, grace)
            await _insert_token(connection, next_hash, session_id)
            await connection.execute(_of(session_id).values(used_at=now))
            return Outcome.ROTATED

        return await self._database.run(work)

    async def _refused(
        self, connection: AsyncConnection, token_hash: str, next_hash: str, now: int, grace: int
    ) -> Outcome:
        """Why a token could not be used."""
        row = (await connection.execute(_token(token_hash))).one_or_none()
        if row is None:
            return Outcome.UNKNOWN
        if row.ended_at is not None:
            return Outcome.ENDED
        if row.expires_at <= now:
            return Outcome.EXPIRED
        successor = (await connection.execute(_token(next_hash))).one_or_none()
        unused = successor is not None and successor.token_used_at is None
        # Used in the future: the clock was set back, so nobody knows how long ago it was. A second is the difference of
        # two servers that both count in whole seconds.
        if unused and grace > 0 and -1 <= now - row.token_used_at <= grace:
            return Outcome.REPEATED
        return Outcome.REUSED

    async def find(self, token_hash: str, now: int) -> Found | None:
        """What a refresh token is; None if it was never given out, or its login is long forgotten."""
        for row in await self._database.rows(_token(token_hash)):
            session = _session(row)
            return Found(session, row.ended_at is None and session.expires_at > now, row.token_used_at is not None)
        return None

    async def of(self, subject: str, now: int) -> Sequence[LoginSession]:
        """A subject's live sessions, the last used first."""
        return await self._of(_Session.subject == subject, now)

    async def of_client(self, client_id: str, now: int) -> Sequence[LoginSession]:
        """The live sessions that were made for an OAuth client, the last used first."""
        return await self._of(_Session.client_id == client_id, now)

    async def _of(self, which: Any, now: int) -> Sequence[LoginSession]:
        query = select(*_columns).where(*_live(which, now)).order_by(_Session.used_at.desc(), _Session.session_id)
        return [_session(row) for row in await self._database.rows(query)]

    async def end(self, session_id: str, now: int) -> LoginSession | None:
        """End a session; None if there is none that is live."""
        for session in await self._end(_Session.session_id == session_id, now):
            return session
        return None

    async def end_all(self, subject: str, now: int, *, but: str | None = None) -> Sequence[LoginSession]:
        """End every session of a subject, except one; those that it ended."""
        theirs = _Session.subject == subject
        return await self._end(theirs if but is None else theirs & (_Session.session_id != but), now)

    async def _end(self, which: Any, now: int) -> Sequence[LoginSession]:
        end = update(_Session).where(*_live(which, now)).values(ended_at=now).returning(*_columns)

        async def work(connection: AsyncConnection) -> Sequence[LoginSession]:
            return [_session(row) for row in await connection.execute(end)]

        return await self._database.run(work)

    async def forget_expired(self, now: int) -> None:
        """Drop sessions whose time is over, a few at a time: a login has a token for each of its refreshes."""
        oldest = select(_Session.session_id).where(_Session.expires_at <= now).order_by(_Session.expires_at)

        async def work(connection: AsyncConnection) -> int:
            over = (await connection.scalars(oldest.limit(BATCH))).all()
            if not over:
                return 0
            theirs = select(_RefreshToken.token_hash).where(_RefreshToken.session_id.in_(over)).limit(10 * BATCH)
            tokens = await connection.execute(delete(_RefreshToken).where(_RefreshToken.token_hash.in_(theirs)))
            if tokens.rowcount < 10 * BATCH:  # PostgreSQL would look for them, and SQLite leave them
                await connection.execute(delete(_Session).where(_Session.session_id.in_(over)))
            return len(over)

        await self._database.repeat(work)


async def _insert_token(connection: AsyncConnection, token_hash: str, session_id: str) -> None:
    await connection.execute(insert(_RefreshToken).values(token_hash=token_hash, session_id=session_id))


def _token(token_hash: str) -> Any:
    """A refresh token with its session."""
    found = select(*_columns, _Session.ended_at, _RefreshToken.used_at.label("token_used_at")).join(_RefreshToken)
    return found.where(_RefreshToken.token_hash == token_hash)


def _live(which: Any, now: int) -> tuple[Any, ...]:
    return which, _Session.ended_at.is_(None), _Session.expires_at > now


def _of(session_id: str) -> Any:
    return update(_Session).where(_Session.session_id == session_id)


def _session(row: Any) -> LoginSession:
    return LoginSession(**{name: getattr(row, name) for name in _FIELDS})
