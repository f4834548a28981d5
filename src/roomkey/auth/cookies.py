"""Tokens in cookies for web pages, which scripts cannot read and other sites cannot use (internal)."""

from __future__ import annotations

from collections.abc import Iterable

from fastapi import Request
from fastapi.responses import Response

from roomkey.auth.http import OAuthError
from roomkey.auth.issued_tokens import IssuedTokens
from roomkey.core import origins
from roomkey.core.cookies import cookie_values
from roomkey.core.http_tokens import is_allowed_page
from roomkey.errors import ConfigError

__all__ = ["ACCESS_COOKIE", "CSRF_HEADER", "REFRESH_COOKIE", "Cookies"]

# The prefix binds a cookie to this host, to HTTPS and to the path / (RFC 6265bis section 4.1.3.2).
ACCESS_COOKIE = "__Host-roomkey"
"""The cookie of the access token, for ``via=Handshake(cookie=ACCESS_COOKIE)``."""

REFRESH_COOKIE = "__Host-roomkey-refresh"
CSRF_HEADER = "Roomkey-CSRF"
"""A header that requests with cookies must contain, with the value ``1``. Forms cannot send it, and scripts of another
origin need permission (CORS)."""

MAX_COOKIE = 4096 - 200
"""The longest token, in characters, that every browser stores next to name and attributes (RFC 6265 section 6.1)."""


class Cookies:
    """The login server's cookies: ``HttpOnly``, ``Secure``, ``SameSite=Strict``.

    Strict has no drawback here: only requests of a page's scripts and handshakes use the cookies, never links.

    Args:
        allowed_origins: origins of other web pages that can use the cookies, such as ``https://app.example.com``. They
            must belong to the same site, or browsers do not send the cookies. The server's own origin always can.

    Raises:
        ConfigError: an entry is not an HTTPS origin.
    """

    def __init__(self, allowed_origins: Iterable[str] = ()) -> None:
        if isinstance(allowed_origins, str):
            allowed_origins = [allowed_origins]
        self._allowed = origins.allowed_origins(allowed_origins, schemes=("https",))

    def check_page(self, request: Request) -> None:
        """Check that an allowed page sent the request, and not another site through its visitor's browser.

        There are two checks, each of which is enough in a browser without faults: the origin (``Origin``, or
        ``Sec-Fetch-Site`` without it), and a header that forms cannot send.

        Raises:
            OAuthError: 403; one of the checks failed.
        """
        if request.headers.get(CSRF_HEADER) != "1":
            raise OAuthError("forbidden", f"With cookies, send the header {CSRF_HEADER}: 1.", 403)
        if not self._is_allowed(request):
            raise OAuthError("forbidden", "With cookies, send requests from an allowed page (Origin).", 403)

    def _is_allowed(self, request: Request) -> bool:
        headers = request.headers
        own = origins.own_origin("https", headers.get("host"))
        return is_allowed_page(headers.get("origin"), headers.get("sec-fetch-site"), own, self._allowed)

    def check_tls(self, request: Request) -> None:
        """Check that the request uses HTTPS; browsers accept the cookies only then.

        Raises:
            OAuthError: 400; it does not.
        """
        if request.url.scheme != "https":
            raise OAuthError("invalid_request", "The server sets cookies only over HTTPS.")

    def access_token(self, request: Request) -> str | None:
        """Return the access token of a request, or None."""
        return _only(request, ACCESS_COOKIE)

    def refresh_token(self, request: Request) -> str | None:
        """Return the refresh token of a request, or None."""
        return _only(request, REFRESH_COOKIE)

    def set(self, response: Response, issued: IssuedTokens) -> None:
        """Set the cookies in a response.

        Raises:
            ConfigError: the access token is longer than browsers store.
        """
        if len(issued.access_token) > MAX_COOKIE:
            raise ConfigError(
                f"the access token has {len(issued.access_token)} characters, but a cookie keeps at most {MAX_COOKIE}"
            )
        _set(response, ACCESS_COOKIE, issued.access_token, issued.expires_in)
        if issued.refresh_token is not None:
            _set(response, REFRESH_COOKIE, issued.refresh_token, issued.ends_in)

    def remove(self, response: Response) -> None:
        """Delete the cookies in a response."""
        for name in (ACCESS_COOKIE, REFRESH_COOKIE):
            _set(response, name, "", 0)


def _set(response: Response, name: str, value: str, max_age: int) -> None:
    response.set_cookie(name, value, max_age=max_age, path="/", secure=True, httponly=True, samesite="strict")


def _only(request: Request, name: str) -> str | None:
    """Return the value of a cookie; None if there is none, or several: browsers have only one of this prefix."""
    header = "; ".join(request.headers.getlist("cookie"))
    values = cookie_values(header, name)
    return values[0] if len(values) == 1 and values[0] else None
