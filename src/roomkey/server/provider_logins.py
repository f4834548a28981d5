"""Logins at the providers of ``roomkey.toml``."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path

from roomkey.auth import LinkedAccounts, LoginProvider, LoginProviders, LoginService
from roomkey.auth.ending import StoredRevocations
from roomkey.errors import ConfigError
from roomkey.keysets.files import read_private
from roomkey.server.providers import Provider
from roomkey.server.settings import Settings, is_loopback
from roomkey.stores import Stores

__all__ = ["browsers_url", "login_providers", "login_site"]


def login_providers(providers: Mapping[str, Provider]) -> tuple[LoginProvider, ...]:
    """Return the providers at which users can log in.

    Raises:
        ConfigError: a table is not complete, or a secret cannot be read.
    """
    return tuple(_login_provider(name, table) for name, table in providers.items() if table.login)


def _login_provider(name: str, table: Provider) -> LoginProvider:
    options = {} if table.algorithms is None else {"algorithms": table.algorithms}
    return LoginProvider(
        name,
        issuer=table.issuer,
        client_id=table.client_id or "",
        client_secret=None if table.client_secret_file is None else _secret(table.client_secret_file),
        title=table.title,
        scopes=table.scopes,
        subject_prefix=table.subject_prefix,
        leeway=table.leeway,
        **options,
    )


def _secret(path: Path) -> str:
    """Read a secret of one line.

    Raises:
        ConfigError: others can read the file, or it does not contain one line of text.
    """
    try:
        text = read_private(path).decode("ascii").strip("\r\n")
    except UnicodeDecodeError:
        text = ""
    if not text or any(unicodedata.category(letter) == "Cc" for letter in text):
        raise ConfigError(f"{path} does not contain a secret; write the secret on one line")
    return text


def browsers_url(settings: Settings) -> str | None:
    """Return this server's URL for browsers; None for the address of each request, on this machine only.

    Raises:
        ConfigError: this server's address is not known.
    """
    url = (settings.public_url or "").rstrip("/") or (settings.issuer if settings.serves_oauth else None)
    if url is None and not (is_loopback(settings.host) and not settings.has_tls):
        raise ConfigError(
            "logins at providers require this server's URL, to which they send browsers back; set public_url, such as "
            "https://chat.example"
        )
    return url


def login_site(
    settings: Settings, providers: Mapping[str, Provider], stores: Stores, logins: LoginService
) -> LoginProviders | None:
    """Return the logins at providers; None if no table has ``login``.

    Raises:
        ConfigError: a table is not complete, or this server's address is not known.
    """
    found = login_providers(providers)
    if not found:
        return None
    url = browsers_url(settings)
    revocations = StoredRevocations(stores, settings.issuer, clock=logins.issuer.clock)

    async def set_rights(username: str, roles: Sequence[str], rooms: Sequence[str]) -> None:
        await revocations.set_rights(username, roles, rooms)

    accounts = LinkedAccounts(
        stores.accounts,
        stores.links,
        create=[name for name, table in providers.items() if table.create_accounts],
        claims_maps={name: table.places for name, table in providers.items() if table.rights == "claims"},
        set_rights=set_rights,
    )
    return LoginProviders(logins, found, accounts, stores.single_use, url=url)
