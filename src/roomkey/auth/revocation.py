"""Token revocation (RFC 7009; internal)."""

from __future__ import annotations

from roomkey.auth.http import OAuthError
from roomkey.auth.login_service import LoginService
from roomkey.auth.refresh_tokens import looks_like_refresh_token
from roomkey.errors import AuthError, Unavailable
from roomkey.stores import Client

__all__ = ["revoke_token"]


async def revoke_token(logins: LoginService, client: Client, token: str) -> None:
    """Revoke a token and disconnect its sockets. A refresh token ends its whole login session.

    An invalid token is not an error (section 2.2).

    Raises:
        OAuthError: the token belongs to another client (section 2.1).
        Unavailable: the token may or may not be revoked. Call again.
    """
    if looks_like_refresh_token(token):
        found = await logins.find_refresh_token(token)
        if found is not None:
            _check_owner(client, found.session.client_id)
            if found.active:
                await logins.end_session(found.session.session_id)
        return
    try:
        who = await logins.authority.verify(token)
    except Unavailable:
        raise
    except AuthError:
        return
    if who.issuer != logins.issuer.issuer:
        return
    _check_owner(client, who.claims.get("client_id"))
    await logins.authority.revoke(token_id=who.token_id, expires_at=who.expires_at or float("inf"))


def _check_owner(client: Client, client_id: object) -> None:
    if client_id != client.client_id:
        raise OAuthError("invalid_grant", "The token is another client's.")
