"""The accounts of OpenID providers' users in SQLite or PostgreSQL (internal; import from :mod:`roomkey.stores`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from roomkey.extras import needs

with needs("sql", "roomkey.stores.sql_links"):
    from sqlalchemy import String, delete, insert, select
    from sqlalchemy.exc import IntegrityError
    from sqlalchemy.orm import Mapped, mapped_column

from roomkey.core.names import MAX_NAME as LONGEST_CLAIM
from roomkey.core.names import is_name
from roomkey.errors import ConfigError
from roomkey.stores.records import MAX_NAME, LinkExists, check_name
from roomkey.stores.sql import Base, SqlStore

__all__ = ["SqlProviderLinks"]


class _Link(Base):
    __tablename__ = "provider_links"

    issuer: Mapped[str] = mapped_column(String(LONGEST_CLAIM), primary_key=True)
    subject: Mapped[str] = mapped_column(String(LONGEST_CLAIM), primary_key=True)
    username: Mapped[str] = mapped_column(String(MAX_NAME))


class SqlProviderLinks(SqlStore):
    """The accounts of OpenID providers' users in SQLite or PostgreSQL.

    Every method raises :class:`roomkey.errors.Unavailable` if the database does not respond.

    Args:
        where: a file, a URL, None for a database in memory, or a :class:`roomkey.stores.Database` that several stores
            share.
    """

    async def find(self, issuer: str, subject: str) -> str | None:
        """Return the username of a provider's user, or None."""
        if not is_name(issuer) or not is_name(subject):
            return None  # no link can have this name, and some databases reject it in a query
        for row in await self._database.rows(select(_Link.username).where(*_named(issuer, subject))):
            return str(row.username)
        return None

    async def add(self, issuer: str, subject: str, username: str) -> None:
        """Link a provider's user to an account.

        Raises:
            ConfigError: a name is not valid.
            LinkExists: the user is linked to another account.
        """
        check_name(username)
        if not is_name(issuer) or not is_name(subject):
            raise ConfigError("invalid issuer or subject: use 1 to 255 characters, without control characters")
        try:
            await self._database.change(insert(_Link).values(issuer=issuer, subject=subject, username=username))
        except IntegrityError:
            found = await self.find(issuer, subject)
            if found != username:
                raise LinkExists(f"{subject!a} of {issuer} is already linked to {found!a}") from None

    async def remove(self, issuer: str, subject: str) -> bool:
        """Remove a link; return False if there is none."""
        return await self._database.change(delete(_Link).where(*_named(issuer, subject))) == 1

    async def all(self) -> Sequence[tuple[str, str, str]]:
        """Return issuer, subject and username of every link, sorted by username."""
        query = select(_Link.issuer, _Link.subject, _Link.username)
        rows = await self._database.rows(query.order_by(_Link.username, _Link.issuer, _Link.subject))
        return [(row.issuer, row.subject, row.username) for row in rows]


def _named(issuer: str, subject: str) -> tuple[Any, Any]:
    return _Link.issuer == issuer, _Link.subject == subject
