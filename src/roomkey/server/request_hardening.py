"""Middleware in front of all routes: it limits bodies, removes forged headers and adds security headers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from roomkey.extras import needs

with needs("server", "roomkey.server.request_hardening"):
    from starlette.datastructures import MutableHeaders
    from starlette.responses import JSONResponse
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["MAX_BODY", "PROXIED", "RequestHardening"]

MAX_BODY = 1_000_000
"""Limit of a request body and of a WebSocket message, in bytes; python-socketio has the same default."""

PROXIED = "roomkey.proxied"
"""The key in the scope that is True if the request has a header that proxies add."""


class RequestHardening:
    """ASGI middleware around the whole application.

    Args:
        app: the application.
        script_origins: other origins from which the page loads scripts.

    Attributes:
        headers: the security headers of every response.
    """

    def __init__(self, app: ASGIApp, *, script_origins: Iterable[str] = ()) -> None:
        self._app = app
        scripts = " ".join(("'self'", *script_origins))
        self.headers = {
            "Content-Security-Policy": f"default-src 'none'; script-src {scripts}; style-src 'self'; img-src 'self'; "
            "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
            "Referrer-Policy": "no-referrer",
            "X-Content-Type-Options": "nosniff",
            "X-Frame-Options": "DENY",
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection (ASGI 3)."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        is_proxied = any(_is_of_a_proxy(name) for name, _ in scope["headers"])
        scope = {**scope, "headers": _without_proxy_headers(scope), PROXIED: is_proxied}
        if scope["type"] == "websocket":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self.headers.items():
                    headers.setdefault(name, value)  # a route's own header takes precedence
            await send(message)

        rejection = _check_body(dict(scope["headers"]))
        await (rejection or self._app)(scope, receive, send_with_headers)


def _is_of_a_proxy(name: bytes) -> bool:
    return name.startswith(b"x-forwarded-") or name in (b"forwarded", b"via", b"x-real-ip")


def _without_proxy_headers(scope: Scope) -> list[tuple[bytes, bytes]]:
    """Return the request's headers without those that a proxy adds.

    If they come from a trusted proxy, uvicorn has already applied them to the scope. engineio would trust them from any
    client, and compare the origin of a web page with a host that the client chose.
    """
    kept = [(n, v) for n, v in scope["headers"] if not n.startswith(b"x-forwarded-") and n != b"forwarded"]
    scheme = "https" if scope["scheme"] in ("https", "wss") else "http"
    return [*kept, (b"x-forwarded-proto", scheme.encode())]


def _check_body(headers: dict[bytes, bytes]) -> Any:
    """Return a response that rejects the body, or None. engineio would read the whole body before checking its size."""
    if b"transfer-encoding" in headers:
        return _rejection("Send a Content-Length.", 411)
    length = headers.get(b"content-length", b"0")
    digits = length.lstrip(b"0") or b"0"
    if not length.isdigit() or len(digits) > 12 or int(digits) > MAX_BODY:
        return _rejection(f"The body has more than {MAX_BODY} bytes.", 413)
    return None


def _rejection(description: str, status: int) -> JSONResponse:
    body = {"error": "invalid_request", "error_description": description}
    return JSONResponse(body, status, {"Connection": "close"})
