"""Access and refresh tokens in requests: in the header, the body, or a cookie from an allowed page (internal)."""

from __future__ import annotations

from typing import TypeVar

from fastapi import Request
from fastapi.responses import Response
from pydantic import BaseModel, Field

from roomkey.auth.cookies import Cookies
from roomkey.auth.http import (
    AllowRevoked,
    OAuthError,
    is_body_empty,
    parse_body,
    verify_authorization,
    verify_bearer,
)
from roomkey.auth.issued_tokens import OWN_CLIENT
from roomkey.auth.token_authority import TokenAuthority
from roomkey.core.http_tokens import challenge
from roomkey.core.identity import Identity

__all__ = ["RefreshRequest", "RequestAuthenticator"]

AnyResponse = TypeVar("AnyResponse", bound=Response)


class RefreshRequest(BaseModel):
    """A refresh token; with cookies, send no body."""

    refresh_token: str = Field(min_length=1)


class RequestAuthenticator:
    """Finds and verifies the tokens in requests.

    Args:
        authority: verifies access tokens.
        cookies: the login server's cookies; None if it sets none.
        issuer: ``iss`` of the tokens that the routes accept. A guard may also accept tokens of other issuers.
    """

    def __init__(self, authority: TokenAuthority, cookies: Cookies | None, issuer: str | None) -> None:
        self._authority = authority
        self._issuer = issuer
        self._cookies = cookies

    async def identity(self, request: Request, *, allow_revoked: AllowRevoked | None = None) -> Identity:
        """Verify the access token of a request, and return its identity.

        The header takes precedence over the cookie. Other sites cannot forge the header, so the page is not checked. An
        OAuth client's token is rejected: only the user's own login can change the devices and the password.

        Args:
            request: the request.
            allow_revoked: decides whether to accept a revoked token. Default: never.

        Raises:
            OAuthError: 401 if the token is missing or invalid; 403 if it is in a cookie and the page is not allowed, or
                if it belongs to an OAuth client.
            Unavailable: the token cannot be verified now.
        """
        who = await self._verify(request, allow_revoked=allow_revoked)
        if who.issuer != self._issuer or who.claim("client_id", OWN_CLIENT) != OWN_CLIENT:
            raise OAuthError(
                "insufficient_scope", "This requires the user's own login.", 403, challenge("insufficient_scope")
            )
        return who

    async def _verify(self, request: Request, *, allow_revoked: AllowRevoked | None) -> Identity:
        cookies = self._cookies
        if cookies is not None and "authorization" not in request.headers:
            token = cookies.access_token(request)
            if token is not None:
                cookies.check_page(request)
                return await verify_bearer(token, self._authority, "cookie", allow_revoked=allow_revoked)
        return await verify_authorization(request, self._authority, allow_revoked=allow_revoked)

    async def has_refresh_token(self, request: Request) -> bool:
        """Return True if the request has a body, or the cookie."""
        has_cookie = self._cookies is not None and self._cookies.refresh_token(request) is not None
        return has_cookie or not await is_body_empty(request)

    async def refresh_token(self, request: Request) -> tuple[str, Cookies | None]:
        """Return the refresh token of the body, or of the cookie if there is no body.

        Returns:
            The token, and the cookies if it was in a cookie; then the successor also goes into a cookie.

        Raises:
            OAuthError: 400 if there is no token; 403 if it is in a cookie, and the page is not allowed.
        """
        cookies = self._cookies
        if cookies is not None and await is_body_empty(request):
            token = cookies.refresh_token(request)
            if token is not None:
                cookies.check_page(request)
                return token, cookies
        return (await parse_body(request, RefreshRequest, "Send refresh_token, a string.")).refresh_token, None

    def cookies_for(self, request: Request) -> Cookies:
        """Return the cookies, for a page that asks for them.

        Raises:
            OAuthError: 400 if the server sets no cookies, or without HTTPS; 403 if the page is not allowed.
        """
        if self._cookies is None:
            raise OAuthError("invalid_request", "This server does not set cookies.")
        self._cookies.check_tls(request)
        self._cookies.check_page(request)
        return self._cookies

    def without_cookies(self, request: Request, response: AnyResponse) -> AnyResponse:
        """Return the response; for a page with cookies, it deletes them."""
        if self._cookies is not None and "authorization" not in request.headers:
            self._cookies.remove(response)
        return response
