"""Running a hub on a port of its own, on uvicorn and picows."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Protocol

from roomkey.extras import needs

with needs("hub", "roomkey.hub.runner"):
    import uvicorn
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from roomkey.errors import ConfigError
from roomkey.hub import uvicorn_http
from roomkey.hub.asgi import ASGIApp
from roomkey.hub.checks import check_picows, check_uvicorn
from roomkey.hub.switch import Switches

if TYPE_CHECKING:
    from roomkey.hub.hub import Hub

STOP_SECONDS = 3


def _websocket_protocol() -> Any:
    """uvicorn's WebSockets with our bounds, if the library that they need is installed."""
    try:
        from roomkey.hub.uvicorn_websocket import WebSocketProtocol
    except ImportError:
        return "auto"
    return WebSocketProtocol


UVICORN_SETTINGS: dict[str, Any] = {
    "loop": "uvloop" if importlib.util.find_spec("uvloop") else "asyncio",
    "http": uvicorn_http.HttpProtocol,
    "ws": _websocket_protocol(),
    "ws_per_message_deflate": False,  # 15 kB of compressed zeros become 16 MB
    "access_log": False,  # it would write query strings, where some clients put their token
    "proxy_headers": False,
    "server_header": False,
    "timeout_graceful_shutdown": STOP_SECONDS,
}
"""Settings for ``uvicorn.run`` that suit every Socket.IO server: deadlines, bounds, and no tokens in the access log."""


def config(hub: Hub, app: Any = None, **settings: Any) -> uvicorn.Config:
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
    ours = {**UVICORN_SETTINGS, "http": Switches(hub), "ws": "none" if app is None else UVICORN_SETTINGS["ws"]}
    ours["ws_max_size"] = hub.engine.limits.payload
    return uvicorn.Config(ASGIApp(hub, app), **{**ours, **settings})


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Makes the event loop that :data:`UVICORN_SETTINGS` names."""
    return uvicorn.Config(ASGIApp, loop=UVICORN_SETTINGS["loop"], log_config=None).get_loop_factory()


class Closable(Protocol):
    """What has connections: a hub, a guard, or an application with one of them."""

    async def close(self) -> None:
        """Close every connection, because the server stops."""


class Server(uvicorn.Server):
    """uvicorn, with a stop that closes Socket.IO connections first, and that is a success.

    Args:
        connections: what to close.
        config: from :func:`config`.
        started: called when it listens.
    """

    def __init__(
        self, connections: Closable, config: uvicorn.Config, started: Callable[[], None] | None = None
    ) -> None:
        super().__init__(config)
        self._connections = connections
        self._started = started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and say so."""
        with _impatient_tls(asyncio.get_running_loop()):
            await super().startup(sockets)
        if self._started is not None:
            self._started()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close what is open, so that a waiting poll is answered and clients see a close, not a cut."""
        # First no new connections, and no new requests on old ones: whoever is closed comes back at once.
        for server in self.servers:
            server.close()
        for connection in list(self.server_state.connections):
            if isinstance(connection, HttpToolsProtocol):
                connection.shutdown()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._connections.close(), STOP_SECONDS)
        await super().shutdown(sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """As uvicorn's, which raises the signal again at the end: a stop that was asked for exits with 0."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


@contextlib.contextmanager
def _impatient_tls(loop: asyncio.AbstractEventLoop) -> Iterator[None]:
    """Give TLS the deadlines of HTTP: the loop would wait 60 s for a handshake, and 30 s for an end."""
    create_server = loop.create_server

    async def create(*arguments: Any, **settings: Any) -> Any:
        if settings.get("ssl") is not None:
            settings |= {
                "ssl_handshake_timeout": uvicorn_http.HEAD_SECONDS,
                "ssl_shutdown_timeout": uvicorn_http.STALL_SECONDS,
            }
        return await create_server(*arguments, **settings)

    vars(loop)["create_server"] = create
    try:
        yield
    finally:
        del vars(loop)["create_server"]


def run(hub: Hub, **settings: Any) -> None:
    """Serve until SIGINT or SIGTERM; the arguments are those of :func:`config`."""
    Server(hub, config(hub, **settings), hub.guard.home.settle_here).run()
