"""OAuth clients in SQLite or PostgreSQL (internal; import from :mod:`roomkey.stores`)."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from roomkey.extras import needs

with needs("sql", "roomkey.stores.sql_clients"):
    from sqlalchemy import JSON, BigInteger, String, delete, false, insert, select, update
    from sqlalchemy.exc import IntegrityError
    from sqlalchemy.orm import Mapped, mapped_column

from roomkey.core.names import is_reserved
from roomkey.errors import ConfigError
from roomkey.stores.records import MAX_NAME, Client, ClientExists, ClientNotFound, check_name
from roomkey.stores.sql import Base, SqlStore, Where

__all__ = ["SqlClients"]


class _Client(Base):
    __tablename__ = "clients"

    client_id: Mapped[str] = mapped_column(String(MAX_NAME), primary_key=True)
    secret_hash: Mapped[str | None] = mapped_column(String(64))
    title: Mapped[str]
    redirect_uris: Mapped[list[str]] = mapped_column(JSON)
    grants: Mapped[list[str]] = mapped_column(JSON)
    scopes: Mapped[list[str]] = mapped_column(JSON)
    roles: Mapped[list[str]] = mapped_column(JSON)
    rooms: Mapped[list[str]] = mapped_column(JSON)
    disabled: Mapped[bool] = mapped_column(default=False)
    created_at: Mapped[int] = mapped_column(BigInteger)
    first_party: Mapped[bool] = mapped_column(default=False, server_default=false())


_FIELDS = tuple(Client.__dataclass_fields__)
_columns = [getattr(_Client, name) for name in _FIELDS]


class SqlClients(SqlStore):
    """OAuth clients in SQLite or PostgreSQL.

    Every method raises :class:`roomkey.errors.Unavailable` if the database does not respond.

    Args:
        where: a file, a URL, None for a database in memory, or a :class:`roomkey.stores.Database` that several stores
            share.
        clock: seconds since the epoch, for ``created_at``.
    """

    def __init__(self, where: Where = None, *, clock: Callable[[], float] = time.time) -> None:
        super().__init__(where)
        self._clock = clock

    async def find(self, client_id: str) -> Client | None:
        """Return the client with exactly this name, or None."""
        try:
            check_name(client_id, "client")
        except ConfigError:
            return None  # no client can have this name, and some databases reject it in a query
        for row in await self._database.rows(select(*_columns).where(_Client.client_id == client_id)):
            return _client(row)
        return None

    async def add(self, client: Client) -> None:
        """Add a client.

        Raises:
            ClientExists: the name is taken.
        """
        row: dict[str, Any] = {}
        for name in _FIELDS:
            value = getattr(client, name)
            row[name] = list(value) if isinstance(value, tuple) else value
        row["created_at"] = client.created_at or int(self._clock())
        try:
            await self._database.change(insert(_Client).values(row))
        except IntegrityError:
            raise ClientExists(f"the client {client.client_id} already exists") from None

    async def set_disabled(self, client_id: str, disabled: bool) -> None:
        """Disable (True) or enable (False) a client.

        Raises:
            ClientNotFound: there is no such client.
        """
        change = update(_Client).where(_Client.client_id == client_id).values(disabled=disabled)
        if await self._database.change(change) == 0:
            raise _not_found(client_id)

    async def all(self) -> Sequence[Client]:
        """Return every client, sorted by name."""
        return [_client(row) for row in await self._database.rows(select(*_columns).order_by(_Client.client_id))]

    async def set_secret(self, client_id: str, secret_hash: str) -> None:
        """Replace the secret; the previous one stops working.

        Args:
            secret_hash: SHA-256 of the new secret, in hexadecimal.

        Raises:
            ClientNotFound: there is no such client.
            ConfigError: it is a public client, which has no secret.
        """
        named = update(_Client).where(_Client.client_id == client_id, _Client.secret_hash.is_not(None))
        if await self._database.change(named.values(secret_hash=secret_hash)) == 0:
            if await self.find(client_id) is None:
                raise _not_found(client_id)
            raise ConfigError(f"cannot set a secret: {client_id} is a public client")

    async def remove(self, client_id: str) -> None:
        """Delete a client.

        Raises:
            ClientNotFound: there is no such client.
        """
        if await self._database.change(delete(_Client).where(_Client.client_id == client_id)) == 0:
            raise _not_found(client_id)


def _not_found(client_id: str) -> ClientNotFound:
    return ClientNotFound(f"no client {client_id!a}; list the clients with `roomkey client list`")


def _client(row: Any) -> Client:
    values: dict[str, Any] = {name: getattr(row, name) for name in _FIELDS}
    lists = {name: tuple(value) for name, value in values.items() if isinstance(value, list)}
    if lists["redirect_uris"]:  # an older version may have stored such scopes
        lists["scopes"] = tuple(scope for scope in lists["scopes"] if not is_reserved(scope))
    return Client(**(values | lists))
