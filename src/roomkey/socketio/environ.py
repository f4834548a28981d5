"""The parts of a connection's WSGI environ that a guard needs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs

from roomkey.core.credentials import AUTHORIZATION, Request, page_of


def address(environ: Mapping[str, Any]) -> str:
    """Return the client's address; engineio's own REMOTE_ADDR is a constant under ASGI."""
    scope = environ.get("asgi.scope")
    if isinstance(scope, Mapping):
        client = scope.get("client")
        return str(client[0]) if client else "unknown"
    asked = environ.get("aiohttp.request")
    return str(getattr(asked, "remote", None) or environ.get("REMOTE_ADDR") or "unknown")


def request(environ: Mapping[str, Any], header: str = AUTHORIZATION) -> Request:
    """Return the parts that can contain tokens. A cookie counts only if a web page sends it, of an allowed origin.

    Args:
        environ: of the request.
        header: the name, in lower case, of the header that contains tokens.
    """
    page = page_of(environ.get("HTTP_ORIGIN"), environ.get("HTTP_SEC_FETCH_SITE"), environ.get("HTTP_HOST"))
    return Request(
        authorization=environ.get(f"HTTP_{header.upper().replace('-', '_')}"),
        cookie=environ.get("HTTP_COOKIE") if page is not None else None,
        query=environ.get("QUERY_STRING"),
        origin=page,
    )


def length_ok(environ: Mapping[str, Any], limit: int) -> bool:
    length = str(environ.get("CONTENT_LENGTH", "0"))
    return length.isdecimal() and int(length) <= limit


def wants_script(environ: Mapping[str, Any]) -> bool:
    """Return True for JSONP polling, which gives a session to any page that includes a script."""
    return "j" in parse_qs(str(environ.get("QUERY_STRING", "")), keep_blank_values=True)
