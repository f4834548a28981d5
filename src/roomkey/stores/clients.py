"""OAuth clients: applications and services that may ask for tokens (RFC 6749 section 2)."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import parse_qsl, urlsplit

from roomkey.extras import needs

with needs("sql", "roomkey.stores.clients"):
    from sqlalchemy import JSON, BigInteger, String, delete, false, insert, select, update
    from sqlalchemy.exc import IntegrityError
    from sqlalchemy.orm import Mapped, mapped_column

from roomkey.core.names import is_reserved
from roomkey.core.urls import is_confidential
from roomkey.errors import ConfigError
from roomkey.stores.accounts import check_name
from roomkey.stores.sql import Base, SqlStore, Where

__all__ = ["GRANTS", "Client", "ClientExists", "ClientNotFound", "Clients", "SqlClients"]

_SCOPE = re.compile(r"[\x21\x23-\x5B\x5D-\x7E]+")  # RFC 6749 section 3.3
_ANSWERS = frozenset({"code", "state", "iss", "error", "error_description", "error_uri"})
_URI = re.compile(r"[A-Za-z0-9\-._~:/?\[\]@!$&'()*+,;=%]+")  # RFC 3986 section 2, and no fragment
_APP_URI = re.compile(r"[A-Za-z][A-Za-z0-9-]*(\.[A-Za-z0-9-]+)+:/")

GRANTS = ("authorization_code", "refresh_token", "client_credentials")


class ClientExists(ValueError):
    """The client's name is taken."""


class ClientNotFound(LookupError):
    """There is no client of this name."""


@dataclass(frozen=True, slots=True)
class Client:
    """One client.

    Attributes:
        client_id: its name, and the subject of tokens that it gets for itself.
        secret_hash: SHA-256 of its secret in hexadecimal; None for a public client, such as a page or an app.
        title: what people read when they are asked to let it in.
        redirect_uris: where codes may be sent to, to the letter: https, http on this machine, or an app's own scheme.
        grants: what it may ask for: some of :data:`GRANTS`.
        scopes: what its tokens may hold; none that begins with ``roomkey:`` if people log in to it.
        roles, rooms: of the tokens that it gets for itself.
        disabled: True if it gets nothing.
        created_at: seconds since the epoch.
        first_party: True for an application of the server's own operator: the tokens that people give it carry all
            their roles and rooms. Otherwise they carry what the scopes release.
    """

    client_id: str
    secret_hash: str | None = field(default=None, repr=False)
    title: str = ""
    redirect_uris: tuple[str, ...] = ()
    grants: tuple[str, ...] = ()
    scopes: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    rooms: tuple[str, ...] = ()
    disabled: bool = False
    created_at: int = 0
    first_party: bool = False

    def __post_init__(self) -> None:
        check_name(self.client_id, "client")
        unknown = set(self.grants) - set(GRANTS)
        if unknown:
            raise ConfigError(f"grants are {', '.join(GRANTS)}, not {', '.join(sorted(unknown))}")
        if "client_credentials" in self.grants and self.secret_hash is None:
            raise ConfigError("client_credentials needs a client with a secret")
        if "authorization_code" in self.grants and not self.redirect_uris:
            raise ConfigError("authorization_code needs a redirect URI")
        for scope in self.scopes:
            if _SCOPE.fullmatch(scope) is None:
                raise ConfigError(f"{scope!a} is no scope: it has visible ASCII characters without quote and backslash")
        for uri in self.redirect_uris:
            _check_redirect_uri(uri)
        if self.redirect_uris and (reserved := sorted(filter(is_reserved, self.scopes))):
            raise ConfigError(
                f"a client with a redirect URI cannot have {', '.join(reserved)}: every user who logs in would; "
                "add a service without a redirect URI, or give the account the role roomkey:admin"
            )


