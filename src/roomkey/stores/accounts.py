"""Accounts: who may log in, and with which roles and rooms.

:class:`Accounts` is what the login server asks for, two methods that an application with users of its own implements
over its own table; :class:`SqlAccounts` keeps them in SQLite or PostgreSQL, and is also what the command line and the
admin API work on.
"""

from __future__ import annotations

import time
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from roomkey.extras import needs

with needs("sql", "roomkey.stores.accounts"):
    from sqlalchemy import JSON, BigInteger, String, insert, select, update
    from sqlalchemy.exc import IntegrityError
    from sqlalchemy.orm import Mapped, mapped_column

from roomkey.errors import ConfigError
from roomkey.stores.sql import Base, SqlStore, Where

__all__ = ["Account", "AccountExists", "AccountNotFound", "Accounts", "SqlAccounts", "check_name"]

MAX_NAME = 150


class AccountExists(ValueError):
    """The username is taken."""


class AccountNotFound(LookupError):
    """There is no account of this name."""


@dataclass(frozen=True, slots=True)
class Account:
    """One person who may log in.

    Attributes:
        username: the name to log in with, and the token's subject.
        password_hash: as made by :class:`roomkey.auth.passwords.Passwords`.
        roles: role names, put into the token's ``roles``.
        rooms: room names, put into the token's ``rooms``.
        disabled: True if logins are refused.
        name: what others read, put into the token's ``name``; the username if empty.
        created_at: seconds since the epoch.
    """

    username: str
    password_hash: str = field(repr=False)
    roles: tuple[str, ...] = ()
    rooms: tuple[str, ...] = ()
    disabled: bool = False
    created_at: int = 0
    name: str = ""


class Accounts(Protocol):
    """What the login server asks of a table of users: these two methods, over whatever table there is.

    Either raises :class:`roomkey.errors.Unavailable` if that is out of reach.
    """

    async def find(self, username: str) -> Account | None:
        """The account of this name, or None.

        Args:
            username: as somebody typed it, of any length and form, or ``Account.username`` as it was given before.
        """

    async def set_password(self, username: str, password_hash: str) -> None:
        """Replace the password hash; raises :class:`AccountNotFound`."""


def check_name(name: str, what: str = "username") -> str:
    """A name of a user, role or room, if it is one that cannot be mistaken for another.

    Args:
        name: 1 to 150 visible characters without spaces, in Unicode form NFKC, so that no two names look the same
            to a person and differ for the computer.
        what: how the error calls it.

    Returns:
        The name, unchanged.

    Raises:
        ConfigError: it is not; the text says what is wrong.
    """
    if not 0 < len(name) <= MAX_NAME:
        raise ConfigError(f"a {what} has 1 to {MAX_NAME} characters, this one {len(name)}")
    if not name.isprintable() or any(letter.isspace() for letter in name):
        raise ConfigError(f"a {what} has only visible characters and no spaces: {name!a}")
    if unicodedata.normalize("NFKC", name) != name:
        raise ConfigError(f"a {what} is written in Unicode form NFKC: {unicodedata.normalize('NFKC', name)}")
    return name


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
    """Accounts in SQLite or PostgreSQL. Every method raises :class:`roomkey.errors.Unavailable` if that fails.

    Args:
        where: a file, a URL, None for in memory, or a :class:`roomkey.stores.sql.Database` that several share.
        clock: seconds since the epoch, for ``created_at``.
    """

    def __init__(self, where: Where = None, *, clock: Callable[[], float] = time.time) -> None:
        super().__init__(where)
        self._clock = clock

    async def find(self, username: str) -> Account | None:
        """The account of exactly this name (letter case counts), or None."""
        try:
            check_name(username)
        except ConfigError:
            return None  # nobody has it, and not every database lets itself be asked for it
        for row in await self._database.rows(select(_users).where(_User.username == username)):
            return _account(row)
        return None

    async def add(self, account: Account) -> None:
        """Keep a new account.

        Raises:
            AccountExists: the username is taken.
            ConfigError: a name that :func:`check_name` refuses.
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
            raise AccountExists(f"there is an account {account.username} already") from None

    async def set_password(self, username: str, password_hash: str) -> None:
        """Replace the password hash.

        Raises:
            AccountNotFound: no such account.
        """
        await self._change(username, password_hash=password_hash)

    async def set_disabled(self, username: str, disabled: bool) -> None:
        """Refuse (True) or allow (False) logins.

        Raises:
            AccountNotFound: no such account.
        """
        await self._change(username, disabled=disabled)

    async def set_rights(
        self, username: str, *, roles: Sequence[str] | None = None, rooms: Sequence[str] | None = None
    ) -> None:
        """Replace the roles, the rooms, or both; None leaves them.

        Raises:
            AccountNotFound: no such account.
            ConfigError: a name that :func:`check_name` refuses.
        """
        given = {"roles": ("role", roles), "rooms": ("room", rooms)}
        checked = {
            column: [check_name(name, what) for name in names]
            for column, (what, names) in given.items()
            if names is not None
        }
        await self._change(username, **checked)

    async def all(self) -> Sequence[Account]:
        """Every account, by name."""
        return [_account(row) for row in await self._database.rows(select(_users).order_by(_User.username))]

    async def _change(self, username: str, **values: object) -> None:
        change = update(_User).where(_User.username == username).values(**values)
        if await self._database.change(change) == 0:
            raise AccountNotFound(f"there is no account {username!a}; see: roomkey user list")


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
