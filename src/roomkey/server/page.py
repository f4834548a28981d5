"""The page of ``roomkey serve``: static files and the official Socket.IO client."""

from __future__ import annotations

import html
from collections.abc import Iterable
from pathlib import Path

from roomkey.auth import LoginProvider
from roomkey.server import socketio_js

__all__ = ["STATIC", "render", "script_origins"]

STATIC = Path(__file__).parent / "static"
VENDORED = STATIC / "vendor" / socketio_js.FILE


def script_origins() -> tuple[str, ...]:
    """Return the other origins from which the page loads scripts: the CDN, if the client is not installed."""
    return () if VENDORED.is_file() else (socketio_js.CDN,)


def render(*, via: str, rooms: Iterable[str], providers: Iterable[LoginProvider] = ()) -> str:
    """Return the page as HTML.

    Args:
        via: how clients can present a token: ``both``, ``handshake`` or ``authenticate``.
        rooms: rooms to offer in addition to those of the user's token.
        providers: providers at which users can log in; each gets a button.
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
    listed = tuple(providers)
    for name, query in (("provider", ""), ("fresh-provider", "?fresh=1")):
        page = page.replace(f"{{{{{name}s}}}}", "".join(_button(one, name, query) for one in listed))
    return page


def _button(provider: LoginProvider, test_id: str, query: str) -> str:
    path = f"/auth/providers/{provider.name}/login{query}"
    title = html.escape(f"Log in with {provider.shown_title}")
    return f'<a class="button" href="{path}" data-testid="{test_id}-{provider.name}">{title}</a>'