def _check_redirect_uri(uri: str) -> None:
    """RFC 6749 section 3.1.2, RFC 9700 section 2.6, and RFC 8252 section 7.1 for the schemes of apps."""
    if _URI.fullmatch(uri) is None:
        raise ConfigError(f"{uri!a} is no redirect URI: write it in full, without a fragment")
    if not is_confidential(uri) and _APP_URI.match(uri) is None:
        raise ConfigError(
            f"{uri!a} is no redirect URI: it begins with https://, on this machine with http://, or with a scheme of "
            "an app's own, such as com.example.app:/"
        )
    if _ANSWERS & {name for name, _ in parse_qsl(urlsplit(uri).query, keep_blank_values=True)}:
        raise ConfigError(f"{uri!a} is no redirect URI: in its query it has a parameter that the answer needs")


class Clients(Protocol):
    """Where clients are kept. Every method raises :class:`roomkey.errors.Unavailable` if that fails."""

    async def find(self, client_id: str) -> Client | None:
        """The client of exactly this name, or None."""

    async def add(self, client: Client) -> None:
        """Keep a new client; raises :class:`ClientExists`."""

    async def set_disabled(self, client_id: str, disabled: bool) -> None:
        """Refuse or allow it; raises :class:`ClientNotFound`."""

    async def all(self) -> Sequence[Client]:
        """Every client, by name."""


class _Client(Base):
    __tablename__ = "clients"

    client_id: Mapped[str] = mapped_column(String(150), primary_key=True)
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
    """:class:`Clients` in SQLite or PostgreSQL.

    Args:
        where: a file, a URL, None for in memory, or a :class:`roomkey.stores.sql.Database` that several share.
        clock: seconds since the epoch, for ``created_at``.
    """

    def __init__(self, where: Where = None, *, clock: Callable[[], float] = time.time) -> None:
        super().__init__(where)
        self._clock = clock

    async def find(self, client_id: str) -> Client | None:
        """The client of exactly this name, or None."""
        try:
            check_name(client_id, "client")
        except ConfigError:
            return None  # nobody has it, and not every database lets itself be asked for it
        for row in await self._database.rows(select(*_columns).where(_Client.client_id == client_id)):
            return _client(row)
        return None

    async def add(self, client: Client) -> None:
        """Keep a new client.

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
            raise ClientExists(f"there is a client {client.client_id} already") from None

    async def set_disabled(self, client_id: str, disabled: bool) -> None:
        """Refuse (True) or allow (False) it.

        Raises:
            ClientNotFound: no such client.
        """
        change = update(_Client).where(_Client.client_id == client_id).values(disabled=disabled)
        if await self._database.change(change) == 0:
            raise _not_found(client_id)

    async def all(self) -> Sequence[Client]:
        """Every client, by name."""
        return [_client(row) for row in await self._database.rows(select(*_columns).order_by(_Client.client_id))]

    async def set_secret(self, client_id: str, secret_hash: str) -> None:
        """Replace the secret; the one before stops working.

        Args:
            secret_hash: SHA-256 of the new one in hexadecimal.

        Raises:
            ClientNotFound: no such client.
            ConfigError: it is a public client, which can keep none.
        """
        named = update(_Client).where(_Client.client_id == client_id, _Client.secret_hash.is_not(None))
        if await self._database.change(named.values(secret_hash=secret_hash)) == 0:
            if await self.find(client_id) is None:
                raise _not_found(client_id)
            raise ConfigError(f"{client_id} is a public client, which can keep no secret")

    async def remove(self, client_id: str) -> None:
        """Forget it.

        Raises:
            ClientNotFound: no such client.
        """
        if await self._database.change(delete(_Client).where(_Client.client_id == client_id)) == 0:
            raise _not_found(client_id)


def _not_found(client_id: str) -> ClientNotFound:
    return ClientNotFound(f"there is no client {client_id!a}; see: roomkey client list")


def _client(row: Any) -> Client:
    values: dict[str, Any] = {name: getattr(row, name) for name in _FIELDS}
    lists = {name: tuple(value) for name, value in values.items() if isinstance(value, list)}
    if lists["redirect_uris"]:  # one that an older version has kept gets nothing by the scope either
        lists["scopes"] = tuple(scope for scope in lists["scopes"] if not is_reserved(scope))
    return Client(**(values | lists))
