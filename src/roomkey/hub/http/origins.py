"""Which pages may connect: the same origin, and those that are named (RFC 6454, Fetch's CORS protocol)."""

from __future__ import annotations

from collections.abc import Callable

from roomkey.core.callables import accepts
from roomkey.core.origins import Origin, allowed_origins, origin_of, own_origin
from roomkey.hub.http.requests import HttpRequest
from roomkey.hub.settings import AnyOrigin


class Origins:
    """The origin check, for polling and WebSocket alike.

    Args:
        allowed: None for the same origin only; an origin, or several, to allow besides; ``"*"`` for all; a function
            ``allowed(origin)`` or ``allowed(origin, environ)``; an empty list to leave the check to somebody else.

    Raises:
        ConfigError: an entry that is not an origin, and so never matches.
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
        """True if the request comes from an allowed page, or from no page at all."""
        origin = request.header("origin")
        if origin is None or self.everybody:
            return True
        return self._is_own(origin, request) or self._is_named(origin, request)

    def cookies_count(self, request: HttpRequest) -> bool:
        """True if cookies speak for the person: an allowed page asked, and not whoever holds a page somewhere."""
        origin = request.header("origin")
        if origin is None:
            return request.header("sec-fetch-site") == "same-origin"
        return self._is_own(origin, request) or self._is_named(origin, request)

    def headers(self, request: HttpRequest) -> list[tuple[bytes, bytes]]:
        """What a browser wants to read before it hands an answer to a page of another origin."""
        origin = request.header("origin")
        if origin is None or not self.allows(request):
            return []
        headers = [(b"access-control-allow-origin", origin.encode("latin-1")), (b"vary", b"Origin")]
        if self.cookies_count(request):
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
