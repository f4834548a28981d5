"""What a client may ask tokens for: the grants of RFC 6749 sections 4.1.3, 4.4 and 6, and no other."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from pydantic import Field

from roomkey import audit
from roomkey.auth.client_authentication import ClientFields, is_served
from roomkey.auth.codes import Codes
from roomkey.auth.http import OAuthError
from roomkey.auth.logins import InvalidGrant, InvalidScope, LoginService, Origin
from roomkey.auth.router import TokenAnswer, tokens
from roomkey.core.names import scope_names
from roomkey.stores.clients import Client, Clients

__all__ = ["TokenGrants", "TokenRequest", "scope_for"]

REFUSED = "The code or refresh token is not, or no longer, good for this client."
TOO_WIDE = "The scope is more than the client may have."


class TokenRequest(ClientFields):
    """A request for tokens; each grant needs the members of its own."""

    grant_type: str
    code: str | None = Field(default=None, description="for authorization_code")
    redirect_uri: str | None = Field(None, description="for authorization_code: where the code was sent")
    code_verifier: str | None = Field(default=None, description="for authorization_code (RFC 7636)")
    refresh_token: str | None = Field(default=None, description="for refresh_token")
    scope: str | None = Field(default=None, description="for refresh_token and client_credentials")


class TokenGrants:
    """Gives tokens to clients that have shown who they are.

    Args:
        logins: begins and refreshes logins.
        clients: those there are.
        codes: takes authorization codes in.
    """

    def __init__(self, logins: LoginService, clients: Clients, codes: Codes) -> None:
        self._logins = logins
        self._clients = clients
        self._codes = codes
        self._grants: dict[str, tuple[tuple[str, ...], Grant]] = {
            "authorization_code": (("code", "redirect_uri", "code_verifier"), self._authorization_code),
            "refresh_token": (("refresh_token",), self._refresh_token),
            "client_credentials": ((), self._client_credentials),
        }

    async def give(self, client: Client, asked: TokenRequest, origin: Origin) -> TokenAnswer:
        """Tokens for a request.

        Raises:
            OAuthError: an error of RFC 6749 section 5.2.
            Unavailable: nobody can say.
        """
        if asked.grant_type not in self._grants:
            raise OAuthError("unsupported_grant_type", f"grant_type is one of {', '.join(self._grants)}.")
        if asked.grant_type not in client.grants:
            raise OAuthError("unauthorized_client", "This client may not use this grant_type.")
        needed, grant = self._grants[asked.grant_type]
        if any(getattr(asked, name) is None for name in needed):
            raise OAuthError("invalid_request", f"{asked.grant_type} needs {', '.join(needed)}, each a string.")
        try:
            return await grant(client, asked, origin)
        except InvalidScope:
            raise OAuthError("invalid_scope", TOO_WIDE) from None
        except InvalidGrant as error:
            audit.record(
                "token_refused",
                level=logging.WARNING,
                grant=asked.grant_type,
                client_id=client.client_id,
                reason=str(error),
                address=origin.address,
            )
            raise OAuthError("invalid_grant", REFUSED) from None

    async def _authorization_code(self, client: Client, asked: TokenRequest, origin: Origin) -> TokenAnswer:
        granted = await self._codes.exchange(
            asked.code or "", client, redirect_uri=asked.redirect_uri or "", verifier=asked.code_verifier or ""
        )
        await self._check_still_served(client, granted.session.session_id)
        return tokens(granted)

    async def _refresh_token(self, client: Client, asked: TokenRequest, origin: Origin) -> TokenAnswer:
        granted = await self._logins.refresh(
            asked.refresh_token or "",
            origin,
            client_id=client.client_id,
            first_party=client.first_party,
            scope=asked.scope or "",
            allowed=client.scopes,
        )
        return tokens(granted)

    async def _client_credentials(self, client: Client, asked: TokenRequest, origin: Origin) -> TokenAnswer:
        """A token for the client itself: nobody has logged in, so that there is no ``sid`` and nothing to refresh."""
        scope = scope_for(client, asked.scope)
        # RFC 9700 section 4.15: nobody may take a service for a person of the same name.
        if await self._logins.accounts.find(client.client_id) is not None:
            raise InvalidGrant("an account has the client's name")
        issuer = self._logins.issuer
        token = issuer.issue(
            client.client_id,
            roles=client.roles,
            rooms=client.rooms,
            scopes=scope_names(scope),
            claims={"client_id": client.client_id},
        )
        await self._check_still_served(client)
        audit.record("login", outcome="granted", sub=client.client_id, reason="client secret", address=origin.address)
        return TokenAnswer(
            access_token=token, expires_in=int(issuer.expires_in), refresh_token=None, scope=scope or None
        )

    async def _check_still_served(self, client: Client, session_id: str | None = None) -> None:
        """Whoever disables a client ends the logins that there are, and this one may have begun after that.

        Raises:
            InvalidGrant: it was disabled or removed, or has another secret.
        """
        current = await self._clients.find(client.client_id)
        if current is not None and is_served(current) and current.secret_hash == client.secret_hash:
            return
        if session_id is not None:
            await self._logins.end_login(session_id)
        raise InvalidGrant("the client was disabled, or its secret changed, meanwhile")


Grant = Callable[[Client, TokenRequest, Origin], Awaitable[TokenAnswer]]


def scope_for(client: Client, asked: str | None) -> str:
    """What a client gets: what it asks for, or all it may have where it asks for nothing (RFC 6749 section 3.3).

    Raises:
        InvalidScope: it asks for more.
    """
    wanted = dict.fromkeys(scope_names(asked or "")) or dict.fromkeys(client.scopes)
    if not wanted.keys() <= set(client.scopes):
        raise InvalidScope("more scopes than the client may have")
    return " ".join(wanted)
