"""The access tokens of users (internal)."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any, TypeAlias

from roomkey.auth.issued_tokens import OWN_CLIENT, IssuedTokens, TokenTooLong
from roomkey.auth.token_rights import rights_for
from roomkey.core.issuer import Issuer
from roomkey.core.names import DELEGATED, scope_names
from roomkey.core.printable import printable
from roomkey.errors import ConfigError, Unavailable
from roomkey.stores import Account, LoginSession

__all__ = ["ExtraClaims", "UserTokens"]

LOG = logging.getLogger("roomkey.auth")

ExtraClaims: TypeAlias = Callable[[Account], Mapping[str, Any] | Awaitable[Mapping[str, Any]]]
"""Returns further claims of a user's tokens."""


class UserTokens:
    """Issues the access tokens of users.

    Args:
        issuer: signs the tokens.
        extra_claims: returns further claims; None for none.
        find_account: returns the account of a session as it is now; raises InvalidGrant if it is disabled or gone.
        clock: seconds since the epoch.
    """

    def __init__(
        self,
        issuer: Issuer,
        extra_claims: ExtraClaims | None,
        find_account: Callable[[LoginSession], Awaitable[Account]],
        clock: Callable[[], float],
    ) -> None:
        self._issuer = issuer
        self._extra_claims = extra_claims
        self._find_account = find_account
        self._clock = clock

    async def issue(
        self,
        account: Account,
        session: LoginSession,
        refresh_token: str | None,
        *,
        first_party: bool,
        max_token: int | None,
    ) -> IssuedTokens:
        """Issue an access token.

        Args:
            account: the user.
            session: the login session, with the scopes of the token.
            refresh_token: the refresh token that the client also receives.
            first_party: True if the client's tokens contain all roles and rooms.
            max_token: the greatest length of the access token, in characters; None for no limit.

        Raises:
            InvalidGrant: the account was disabled or removed meanwhile.
            TokenTooLong: the access token has more than ``max_token`` characters.
            Unavailable: ``extra_claims`` failed, or the token is over the size limit of the issuer.
        """
        claims = await self._call_extra_claims(account)
        if self._extra_claims is not None:  # it may have waited: do not issue rights that were removed meanwhile
            account = await self._find_account(session)
        is_own = session.client_id == OWN_CLIENT
        rights = rights_for(account, scope_names(session.scope), is_own=is_own, is_first_party=first_party)
        session = replace(session, scope=" ".join(rights.scopes))
        ends_in = session.expires_at - int(self._clock())
        expires_in = min(int(self._issuer.expires_in), ends_in)  # an access token does not outlive its session
        try:
            token = self._issuer.issue(
                account.username,
                expires_in=expires_in,
                roles=rights.roles,
                rooms=rights.rooms,
                scopes=rights.scopes,
                session_id=session.session_id,
                claims={
                    "name": account.name or account.username,
                    **claims,
                    "client_id": session.client_id,
                    # Logging in here proves nothing about the user's password at a provider. 0 is not recent.
                    "auth_time": session.provider_auth_time if session.provider_issuer else session.auth_time,
                    **({} if is_own or first_party else {DELEGATED: True}),
                },
            )
        except ConfigError as error:  # such as a token over the size limit, which the operator has to fix
            LOG.error("could not issue a token for %s: %s", printable(account.username), error)
            raise Unavailable("could not issue a token") from None
        _check_length(token, max_token, account.username)
        return IssuedTokens(token, expires_in, refresh_token, session, ends_in)

    async def _call_extra_claims(self, account: Account) -> dict[str, Any]:
        """Return the claims that the application adds to an account's tokens.

        Raises:
            Unavailable: the application's function failed.
        """
        if self._extra_claims is None:
            return {}
        try:
            extra = self._extra_claims(account)
            return dict(extra if isinstance(extra, Mapping) else await extra)
        except Unavailable:
            raise
        except Exception as error:
            LOG.exception("could not issue a token for %s: extra_claims failed", printable(account.username))
            raise Unavailable(f"extra_claims raised {type(error).__name__}") from error


def _check_length(token: str, max_token: int | None, username: str) -> None:
    if max_token is None or len(token) <= max_token:
        return
    LOG.error(
        "cannot set the cookie of %s: its access token has %d characters, but a cookie keeps at most %d",
        printable(username),
        len(token),
        max_token,
    )
    raise TokenTooLong(len(token), max_token)
