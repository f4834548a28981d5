"""What a token that a client presents is worth (RFC 7662), and that it is worth nothing any more (RFC 7009)."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from roomkey.auth.carried import held
from roomkey.auth.http import OAuthError
from roomkey.auth.logins import LoginService
from roomkey.auth.refresh_tokens import looks_like_refresh_token
from roomkey.core.identity import Identity
from roomkey.core.names import scope_names
from roomkey.errors import AuthError, Unavailable
from roomkey.stores.clients import Client

__all__ = ["Introspection", "introspect", "revoke"]

CLAIMS = ("scope", "client_id", "exp", "iat", "nbf", "sub", "aud", "iss", "jti", "sid", "rooms")


class Introspection(BaseModel):
    """What a token is (RFC 7662 section 2.2); of one that is not good, nothing but that."""

    active: bool
    scope: str | None = None
    client_id: str | None = None
    token_type: Literal["Bearer"] | None = Field(default=None, description="of access tokens")
    exp: int | float | None = None
    iat: int | float | None = None
    nbf: int | float | None = None
    sub: str | None = None
    aud: str | list[str] | None = None
    iss: str | None = None
    jti: str | None = None
    sid: str | None = Field(default=None, description="the login that it belongs to")
    roles: list[str] | None = None
    rooms: list[str] | dict[str, list[str]] | None = None


async def introspect(logins: LoginService, client: Client, token: str) -> Introspection:
    """What a token is worth at this moment.

    Args:
        client: who asks; about access tokens any may, as a server that is shown them has to, and about refresh tokens
            only whose they are.

    Raises:
        Unavailable: nobody can say.
    """
    if looks_like_refresh_token(token):
        return await _of_refresh_token(logins, client, token)
    who = await _identity(logins, token)
    if who is None:
        return Introspection(active=False)
    claims = {name: who.claims[name] for name in CLAIMS if name in who.claims}
    return Introspection(active=True, token_type="Bearer", roles=sorted(who.roles) or None, **claims)  # noqa: S106


async def _of_refresh_token(logins: LoginService, client: Client, token: str) -> Introspection:
    found = await logins.find_token(token)
    if found is None or not found.good or found.session.client_id != client.client_id:
        return Introspection(active=False)
    session = found.session
    account = await logins.accounts.find(session.subject)
    if account is None or account.disabled:
        return Introspection(active=False)
    return Introspection(
        active=True,
        scope=" ".join(held(scope_names(session.scope))) or None,
        client_id=session.client_id,
        exp=session.expires_at,
        iat=session.used_at,
        sub=session.subject,
        iss=logins.issuer.issuer,
        sid=session.session_id,
    )


async def revoke(logins: LoginService, client: Client, token: str) -> None:
    """Cancel a token: with a refresh token its whole login; with both the live sockets. One that is not good is none.

    Raises:
        OAuthError: it is another client's (RFC 7009 section 2.1).
        Unavailable: nothing is certain.
    """
    if looks_like_refresh_token(token):
        found = await logins.find_token(token)
        if found is not None:
            _check_owner(client, found.session.client_id)
            if found.live:
                await logins.end_login(found.session.session_id)
        return
    who = await _identity(logins, token)
    if who is not None:
        _check_owner(client, who.claims.get("client_id"))
        await logins.live.revoke(token_id=who.token_id, expires_at=who.expires_at or float("inf"))


def _check_owner(client: Client, client_id: object) -> None:
    if client_id != client.client_id:
        raise OAuthError("invalid_grant", "The token is another client's.")


async def _identity(logins: LoginService, token: str) -> Identity | None:
    try:
        return await logins.live.verify(token)
    except Unavailable:
        raise
    except AuthError:
        return None
