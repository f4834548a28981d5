"""The HTTP requests of Socket.IO clients."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import unquote, unquote_plus

from roomkey.core.cookies import cookie_values
from roomkey.core.credentials import AUTHORIZATION, Request, page_of

# Needed during the handshake only; for thousands of idle connections they would take memory.
_HANDSHAKE_ONLY = ("connection", "upgrade", "sec-websocket-key", "sec-websocket-version", "sec-websocket-extensions")
NAMES = {
    name.encode(): name
    for name in (
        *_HANDSHAKE_ONLY,
        *("accept", "accept-encoding", "accept-language", "authorization", "cache-control", "content-length"),
        *("content-type", "cookie", "host", "origin", "pragma", "priority", "referer", "sec-fetch-dest"),
        *("sec-fetch-mode", "sec-fetch-site", "transfer-encoding", "user-agent", "x-forwarded-for"),
        "x-forwarded-proto",
    )
}
"""Common header names, so that all connections share one string for each."""


_OPENING = b"/socket.io/?EIO=4&transport=websocket"
_OPENING_PARTS = ("/socket.io/", "EIO=4&transport=websocket")
"""The target of most WebSockets, so that their connections share its two parts."""


def split_target(target: bytes) -> tuple[str, str]:
    """Split a request's target into the path, decoded, and the query, as it is."""
    if target == _OPENING:
        return _OPENING_PARTS
    path, _, query = target.decode("latin-1").partition("?")
    return unquote(path) if "%" in path else path, query


def path_in_app(scope: Mapping[str, Any]) -> str:
    """Return the path of an ASGI scope as the application sees it: without the prefix under which it is mounted.

    ASGI's ``path`` begins with ``root_path``. Where a proxy has already removed its own prefix, frameworks leave
    that out of ``path``, and only the prefix of the mount is there (Starlette's ``app_root_path`` is the proxy's).
    """
    path: str = scope["path"]
    root: str = scope.get("root_path", "").rstrip("/")
    for prefix in (root, root.removeprefix(scope.get("app_root_path", "").rstrip("/"))):
        if prefix and (path == prefix or path.startswith(f"{prefix}/")):
            return path[len(prefix) :]
    return path


class HttpRequest:
    """One HTTP request.

    Args:
        method: ``GET`` and so on.
        path: decoded.
        query: as it is in the URL.
        headers: with names in lower case.
        address: the client's address.
        scheme: ``http`` or ``https``.
    """

    __slots__ = ("address", "headers", "method", "path", "query", "scheme")

    def __init__(
        self,
        method: str,
        path: str,
        query: str,
        headers: Iterable[tuple[bytes, bytes]],
        address: str = "unknown",
        scheme: str = "http",
    ) -> None:
        self.method = method
        self.path = path
        self.query = query
        self.address = address
        self.scheme = scheme
        self.headers: dict[str, str] = {}
        for raw_name, raw_value in headers:
            name = NAMES.get(raw_name) or raw_name.decode("latin-1")
            value = raw_value.decode("latin-1").rstrip(" \t")  # parsers keep the whitespace at the end
            if name in self.headers:  # RFC 9110 section 5.3, RFC 6265 section 5.4
                value = f"{self.headers[name]}{'; ' if name == 'cookie' else ', '}{value}"
            self.headers[name] = value

    def header(self, name: str) -> str | None:
        """Return a header's value, or None."""
        return self.headers.get(name)

    def parameters(self) -> dict[str, str]:
        """Return the query's parameters; for a repeated name, the first value."""
        found: dict[str, str] = {}
        for pair in self.query.split("&"):
            name, _, value = pair.partition("=")
            if "%" in pair or "+" in pair:
                name, value = unquote_plus(name), unquote_plus(value)
            found.setdefault(name, value)
        return found

    def credentials(self, *, may_use_cookies: bool, header: str = AUTHORIZATION) -> Request:
        """Return the parts that may contain tokens.

        Args:
            may_use_cookies: True if the request comes from a page whose origin is allowed.
            header: the name, in lower case, of the header that contains tokens.
        """
        headers = self.headers
        return Request(
            authorization=headers.get(header),
            cookie=headers.get("cookie") if may_use_cookies else None,
            query=self.query,
            origin=page_of(headers.get("origin"), headers.get("sec-fetch-site"), headers.get("host")),
        )

    def cookie(self, name: str) -> str | None:
        """Return a cookie's value, or None."""
        return next(iter(cookie_values(self.headers.get("cookie", ""), name)), None)

    def is_upgrade(self) -> bool:
        """Return True for a WebSocket handshake (RFC 6455 section 4.1)."""
        if self.headers.get("upgrade", "").lower() != "websocket":
            return False
        wanted = self.headers.get("connection", "").lower()
        return wanted == "upgrade" or "upgrade" in [part.strip() for part in wanted.split(",")]

    def after_handshake(self) -> HttpRequest:
        """Remove the headers that are needed for the handshake only, and return the request."""
        for name in _HANDSHAKE_ONLY:
            self.headers.pop(name, None)
        return self

    def environ(self) -> dict[str, Any]:
        """Return the request as a WSGI environ (PEP 3333), which is what python-socketio's connect handlers receive."""
        environ: dict[str, Any] = {
            "REQUEST_METHOD": self.method,
            "PATH_INFO": self.path,
            "QUERY_STRING": self.query,
            "REMOTE_ADDR": self.address,
            "SERVER_PROTOCOL": "HTTP/1.1",
            "wsgi.url_scheme": self.scheme,
        }
        for name, value in self.headers.items():
            if "_" in name:  # it would look like a header with a hyphen, such as one that a proxy sets
                continue
            key = name.upper().replace("-", "_")
            environ[key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{key}"] = value
        return environ
