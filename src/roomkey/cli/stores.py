"""What commands do in the database of the settings."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from roomkey.cli.output import fail, needs
from roomkey.core.issuer import MAX_TOKEN_LIFETIME
from roomkey.core.revocations import Revocation

if TYPE_CHECKING:
    from roomkey.auth.ending import LoginEnding
    from roomkey.server.settings import Settings
    from roomkey.stores.accounts import SqlAccounts
    from roomkey.stores.clients import SqlClients
    from roomkey.stores.sessions import LoginSession, SqlSessions
    from roomkey.stores.sql_revocations import SqlRevocations

__all__ = ["Stores", "in_database"]

_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class Stores:
    """The tables of a database, and how what they grant is taken back.

    Attributes:
        settings: of the servers that run on the database.
        accounts, clients, sessions, revocations: the tables.
    """

    settings: Settings
    accounts: SqlAccounts
    clients: SqlClients
    sessions: SqlSessions
    revocations: SqlRevocations

    async def revoke(self, revoked: Revocation) -> None:
        """Keep a revocation, and end the logins it is about: else a refresh token would bring a new access token."""
        await self.revocations.add(revoked)
        await self._ending(revoked.expires_at).follow(revoked)

    def _ending(self, until: float) -> LoginEnding:
        """What ends logins; the revocations that it makes of their names are kept until then."""
        with needs("server"):
            from roomkey.auth.ending import LoginEnding

        async def revoke(login: LoginSession) -> int:
            # Whatever issuer the application on this database has: no two logins have one name.
            await self.revoke(Revocation("session", login.session_id, expires_at=until))
            return 0

        return LoginEnding(self.sessions, self.settings.issuer, time.time, revoke)

    async def set_rights(self, username: str, roles: list[str] | None, rooms: list[str] | None) -> None:
        """Replace roles or rooms of an account, and of the tokens that were handed out; None leaves them.

        Raises:
            AccountNotFound: no such account.
        """
        await self.accounts.set_rights(username, roles=roles, rooms=rooms)
        now = time.time()
        rights = {name: names for name, names in (("roles", roles), ("rooms", rooms)) if names is not None}
        change = Revocation("rights", username, None, now, now + MAX_TOKEN_LIFETIME, rights)
        await self.revocations.add(change)

    async def revoke_account(self, username: str) -> None:
        """End all logins of a person, and cancel the tokens that were handed out."""
        await self.revoke(self._everything_of(username))

    async def disable_client(self, client_id: str) -> None:
        """Give a client no tokens any more, end the logins that were made for it, and cancel its tokens.

        Raises:
            ClientNotFound: no such client.
        """
        with needs("server"):
            from roomkey.auth.issued_tokens import OWN_CLIENT
        await self.clients.set_disabled(client_id, True)
        itself = self._everything_of(client_id)
        await self.revocations.add(itself)  # and no logins: those of this name are a person's
        if client_id == OWN_CLIENT:
            return  # the logins of this name were made with a password, for no client
        # Once more, until there is none: a request that was under way when it was disabled may have begun one.
        while theirs := await self.sessions.of_client(client_id, int(time.time())):
            for login in theirs:
                await self.revoke(Revocation("session", login.session_id, expires_at=itself.expires_at))

    def _everything_of(self, subject: str) -> Revocation:
        """What this server has issued to a subject until now."""
        now = time.time()
        until = now + MAX_TOKEN_LIFETIME
        return Revocation.of(subject=subject, issuer=self.settings.issuer, expires_at=until, now=now)


def in_database(settings: Settings, action: Callable[[Stores], Awaitable[_Result]], *, make: bool = True) -> _Result:
    """Do something in a database. A name that is taken, or that nobody has, becomes one line.

    Args:
        settings: that name the database.
        action: what to do.
        make: False to fail where a file is missing: a new one would take what is written, and no server read it.

    Raises:
        ConfigError: the database cannot be used.
        Unavailable: PostgreSQL is out of reach.
    """
    with needs("server"):
        from roomkey.stores.accounts import AccountExists, AccountNotFound, SqlAccounts
        from roomkey.stores.clients import ClientExists, ClientNotFound, SqlClients
        from roomkey.stores.sessions import SqlSessions
        from roomkey.stores.sql import Database
        from roomkey.stores.sql_revocations import SqlRevocations
    if not make and isinstance(settings.database, Path) and not settings.database.exists():
        fail(f"there is no database {settings.database}: go to the server's folder, or give --database or --config")

    async def work() -> _Result:
        database = Database(settings.database)
        tables = SqlAccounts(database), SqlClients(database), SqlSessions(database), SqlRevocations(database)
        try:
            await database.open()
            return await action(Stores(settings, *tables))
        finally:
            await database.close()

    try:
        return asyncio.run(work())
    except (AccountExists, AccountNotFound, ClientExists, ClientNotFound) as error:
        fail(str(error))
