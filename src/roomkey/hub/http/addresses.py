"""The address and the scheme of a request: those of its connection, or the ones that a trusted proxy names."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn import Config
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from roomkey.hub.http.heads import RawHeaders
from roomkey.hub.http.requests import HttpRequest

FORWARDED = ("x-forwarded-for", "x-forwarded-proto")
"""The headers that uvicorn's middleware reads."""


class Addresses:
    """Sets the address and the scheme of requests.

    Attributes:
        proxies: uvicorn's middleware that knows which proxies to trust, or None if no proxy is trusted.
    """

    def __init__(self) -> None:
        self.proxies: ProxyHeadersMiddleware | None = None

    def configure(self, config: Config) -> None:
        """Trust the proxies that uvicorn trusts."""
        if config.proxy_headers and self.proxies is None:
            self.proxies = ProxyHeadersMiddleware(_nothing, config.forwarded_allow_ips)

    def set(self, request: HttpRequest, peer: str, scheme: str, headers: RawHeaders | None = None) -> None:
        """Set the address and the scheme of a request.

        Args:
            request: the request.
            peer: the address at the other end of the connection.
            scheme: ``http`` or ``https``, for the connection.
            headers: the request's headers as they are, if a name may be there twice.
        """
        request.address, request.scheme = peer, scheme
        if self.proxies is None:
            return
        if headers is None:
            found = [(name, request.headers[name]) for name in FORWARDED if name in request.headers]
            headers = [(name.encode(), value.encode("latin-1")) for name, value in found]
        scope: dict[str, Any] = {"type": "http", "scheme": scheme, "client": (peer, 0), "headers": headers}
        # Nothing in the middleware waits, so one step runs all of it.
        try:
            self.proxies(scope, None, None).send(None)  # type: ignore[arg-type]
        except StopIteration:
            request.address = scope["client"][0]
            request.scheme = "https" if scope["scheme"] in ("https", "wss") else "http"


def peer_of(transport: asyncio.BaseTransport) -> str:
    """Return the address at the other end of a connection."""
    peer = transport.get_extra_info("peername")
    return str(peer[0]) if isinstance(peer, tuple) else "unknown"


def scheme_of(transport: asyncio.BaseTransport) -> str:
    """Return the scheme of a connection: ``https`` if it is encrypted."""
    return "https" if transport.get_extra_info("ssl_object") is not None else "http"


async def _nothing(*_arguments: Any) -> None:
    """Stand in for the application behind the proxy middleware."""
