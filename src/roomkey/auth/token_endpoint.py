"""The token endpoint, with the grants of RFC 6749 sections 4.1.3, 4.4 and 6 (internal)."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from pydantic import Field

from roomkey import audit
from roomkey.auth.authorization_codes import AuthorizationCodes
from roomkey.auth.client_auth import ClientFields, is_enabled
from roomkey.auth.http import OAuthError
from roomkey.auth.issued_tokens import ClientInfo, InvalidGrant, InvalidScope
from roomkey.auth.login_service import LoginService
from roomkey.auth.router import TokenAnswer, token_answer
from roomkey.core.names import scope_names
from roomkey.stores import Client, Clients

__all__ = ["TokenEndpoint", "TokenRequest", "scope_for"]

INVALID_GRANT = "The code or refresh token is not valid (any more) for this client."
INVALID_SCOPE = "The client cannot have this scope."


class TokenRequest(ClientFields):
    """A request for tokens. Each grant type requires its own parameters."""

    grant_type: str
    code: str | None = Field(default=None, description="for authorization_code")
    redirect_uri: str | None = Field(
        None, description="for authorization_code: the redirect URI that received the code"
    )
    code_verifier: str | None = Field(default=None, description="for authorization_code (RFC 7636)")
    refresh_token: str | None = Field(default=None, description="for refresh_token")
    scope: str | None = Field(default=None, description="for refresh_token and client_credentials")


class TokenEndpoint:
    """Issues tokens to authenticated clients.

    Args:
        logins: starts and refreshes login sessions.
        clients: the OAuth clients.
        codes: exchanges authorization codes.
    """

    def __init__(self, logins: LoginService, clients: Clients, codes: AuthorizationCodes) -> None:
        self._logins = logins
        self._clients = clients
        self._codes = codes
        self._grants: dict[str, tuple[tuple[str, ...], Grant]] = {
            "authorization_code": (("code", "redirect_uri", "code_verifier"), self._authorization_code),
            "refresh_token": (("refresh_token",), self._refresh_token),
            "client_credentials": ((), self._client_credentials),
        }

    async def handle(self, client: Client, request: TokenRequest, info: ClientInfo) -> TokenAnswer:
        """Return the tokens for a request.

        Args:
            client: the client, which was authenticated.
            request: the body.
            info: the client's address.

        Raises:
            OAuthError: an error of RFC 6749 section 5.2.
            Unavailable: a store does not respond.
        """
        if request.grant_type not in self._grants:
            raise OAuthError("unsupported_grant_type", f"Use a grant_type of {', '.join(self._grants)}.")
        if request.grant_type not in client.grants:
            raise OAuthError("unauthorized_client", "This client cannot use this grant_type.")
        required, grant = self._grants[request.grant_type]
        if any(getattr(request, name) is None for name in required):
            raise OAuthError("invalid_request", f"{request.grant_type} requires {', '.join(required)}, each a string.")
        try:
            return await grant(client, request, info)
        except InvalidScope:
            raise OAuthError("invalid_scope", INVALID_SCOPE) from None
        except InvalidGrant as error:
            audit.record(
                "token_refused",
                level=logging.WARNING,
                grant=request.grant_type,
                client_id=client.client_id,
                reason=str(error),
                address=info.address,
            )
            raise OAuthError("invalid_grant", INVALID_GRANT) from None

    async def _authorization_code(self, client: Client, request: TokenRequest, info: ClientInfo) -> TokenAnswer:
        issued = await self._codes.exchange(
            request.code or "", client, redirect_uri=request.redirect_uri or "", verifier=request.code_verifier or ""
        )
        await self._check_still_enabled(client, issued.session.session_id)
        return token_answer(issued)

    async def _refresh_token(self, client: Client, request: TokenRequest, info: ClientInfo) -> TokenAnswer:
        issued = await self._logins.refresh(
            request.refresh_token or "",
            info,
            client_id=client.client_id,
            first_party=client.first_party,
            scope=request.scope or "",
            allowed=client.scopes,
        )
        return token_answer(issued)

    async def _client_credentials(self, client: Client, request: TokenRequest, info: ClientInfo) -> TokenAnswer:
        """Issue a token for the client itself. There is no login session, so no ``sid`` and no refresh token."""
        scope = scope_for(client, request.scope)
        # RFC 9700 section 4.15: a service must not be mistaken for a user of the same name.
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
        await self._check_still_enabled(client)
        audit.record("login", outcome="granted", sub=client.client_id, reason="client secret", address=info.address)
        return TokenAnswer(
            access_token=token, expires_in=int(issuer.expires_in), refresh_token=None, scope=scope or None
        )

    async def _check_still_enabled(self, client: Client, session_id: str | None = None) -> None:
        """Check the client again: disabling it ends the sessions that exist, and this one may have started after that.

        Raises:
            InvalidGrant: the client was disabled or removed, or has another secret.
        """
        current = await self._clients.find(client.client_id)
        if current is not None and is_enabled(current) and current.secret_hash == client.secret_hash:
            return
        if session_id is not None:
            await self._logins.end_session(session_id)
        raise InvalidGrant("the client was disabled, or its secret changed, meanwhile")


Grant = Callable[[Client, TokenRequest, ClientInfo], Awaitable[TokenAnswer]]


def scope_for(client: Client, requested: str | None) -> str:
    """Return the requested scopes; all scopes of the client if it requests none (RFC 6749 section 3.3).

    Raises:
        InvalidScope: the client cannot have a requested scope.
    """
    scopes = dict.fromkeys(scope_names(requested or "")) or dict.fromkeys(client.scopes)
    if not scopes.keys() <= set(client.scopes):
        raise InvalidScope("more scopes than the client may have")
    return " ".join(scopes)
