"""Tokens in cookies, for pages of a browser: no script can read them, and no other site can make use of them."""

from __future__ import annotations

from collections.abc import Iterable

from fastapi import Request
from fastapi.responses import Response

from roomkey.auth.http import OAuthError
from roomkey.auth.issued_tokens import IssuedTokens
from roomkey.core import origins
from roomkey.core.credentials import cookie_values
from roomkey.errors import ConfigError

__all__ = ["ACCESS_COOKIE", "CSRF_HEADER", "REFRESH_COOKIE", "Cookies"]

# The prefix binds a cookie to this very host, to HTTPS and to the path / (RFC 6265bis section 4.1.3.2).
ACCESS_COOKIE = "__Host-roomkey"
"""Its name, for ``via=Handshake(cookie=ACCESS_COOKIE)``."""

REFRESH_COOKIE = "__Host-roomkey-refresh"
CSRF_HEADER = "Roomkey-CSRF"
"""Has to be there, with the value ``1``: a form cannot send it, and a script of another origin has to ask first."""

MAX_COOKIE = 4096 - 200
"""Characters of a token that every browser keeps, beside the name and the attributes (RFC 6265 section 6.1)."""


class Cookies:
    """The login server's cookies: ``HttpOnly``, ``Secure``, ``SameSite=Strict``.

    Strict costs nothing: they are read by requests of a page's script and by socket handshakes, never when somebody
    follows a link.

    Args:
        allowed_origins: pages of other origins that may use them, such as ``https://app.example.com``; they have to be
            of the same site, or the browser keeps the cookies back. The server's own origin always may.

    Raises:
        ConfigError: an entry that is not an origin of HTTPS.
    """

    def __init__(self, allowed_origins: Iterable[str] = ()) -> None:
        if isinstance(allowed_origins, str):
            allowed_origins = [allowed_origins]
        self._allowed = origins.allowed_origins(allowed_origins, schemes=("https",))

    def check_page(self, request: Request) -> None:
        """Whether the request was made by an allowed page, and not by another site through its visitor's browser.

        Two checks, each of which is enough in a browser without faults: where it comes from (``Origin``, or
        ``Sec-Fetch-Site`` where that is absent), and a header that a form cannot send.

        Raises:
            OAuthError: 403.
        """
        if request.headers.get(CSRF_HEADER) != "1":
            raise OAuthError("forbidden", f"With cookies, send the header {CSRF_HEADER}: 1.", 403)
        if not self._is_allowed(request):
            raise OAuthError("forbidden", "With cookies, the Origin of a request is an allowed page.", 403)

    def _is_allowed(self, request: Request) -> bool:
        origin = request.headers.get("origin")
        if origin is None:
            return request.headers.get("sec-fetch-site") == "same-origin"
        asking = origins.origin_of(origin)
        if asking is None:
            return False
        return asking == origins.own_origin("https", request.headers.get("host")) or asking in self._allowed

    def check_tls(self, request: Request) -> None:
        """Whether they can be set: browsers take them over HTTPS alone.

        Raises:
            OAuthError: 400.
        """
        if request.url.scheme != "https":
            raise OAuthError("invalid_request", "Cookies are given over HTTPS only.")

    def access_token(self, request: Request) -> str | None:
        """The access token that a request carries, or None."""
        return _only(request, ACCESS_COOKIE)

    def refresh_token(self, request: Request) -> str | None:
        """The refresh token that a request carries, or None."""
        return _only(request, REFRESH_COOKIE)

    def put(self, response: Response, granted: IssuedTokens) -> None:
        """Let an answer set them.

        Raises:
            ConfigError: the access token is longer than browsers keep.
        """
        if len(granted.access_token) > MAX_COOKIE:
            raise ConfigError(f"an access token of {len(granted.access_token)} characters fits into no cookie")
        _set(response, ACCESS_COOKIE, granted.access_token, granted.expires_in)
        if granted.refresh_token is not None:
            _set(response, REFRESH_COOKIE, granted.refresh_token, granted.ends_in)

    def remove(self, response: Response) -> None:
        """Let an answer remove them."""
        for name in (ACCESS_COOKIE, REFRESH_COOKIE):
            _set(response, name, "", 0)


def _set(response: Response, name: str, value: str, max_age: int) -> None:
    response.set_cookie(name, value, max_age=max_age, path="/", secure=True, httponly=True, samesite="strict")


def _only(request: Request, name: str) -> str | None:
    """The cookie's value; None if there is none, or several: a browser has one of this prefix."""
    header = "; ".join(request.headers.getlist("cookie"))
    values = cookie_values(header, name)
    return values[0] if len(values) == 1 and values[0] else None
