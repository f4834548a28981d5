"""The page of ``roomkey serve``: one HTML file, one script, one style sheet, and the official Socket.IO client."""

from __future__ import annotations

import html
from collections.abc import Iterable
from pathlib import Path

from roomkey.server import socketio_js

__all__ = ["STATIC", "render", "script_origins"]

STATIC = Path(__file__).parent / "static"
VENDORED = STATIC / "vendor" / socketio_js.FILE


def script_origins() -> tuple[str, ...]:
    """Other origins that the page loads scripts from: the CDN, where the wheel carries no copy of the client."""
    return () if VENDORED.is_file() else (socketio_js.CDN,)


def render(*, via: str, rooms: Iterable[str]) -> str:
    """The page as HTML.

    Args:
        via: which ways of presenting a token the server allows: ``both``, ``handshake`` or ``authenticate``.
        rooms: rooms to offer beside those of the person's token.
    """
    url = f"/static/vendor/{socketio_js.FILE}" if VENDORED.is_file() else socketio_js.CDN_URL
    values = {
        "{{client_url}}": url,
        "{{client_integrity}}": socketio_js.INTEGRITY,
        "{{via}}": via,
        "{{rooms}}": " ".join(rooms),
    }
    page = (STATIC / "index.html").read_text("utf-8")
    for name, value in values.items():
        page = page.replace(name, html.escape(value, quote=True))
    return page
