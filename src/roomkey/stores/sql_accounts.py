"""Accounts in SQLite or PostgreSQL (internal; import from :mod:`roomkey.stores`)."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from roomkey.extras import needs

with needs("sql", "roomkey.stores.sql_accounts"):
    from sqlalchemy import JSON, BigInteger, String, insert, select, update
    from sqlalchemy.exc import IntegrityError
    from sqlalchemy.orm import Mapped, mapped_column

from roomkey.errors import ConfigError
from roomkey.stores.records import MAX_NAME, Account, AccountExists, AccountNotFound, check_name
from roomkey.stores.sql import Base, SqlStore, Where

__all__ = ["SqlAccounts"]


class _User(Base):
    __tablename__ = "users"

    username: Mapped[str] = mapped_column(String(MAX_NAME), primary_key=True)
    password_hash: Mapped[str]
    roles: Mapped[list[str]] = mapped_column(JSON)
    rooms: Mapped[list[str]] = mapped_column(JSON)
    disabled: Mapped[bool] = mapped_column(default=False)
    created_at: Mapped[int] = mapped_column(BigInteger)
    name: Mapped[str] = mapped_column(default="")


_users = _User.__table__


class SqlAccounts(SqlStore):
    """Accounts in SQLite or PostgreSQL.

    Every method raises :class:`roomkey.errors.Unavailable` if the database does not respond.

    Args:
        where: a file, a URL, None for a database in memory, or a :class:`roomkey.stores.Database` that several stores
            share.
        clock: seconds since the epoch, for ``created_at``.
    """

    def __init__(self, where: Where = None, *, clock: Callable[[], float] = time.time) -> None:
        super().__init__(where)
        self._clock = clock

    async def find(self, username: str) -> Account | None:
        """Return the account with exactly this name (case-sensitive), or None."""
        try:
            check_name(username)
        except ConfigError:
            return None  # no account can have this name, and some databases reject it in a query
        for row in await self._database.rows(select(_users).where(_User.username == username)):
            return _account(row)
        return None

    async def add(self, account: Account) -> None:
        """Add an account.

        Raises:
            AccountExists: the username is taken.
            ConfigError: :func:`check_name` rejects a name.
        """
        check_name(account.username)
        row = {
            "username": account.username,
            "password_hash": account.password_hash,
            "roles": [check_name(role, "role") for role in account.roles],
            "rooms": [check_name(room, "room") for room in account.rooms],
            "disabled": account.disabled,
            "created_at": account.created_at or int(self._clock()),
            "name": account.name,
        }
        try:
            await self._database.change(insert(_User).values(row))
        except IntegrityError:
            raise AccountExists(f"the account {account.username} already exists") from None

    async def set_password(self, username: str, password_hash: str) -> None:
        """Replace the password hash.

        Raises:
            AccountNotFound: there is no such account.
        """
        await self._change(username, password_hash=password_hash)

    async def set_disabled(self, username: str, disabled: bool) -> None:
        """Disable (True) or enable (False) logins.

        Raises:
            AccountNotFound: there is no such account.
        """
        await self._change(username, disabled=disabled)

    async def set_rights(
        self, username: str, *, roles: Sequence[str] | None = None, rooms: Sequence[str] | None = None
    ) -> None:
        """Replace the roles, the rooms, or both; None leaves them.

        Raises:
            AccountNotFound: there is no such account.
            ConfigError: :func:`check_name` rejects a name.
        """
        given = {"roles": ("role", roles), "rooms": ("room", rooms)}
        checked = {
            column: [check_name(name, what) for name in names]
            for column, (what, names) in given.items()
            if names is not None
        }
        await self._change(username, **checked)

    async def all(self) -> Sequence[Account]:
        """Return every account, sorted by name."""
        return [_account(row) for row in await self._database.rows(select(_users).order_by(_User.username))]

    async def _change(self, username: str, **values: object) -> None:
        change = update(_User).where(_User.username == username).values(**values)
        if await self._database.change(change) == 0:
            raise AccountNotFound(f"no account {username!a}; list the accounts with `roomkey user list`")


def _account(row: Any) -> Account:
    return Account(
        username=row.username,
        password_hash=row.password_hash,
        roles=tuple(row.roles),
        rooms=tuple(row.rooms),
        disabled=row.disabled,
        created_at=row.created_at,
        name=row.name,
    )
