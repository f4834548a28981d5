"""What commands do in the database of the settings."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from roomkey.cli.output import fail, needs
from roomkey.core.issuer import MAX_TOKEN_LIFETIME
from roomkey.core.revocations import Revocation

if TYPE_CHECKING:
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
        now = int(time.time())
        await self.revocations.add(revoked)
        if revoked.kind == "session":
            await self.sessions.end(revoked.name, now)
        elif revoked.kind == "subject" and revoked.issued_before >= now - 1:
            # By name, too: for one refreshed meanwhile.
            await self._end(await self.sessions.of(revoked.name, now), revoked)

    async def revoke_account(self, username: str) -> None:
        """End all logins of a person, and cancel the tokens that were handed out."""
        await self.revoke(self._everything_of(username))

    async def disable_client(self, client_id: str) -> None:
        """Give a client no tokens any more, end the logins that were made for it, and cancel its tokens.

        Raises:
            ClientNotFound: no such client.
        """
        with needs("server"):
            from roomkey.auth.granted import OWN_CLIENT
        await self.clients.set_disabled(client_id, True)
        itself = self._everything_of(client_id)
        await self.revocations.add(itself)  # and no logins: those of this name are a person's
        if client_id == OWN_CLIENT:
            return  # the logins of this name were made with a password, for no client
        # Once more, until there is none: a request that was under way when it was disabled may have begun one.
        while theirs := await self.sessions.of_client(client_id, int(time.time())):
            await self._end(theirs, itself)

    async def _end(self, logins: Iterable[LoginSession], why: Revocation) -> None:
        """End logins: first the tokens of each, so that where that fails, it can be asked for again."""
        for login in logins:  # whatever issuer the application on this database has: no two logins have one name
            named = Revocation("session", login.session_id, expires_at=why.expires_at)
            await self.revocations.add(named)
            await self.sessions.end(login.session_id, int(time.time()))

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
