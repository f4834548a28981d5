"""Origins whose web pages can connect: the server's own, and allowed ones (RFC 6454, CORS in Fetch)."""

from __future__ import annotations

from collections.abc import Callable

from roomkey.core.callables import accepts
from roomkey.core.origins import Origin, allowed_origins, origin_of, own_origin
from roomkey.hub.http.requests import HttpRequest
from roomkey.hub.settings import AnyOrigin


class Origins:
    """Checks the origin of polling and WebSocket requests.

    Args:
        allowed: other origins that are allowed: None for no other, one, several, ``"*"`` for all, or a function
            ``allowed(origin)`` or ``allowed(origin, environ)``. An empty list turns the check off.

    Raises:
        ConfigError: an entry is not a valid origin, so it would never match.
    """

    def __init__(self, allowed: AnyOrigin = None) -> None:
        self._ask: Callable[..., bool] | None = None
        self._named: frozenset[Origin] = frozenset()
        self.everybody = allowed == "*" or (isinstance(allowed, (list, tuple)) and not allowed)
        if self.everybody or allowed is None:
            return
        if callable(allowed):
            self._ask = allowed if accepts(allowed, "origin", {}) else lambda origin, _environ: allowed(origin)
            return
        self._named = allowed_origins([allowed] if isinstance(allowed, str) else allowed)

    def allows(self, request: HttpRequest) -> bool:
        """Return True if the request comes from an allowed page, or not from a page."""
        origin = request.header("origin")
        if origin is None or self.everybody:
            return True
        return self._is_own(origin, request) or self._is_named(origin, request)

    def may_use_cookies(self, request: HttpRequest) -> bool:
        """Return True if the request's cookies may be used: an allowed page sent it, not any page on the web."""
        origin = request.header("origin")
        if origin is None:
            return request.header("sec-fetch-site") == "same-origin"
        return self._is_own(origin, request) or self._is_named(origin, request)

    def headers(self, request: HttpRequest) -> list[tuple[bytes, bytes]]:
        """Return the CORS headers with which a browser lets a page of another origin read the response."""
        origin = request.header("origin")
        if origin is None or not self.allows(request):
            return []
        headers = [(b"access-control-allow-origin", origin.encode("latin-1")), (b"vary", b"Origin")]
        if self.may_use_cookies(request):
            headers.append((b"access-control-allow-credentials", b"true"))
        if request.method == "OPTIONS":
            headers.append((b"access-control-allow-methods", b"GET, POST, OPTIONS"))
            asked = request.header("access-control-request-headers")
            if asked is not None:
                headers.append((b"access-control-allow-headers", asked.encode("latin-1")))
            headers.append((b"access-control-max-age", b"600"))
        return headers

    def _is_own(self, origin: str, request: HttpRequest) -> bool:
        asking = origin_of(origin)
        return asking is not None and asking == own_origin(request.scheme, request.header("host"))

    def _is_named(self, origin: str, request: HttpRequest) -> bool:
        if self._ask is not None:
            return self._ask(origin, request.environ()) is True
        return origin_of(origin) in self._named
