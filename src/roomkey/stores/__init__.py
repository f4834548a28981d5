"""Stores for accounts, OAuth clients, login sessions, single-use values and revocations.

::

    stores = Stores.at("roomkey.sqlite3")  # or a postgresql:// URL; without an argument, everything is in memory

:class:`Stores` opens all of them in one database. To keep records elsewhere, implement one of the interfaces, such as
:class:`Accounts`. The interfaces and records do not require SQLAlchemy; ``Database``, ``Sql…`` and :meth:`Stores.at`
require ``roomkey[sql]``.

The public names are those in ``__all__``. The modules of this package are internal.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from roomkey.core.revocations import JournalPart, Revocation
from roomkey.extras import imported_when_used
from roomkey.stores.bundle import Stores
from roomkey.stores.memory_revocations import MemoryRevocations
from roomkey.stores.protocols import (
    Accounts,
    Clients,
    LosableJournal,
    ManagedAccounts,
    ManagedClients,
    ProviderLinks,
    RevocationStore,
    Sessions,
    SingleUseStore,
)
from roomkey.stores.records import (
    Account,
    AccountExists,
    AccountNotFound,
    Client,
    ClientExists,
    ClientNotFound,
    Consumed,
    LinkExists,
    LoginSession,
    RotationResult,
    StoredRefreshToken,
)

if TYPE_CHECKING:
    from roomkey.stores.sql import Database
    from roomkey.stores.sql_accounts import SqlAccounts
    from roomkey.stores.sql_clients import SqlClients
    from roomkey.stores.sql_links import SqlProviderLinks
    from roomkey.stores.sql_revocations import SqlRevocations
    from roomkey.stores.sql_sessions import SqlSessions
    from roomkey.stores.sql_single_use import SqlSingleUseStore
else:  # they require SQLAlchemy
    __getattr__ = imported_when_used(
        __name__,
        Database="sql",
        SqlAccounts="sql_accounts",
        SqlClients="sql_clients",
        SqlProviderLinks="sql_links",
        SqlRevocations="sql_revocations",
        SqlSessions="sql_sessions",
        SqlSingleUseStore="sql_single_use",
    )

__all__ = [
    "Account",
    "AccountExists",
    "AccountNotFound",
    "Accounts",
    "Client",
    "ClientExists",
    "ClientNotFound",
    "Clients",
    "Consumed",
    "Database",
    "JournalPart",
    "LinkExists",
    "LoginSession",
    "LosableJournal",
    "ManagedAccounts",
    "ManagedClients",
    "MemoryRevocations",
    "ProviderLinks",
    "Revocation",
    "RevocationStore",
    "RotationResult",
    "Sessions",
    "SingleUseStore",
    "SqlAccounts",
    "SqlClients",
    "SqlProviderLinks",
    "SqlRevocations",
    "SqlSessions",
    "SqlSingleUseStore",
    "StoredRefreshToken",
    "Stores",
]
