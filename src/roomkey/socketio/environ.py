"""The parts of a connection's WSGI environ that a guard needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any
from urllib.parse import parse_qs

from roomkey.core.credentials import AUTHORIZATION, Request, page_of
from roomkey.core.http_tokens import is_allowed_page
from roomkey.core.origins import Origin, own_origin

ReadRequest = Callable[[Mapping[str, Any]], Request]


def address(environ: Mapping[str, Any]) -> str:
    """Return the client's address; engineio's own REMOTE_ADDR is a constant under ASGI."""
    scope = environ.get("asgi.scope")
    if isinstance(scope, Mapping):
        client = scope.get("client")
        return str(client[0]) if client else "unknown"
    asked = environ.get("aiohttp.request")
    return str(getattr(asked, "remote", None) or environ.get("REMOTE_ADDR") or "unknown")


def request_reader(header: str = AUTHORIZATION, cookie_origins: frozenset[Origin] | None = None) -> ReadRequest:
    """Return the function that finds the parts of a request that can contain tokens.

    A cookie counts only if a web page of an allowed origin sends it.

    Args:
        header: the name, in lower case, of the header that contains tokens.
        cookie_origins: the origins whose cookies count, besides the server's own. None if engineio has already refused
            the requests of other pages.
    """
    key = f"HTTP_{header.upper().replace('-', '_')}"
    return partial(_request, key, cookie_origins)


def _request(header: str, cookie_origins: frozenset[Origin] | None, environ: Mapping[str, Any]) -> Request:
    origin, fetch_site = environ.get("HTTP_ORIGIN"), environ.get("HTTP_SEC_FETCH_SITE")
    page = page_of(origin, fetch_site, environ.get("HTTP_HOST"))
    may_use_cookies = page is not None
    if cookie_origins is not None and "HTTP_COOKIE" in environ:
        own = own_origin(_scheme(environ), environ.get("HTTP_HOST"))
        may_use_cookies = is_allowed_page(origin or None, fetch_site, own, cookie_origins)
    return Request(
        authorization=environ.get(header),
        cookie=environ.get("HTTP_COOKIE") if may_use_cookies else None,
        query=environ.get("QUERY_STRING"),
        origin=page,
    )


def _scheme(environ: Mapping[str, Any]) -> str:
    """Return ``http`` or ``https``; under ASGI and aiohttp, engineio's own wsgi.url_scheme may be a client's header."""
    scope = environ.get("asgi.scope")
    asked = environ.get("aiohttp.request")
    if isinstance(scope, Mapping):
        scheme = str(scope.get("scheme", "http"))
    else:
        scheme = str(asked.scheme if asked is not None else environ.get("wsgi.url_scheme", "http"))
    return {"ws": "http", "wss": "https"}.get(scheme, scheme)


def length_ok(environ: Mapping[str, Any], limit: int) -> bool:
    length = str(environ.get("CONTENT_LENGTH", "0"))
    return length.isdecimal() and int(length) <= limit


def is_upgrade(environ: Mapping[str, Any]) -> bool:
    """Return True for a request that engineio takes as the handshake of a WebSocket, and not as a poll."""
    options = str(environ.get("HTTP_CONNECTION", "")).lower().split(",")
    upgrade: str = str(environ.get("HTTP_UPGRADE", "")).lower()
    return upgrade == "websocket" and "upgrade" in map(str.strip, options)


def wants_script(environ: Mapping[str, Any]) -> bool:
    """Return True for JSONP polling, which gives a session to any page that includes a script."""
    return "j" in parse_qs(str(environ.get("QUERY_STRING", "")), keep_blank_values=True)
