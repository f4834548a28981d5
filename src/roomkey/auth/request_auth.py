"""Who asks: by a Bearer token in the header, or by a cookie from an allowed page."""

from __future__ import annotations

from typing import TypeVar

from fastapi import Request
from fastapi.responses import Response
from pydantic import BaseModel, Field

from roomkey.auth.cookies import Cookies
from roomkey.auth.http import EvenRevoked, OAuthError, bearer, challenge, holder, is_empty, read
from roomkey.auth.issued_tokens import OWN_CLIENT
from roomkey.auth.token_authority import TokenAuthority
from roomkey.core.identity import Identity

__all__ = ["RefreshRequest", "RequestAuthenticator"]

AnyResponse = TypeVar("AnyResponse", bound=Response)


class RefreshRequest(BaseModel):
    """What is to be exchanged for new tokens; nothing at all with cookies."""

    refresh_token: str = Field(min_length=1)


class RequestAuthenticator:
    """Finds tokens in requests.

    Args:
        live: decides about access tokens.
        cookies: None where none are given.
        issuer: whose tokens may ask here: a guard may take those of others besides.
    """

    def __init__(self, live: TokenAuthority, cookies: Cookies | None, issuer: str | None) -> None:
        self._live = live
        self._issuer = issuer
        self._cookies = cookies

    async def who(self, request: Request, *, even_revoked: EvenRevoked | None = None) -> Identity:
        """Whose access token the request carries. The header goes first; it cannot be forged, so it is not checked.

        A token that a person gave to another application opens nothing here: the devices and the password are theirs.

        Args:
            even_revoked: whether one is taken that is good but for being revoked; never if absent.

        Raises:
            OAuthError: 401 without a good one; 403 if it is in a cookie and the page is not an allowed one, or if it is
                another application's.
            Unavailable: nobody can say.
        """
        who = await self._holder(request, even_revoked=even_revoked)
        if who.issuer != self._issuer or who.claim("client_id", OWN_CLIENT) != OWN_CLIENT:
            raise OAuthError(
                "insufficient_scope", "This is for the person's own login.", 403, challenge("insufficient_scope")
            )
        return who

    async def _holder(self, request: Request, *, even_revoked: EvenRevoked | None) -> Identity:
        cookies = self._cookies
        if cookies is not None and "authorization" not in request.headers:
            token = cookies.access_token(request)
            if token is not None:
                cookies.check_page(request)
                return await holder(token, self._live, "cookie", even_revoked=even_revoked)
        return await bearer(request, self._live, even_revoked=even_revoked)

    async def has_refresh_token(self, request: Request) -> bool:
        """True if the request has a body, or the cookie."""
        has_cookie = self._cookies is not None and self._cookies.refresh_token(request) is not None
        return has_cookie or not await is_empty(request)

    async def refresh_token(self, request: Request) -> tuple[str, Cookies | None]:
        """The refresh token of the body; of the cookie, if there is no body.

        Returns:
            The token, and the cookies if it came in one: its successor does, too.

        Raises:
            OAuthError: 400 if there is none; 403 if it is in a cookie, and the page is not an allowed one.
        """
        cookies = self._cookies
        if cookies is not None and await is_empty(request):
            token = cookies.refresh_token(request)
            if token is not None:
                cookies.check_page(request)
                return token, cookies
        return (await read(request, RefreshRequest, "Send refresh_token, a string.")).refresh_token, None

    def cookies_for(self, request: Request) -> Cookies:
        """The cookies, for a page that asks for them.

        Raises:
            OAuthError: 400 if there are none, or no HTTPS; 403 if the page is not an allowed one.
        """
        if self._cookies is None:
            raise OAuthError("invalid_request", "This server gives no cookies.")
        self._cookies.check_tls(request)
        self._cookies.check_page(request)
        return self._cookies

    def without_cookies(self, request: Request, response: AnyResponse) -> AnyResponse:
        """The answer; if it is to a page with cookies, the browser forgets them."""
        if self._cookies is not None and "authorization" not in request.headers:
            self._cookies.remove(response)
        return response
