"""All stores of a server, opened and closed together (internal; import from :mod:`roomkey.stores`)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from roomkey.extras import needs
from roomkey.stores.protocols import (
    ManagedAccounts,
    ManagedClients,
    ProviderLinks,
    RevocationStore,
    Sessions,
    SingleUseStore,
    Store,
)

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from roomkey.stores.sql import Where

__all__ = ["Stores"]

SINGLE_USE_CONNECTIONS, SINGLE_USE_WAITING = 2, 100
"""Connections for tickets and codes, and requests that wait for one: sockets with tickets must not delay logins."""


async def _no_problem() -> str | None:
    return None


@dataclass(frozen=True, slots=True)
class Stores:
    """The stores of a server. Create them with :meth:`at`, or pass your own.

    It is an asynchronous context manager, which opens and closes the stores.

    Attributes:
        accounts: the users who can log in.
        clients: the OAuth clients.
        sessions: the login sessions, with their refresh tokens.
        single_use: connection tickets, authorization codes, and what else can be used once.
        links: which accounts the users of OpenID providers have.
        revocations: the journal of revocations. A guard that uses it also closes it.
        find_problem: returns why records cannot be written now, or None.
    """

    accounts: ManagedAccounts
    clients: ManagedClients
    sessions: Sessions
    single_use: SingleUseStore
    links: ProviderLinks
    revocations: RevocationStore
    find_problem: Callable[[], Awaitable[str | None]] = field(default=_no_problem)

    @classmethod
    def at(cls, where: Where = None) -> Stores:
        """Return stores that are all in one database. Nothing is opened yet.

        Args:
            where: a SQLite file, which is created if it is missing; a ``postgresql://`` URL; None for memory; or a
                :class:`roomkey.stores.Database` that others share.

        Raises:
            ConfigError: the URL is not valid, or asyncpg is not installed.
            ImportError: SQLAlchemy is not installed.
        """
        with needs("sql", "roomkey.stores.Stores.at"):
            import sqlalchemy  # noqa: F401
        from roomkey.stores.probe import Probe
        from roomkey.stores.sql import Database
        from roomkey.stores.sql_accounts import SqlAccounts
        from roomkey.stores.sql_clients import SqlClients
        from roomkey.stores.sql_links import SqlProviderLinks
        from roomkey.stores.sql_revocations import SqlRevocations
        from roomkey.stores.sql_sessions import SqlSessions
        from roomkey.stores.sql_single_use import SqlSingleUseStore

        database = Database.at(where)
        return cls(
            accounts=SqlAccounts(database),
            clients=SqlClients(database),
            sessions=SqlSessions(database),
            single_use=SqlSingleUseStore(database.separate(SINGLE_USE_CONNECTIONS, SINGLE_USE_WAITING)),
            links=SqlProviderLinks(database),
            # Its own connections: requests that wait for the database must not make the revocations look unavailable.
            revocations=SqlRevocations(where),
            find_problem=Probe(database).problem,
        )

    async def open(self) -> None:
        """Create a missing database, and bring its tables up to date.

        Raises:
            ConfigError: the file cannot be created, or is not a SQLite database.
            Unavailable: PostgreSQL does not respond.
        """
        for store in self._all():
            await store.open()

    async def close(self) -> None:
        """Close every connection."""
        for store in self._all():
            await store.close()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    def _all(self) -> tuple[Store, ...]:
        return self.accounts, self.clients, self.sessions, self.single_use, self.links, self.revocations
