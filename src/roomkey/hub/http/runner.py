"""Running a hub on a port of its own, with uvicorn."""

from __future__ import annotations

import asyncio
import gc
import importlib.util
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from roomkey.extras import needs

with needs("hub", "roomkey.hub.http.runner"):
    import httptools  # noqa: F401
    import uvicorn

from roomkey.errors import ConfigError
from roomkey.hub.http.asgi import ASGIApp
from roomkey.hub.http.sniffer import ProtocolSniffers
from roomkey.hub.http.socketio_server import SocketIOServer
from roomkey.hub.http.uvicorn_private.checks import check_uvicorn
from roomkey.hub.http.uvicorn_private.http import HttpProtocol
from roomkey.hub.http.uvicorn_private.server import STOP_SECONDS, Draining, Server

__all__ = ["UVICORN_SETTINGS", "Draining", "Server", "config", "frozen_heap", "loop_factory", "run"]


def _websocket_protocol() -> Any:
    """Return uvicorn's WebSocket protocol with our limits, if the package websockets is installed."""
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
    "access_log": False,  # it would contain query strings, which may contain tokens
    "proxy_headers": False,
    "server_header": False,
    "timeout_graceful_shutdown": STOP_SECONDS,
}
"""Settings for ``uvicorn.run`` and every Socket.IO server: deadlines, limits, and no access log with tokens."""


def config(
    hub: SocketIOServer, app: Any = None, *, poll_headers: Mapping[str, str] | None = None, **settings: Any
) -> uvicorn.Config:
    """Return uvicorn's configuration for a hub.

    Args:
        hub: the hub.
        app: an ASGI application for every other path.
        poll_headers: further headers of the responses to long-polling clients.
        settings: arguments of ``uvicorn.Config``; they take precedence over the settings here.

    Raises:
        ConfigError: the installed uvicorn has a different private interface; or ``workers`` or ``reload``,
            which need uvicorn's own process manager.
    """
    if settings.get("workers") not in (None, 1):
        raise ConfigError("a hub runs in one process; remove workers=")
    if any(settings[name] for name in settings if name.startswith("reload")):
        raise ConfigError("a hub cannot reload itself; during development, run `uvicorn --reload module:hub.asgi`")
    check_uvicorn()
    # The sniffer takes the hub's requests before uvicorn sees them; others belong to the application.
    sniffers = ProtocolSniffers(hub, poll_headers or {})
    ours = {**UVICORN_SETTINGS, "http": sniffers, "ws": "none" if app is None else UVICORN_SETTINGS["ws"]}
    ours["ws_max_size"] = hub.requests.settings.limits.payload
    return uvicorn.Config(ASGIApp(hub, app), **{**ours, **settings})


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return the factory of the event loop that :data:`UVICORN_SETTINGS` names."""
    return uvicorn.Config(ASGIApp, loop=UVICORN_SETTINGS["loop"], log_config=None).get_loop_factory()


@contextmanager
def frozen_heap() -> Iterator[Callable[[], None]]:
    """Yield a function to call when the server has started: it excludes all that is loaded from garbage collection.

    The modules and the application stay until the process ends, so the collector need not look at them again and again.
    Use it only in a process that does nothing but serve.
    """

    def freeze() -> None:
        gc.collect()
        gc.freeze()

    try:
        yield freeze
    finally:
        gc.unfreeze()


def run(hub: SocketIOServer, **settings: Any) -> None:
    """Serve until SIGINT or SIGTERM; the arguments are those of :func:`config`."""
    with frozen_heap() as freeze:

        def started() -> None:
            hub.guard.server_loop.use_running_loop()
            freeze()

        Server(hub, config(hub, **settings), started).run()
