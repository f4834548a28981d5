"""Token introspection (RFC 7662; internal)."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from roomkey.auth.login_service import LoginService
from roomkey.auth.refresh_tokens import looks_like_refresh_token
from roomkey.auth.token_rights import without_reserved
from roomkey.core.names import scope_names
from roomkey.errors import AuthError, Unavailable
from roomkey.stores import Client

__all__ = ["Introspection", "introspect"]

CLAIMS = ("scope", "client_id", "exp", "iat", "nbf", "sub", "aud", "iss", "jti", "sid", "rooms")


class Introspection(BaseModel):
    """The state of a token (RFC 7662 section 2.2). An invalid token has only the member ``active``."""

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
    sid: str | None = Field(default=None, description="the login session of the token")
    roles: list[str] | None = None
    rooms: list[str] | dict[str, list[str]] | None = None


async def introspect(logins: LoginService, client: Client, token: str) -> Introspection:
    """Return the current state of a token.

    Args:
        logins: the login server.
        client: the client that asks. Any client can ask about access tokens, because every server that receives them
            has to; only the client of a refresh token can ask about it.
        token: an access token or a refresh token.

    Raises:
        Unavailable: a store does not respond.
    """
    if looks_like_refresh_token(token):
        return await _introspect_refresh_token(logins, client, token)
    try:
        who = await logins.authority.verify(token)
    except Unavailable:
        raise
    except AuthError:
        return Introspection(active=False)
    if who.issuer != logins.issuer.issuer:  # a provider's token: its own server is to be asked about it
        return Introspection(active=False)
    claims = {name: who.claims[name] for name in CLAIMS if name in who.claims}
    return Introspection(active=True, token_type="Bearer", roles=sorted(who.roles) or None, **claims)  # noqa: S106


async def _introspect_refresh_token(logins: LoginService, client: Client, token: str) -> Introspection:
    found = await logins.find_refresh_token(token)
    if found is None or not found.valid or found.session.client_id != client.client_id:
        return Introspection(active=False)
    session = found.session
    account = await logins.accounts.find(session.subject)
    if account is None or account.disabled:
        return Introspection(active=False)
    return Introspection(
        active=True,
        scope=" ".join(without_reserved(scope_names(session.scope))) or None,
        client_id=session.client_id,
        exp=session.expires_at,
        iat=session.used_at,
        sub=session.subject,
        iss=logins.issuer.issuer,
        sid=session.session_id,
    )
