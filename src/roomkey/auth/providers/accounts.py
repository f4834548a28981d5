"""From a provider's user to the account here (internal; import from :mod:`roomkey.auth`).

A user is known by the provider's ``iss`` and the user's ``sub`` together (OpenID Connect Core 1.0 section 5.7), never
by a name or an email address, which users can change and providers can give to somebody else.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from roomkey.auth.issued_tokens import InvalidGrant
from roomkey.core.claims_map import ClaimsMap, Place
from roomkey.core.identity import Identity
from roomkey.core.names import is_reserved
from roomkey.core.printable import printable
from roomkey.errors import ConfigError
from roomkey.stores import Account, AccountExists, ManagedAccounts, ProviderLinks
from roomkey.stores.records import NO_PASSWORD, check_name

__all__ = ["LinkedAccounts", "NoAccount", "ProviderAccounts", "ProviderLogin"]

LOG = logging.getLogger("roomkey.auth")
MAX_NAMES = 200
"""The most roles, or rooms, that are taken from a provider's claims."""


@dataclass(frozen=True, slots=True)
class ProviderLogin:
    """A user who has just logged in at a provider.

    Attributes:
        provider: the provider's name.
        issuer: its ``iss``.
        sub: the user's ``sub``.
        subject: the subject of the user's access tokens from the provider, as a verifier here names it.
        claims: all claims of the ID token.
    """

    provider: str
    issuer: str
    sub: str
    subject: str
    claims: Mapping[str, Any] = field(repr=False)


class NoAccount(InvalidGrant):
    """Raised when a provider's user has no account here. Its user may know that."""


class ProviderAccounts(Protocol):
    """Finds the account of a provider's user. Implement it for your own user table."""

    async def account_of(self, login: ProviderLogin) -> Account:
        """Return the account.

        Never look for it by a name or an email address of the claims alone: a user could choose those of another one.

        Raises:
            InvalidGrant: the user has no account here, or may not log in.
            Unavailable: the accounts do not respond.
        """


SetRights = Callable[[str, Sequence[str], Sequence[str]], Awaitable[None]]
"""Replaces the roles and rooms of an account, by its username."""


class LinkedAccounts:
    """The accounts of the stores, by their links to providers' users.

    Args:
        accounts: the accounts.
        links: which account a provider's user has.
        create: the names of the providers whose users get an account at their first login. Its username is the
            provider's prefix and the user's ``sub``. The users of other providers need a link.
        claims_maps: for some providers, by name: where their ID tokens have ``roles`` and ``rooms``. At each login,
            these replace the roles and rooms of the account, except for roles of the server itself (``roomkey:…``). By
            default, the account alone decides.
        set_rights: replaces roles and rooms, and updates connected sockets. Default: ``accounts.set_rights``, which
            changes only new tokens.

    Raises:
        ConfigError: an invalid map.
    """

    def __init__(
        self,
        accounts: ManagedAccounts,
        links: ProviderLinks,
        *,
        create: Sequence[str] = (),
        claims_maps: Mapping[str, Mapping[str, Place]] | None = None,
        set_rights: SetRights | None = None,
    ) -> None:
        self._accounts = accounts
        self._links = links
        self._create = frozenset(create)
        self._maps = {name: ClaimsMap(places) for name, places in (claims_maps or {}).items()}
        self._set_rights = set_rights or self._set_rights_here

    async def account_of(self, login: ProviderLogin) -> Account:
        """Return the account of a provider's user, and create it if that is allowed.

        Raises:
            NoAccount: no account is linked to the user.
            InvalidGrant: the account cannot be created.
            Unavailable: a store does not respond.
        """
        username = await self._links.find(login.issuer, login.sub) or await self._new_link(login)
        account = await self._accounts.find(username)
        if account is None:
            account = await self._new_account(username, login)
        if login.provider in self._maps and not account.disabled:
            await self._update(account, *_rights_in(self._maps[login.provider], login))
            account = await self._accounts.find(username) or account
        return account

    async def _new_link(self, login: ProviderLogin) -> str:
        """Link a user to an account that does not exist yet, and return its username.

        The link is stored before the account, so that an interrupted first login can be repeated.
        """
        if login.provider not in self._create:
            raise NoAccount(f"no account is linked to {login.sub!a}; add one with `roomkey user link`")
        username = _username(login)
        if await self._accounts.find(username) is not None:
            raise InvalidGrant(f"the account {username!a} exists already, and is not linked to this user")
        await self._links.add(login.issuer, login.sub, username)
        return username

    async def _new_account(self, username: str, login: ProviderLogin) -> Account:
        if login.provider not in self._create or username != _username(login):
            raise InvalidGrant(f"the linked account {username!a} is gone")
        name = login.claims.get("name")
        shown = name if isinstance(name, str) and 0 < len(name) <= 150 and name.isprintable() else ""
        try:
            await self._accounts.add(Account(username, NO_PASSWORD, name=shown))
        except AccountExists:
            LOG.debug("another request has just created the account")
        except Exception:
            # Otherwise, whoever adds an account of this name later would add it for this user.
            await self._links.remove(login.issuer, login.sub)
            raise
        found = await self._accounts.find(username)
        if found is not None and found.password_hash != NO_PASSWORD:  # somebody else has just added it
            await self._links.remove(login.issuer, login.sub)
            raise InvalidGrant(f"the account {username!a} exists already, and is not linked to this user")
        if found is None:
            raise InvalidGrant("the account was removed meanwhile")
        return found

    async def _update(self, account: Account, roles: list[str], rooms: list[str]) -> None:
        own = [role for role in account.roles if is_reserved(role)]
        if (tuple(own + roles), tuple(rooms)) != (account.roles, account.rooms):
            await self._set_rights(account.username, own + roles, rooms)

    async def _set_rights_here(self, username: str, roles: Sequence[str], rooms: Sequence[str]) -> None:
        await self._accounts.set_rights(username, roles=roles, rooms=rooms)


def _username(login: ProviderLogin) -> str:
    try:
        return check_name(login.subject)
    except ConfigError as error:
        raise InvalidGrant(f"no account can have this name: {error}") from None


def _rights_in(claims_map: ClaimsMap, login: ProviderLogin) -> tuple[list[str], list[str]]:
    """Return the roles and rooms of an ID token that an account can have."""
    who = Identity.from_claims(claims_map.standard(dict(login.claims)))
    roles = (role for role in sorted(who.roles) if not is_reserved(role))
    return _valid(roles, "role", login.provider), _valid(who.rooms, "room", login.provider)


def _valid(names: Any, what: str, provider: str) -> list[str]:
    valid = []
    for name in names:
        try:
            valid.append(check_name(name, what))
        except ConfigError as error:
            LOG.warning("left out a %s of the provider %s: %s", what, provider, printable(str(error)))
    return valid[:MAX_NAMES]
