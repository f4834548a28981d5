"""Running a hub on a port of its own, on uvicorn and picows."""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import Callable
from typing import Any

from roomkey.extras import needs

with needs("hub", "roomkey.hub.http.runner"):
    import httptools  # noqa: F401
    import uvicorn

from roomkey.errors import ConfigError
from roomkey.hub.http.asgi import ASGIApp
from roomkey.hub.http.session_requests import SocketIOServer
from roomkey.hub.http.sniffer import ProtocolSniffers
from roomkey.hub.http.uvicorn_private.checks import check_uvicorn
from roomkey.hub.http.uvicorn_private.http import HttpProtocol
from roomkey.hub.http.uvicorn_private.server import STOP_SECONDS, Server
from roomkey.hub.transports.picows_private import check_picows

__all__ = ["UVICORN_SETTINGS", "Server", "config", "loop_factory", "run"]


def _websocket_protocol() -> Any:
    """uvicorn's WebSockets with our bounds, if the library that they need is installed."""
    try:
        from roomkey.hub.http.uvicorn_private.websocket import WebSocketProtocol
    except ImportError:
        return "auto"
    return WebSocketProtocol


UVICORN_SETTINGS: dict[str, Any] = {
    "loop": "uvloop" if importlib.util.find_spec("uvloop") else "asyncio",
    "http": HttpProtocol,
    "ws": _websocket_protocol(),
    "ws_per_message_deflate": False,  # 15 kB of compressed zeros become 16 MB
    "access_log": False,  # it would write query strings, where some clients put their token
    "proxy_headers": False,
    "server_header": False,
    "timeout_graceful_shutdown": STOP_SECONDS,
}
"""Settings for ``uvicorn.run`` that suit every Socket.IO server: deadlines, bounds, and no tokens in the access log."""


def config(hub: SocketIOServer, app: Any = None, **settings: Any) -> uvicorn.Config:
    """uvicorn's configuration for a hub.

    Args:
        hub: the hub.
        app: an ASGI application for every path that is not Socket.IO's.
        settings: those of ``uvicorn.Config``; they win over what is set here.

    Raises:
        ConfigError: a version of picows or uvicorn whose inner names have changed; or ``workers`` or ``reload``, which
            need uvicorn's own process manager.
    """
    if settings.get("workers") not in (None, 1):
        raise ConfigError("a hub runs in one process; remove workers=")
    if any(settings[name] for name in settings if name.startswith("reload")):
        raise ConfigError("a hub cannot reload itself; during development, run `uvicorn --reload module:hub.asgi`")
    check_picows()
    check_uvicorn()
    # The hub's WebSockets are picows' before uvicorn hears of them; others are the application's.
    ours = {**UVICORN_SETTINGS, "http": ProtocolSniffers(hub), "ws": "none" if app is None else UVICORN_SETTINGS["ws"]}
    ours["ws_max_size"] = hub.requests.settings.limits.payload
    return uvicorn.Config(ASGIApp(hub, app), **{**ours, **settings})


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Makes the event loop that :data:`UVICORN_SETTINGS` names."""
    return uvicorn.Config(ASGIApp, loop=UVICORN_SETTINGS["loop"], log_config=None).get_loop_factory()


def run(hub: SocketIOServer, **settings: Any) -> None:
    """Serve until SIGINT or SIGTERM; the arguments are those of :func:`config`."""
    Server(hub, config(hub, **settings), hub.guard.home.settle_here).run()
