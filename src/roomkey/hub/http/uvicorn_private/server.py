"""uvicorn's server, with a stop that closes Socket.IO connections first."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from roomkey.hub.http.uvicorn_private import http

STOP_SECONDS = 3


class Closable(Protocol):
    """A hub, a guard, or an application that contains one of them."""

    async def close(self) -> None:
        """Close every connection, because the server stops."""


class Server(uvicorn.Server):
    """uvicorn's server. Its stop closes Socket.IO connections first, and exits with 0.

    Args:
        connections: closed when the server stops.
        config: from :func:`roomkey.hub.runner.config`.
        started: called when the server listens.
    """

    def __init__(
        self, connections: Closable, config: uvicorn.Config, started: Callable[[], None] | None = None
    ) -> None:
        super().__init__(config)
        self._connections = connections
        self._started = started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and call ``started``."""
        with _impatient_tls(asyncio.get_running_loop()):
            await super().startup(sockets)
        if self._started is not None:
            self._started()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close all connections, so that polls get a response and WebSockets a Close frame."""
        # No new connections and requests from now on: clients whose connection is closed reconnect immediately.
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
        """Handle SIGINT and SIGTERM. Unlike uvicorn, do not raise the signal again, so that a stop exits with 0."""
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
    """Apply the deadlines of HTTP to TLS. By default, asyncio waits 60 s for a handshake and 30 s for a shutdown."""
    create_server = loop.create_server

    async def create(*arguments: Any, **settings: Any) -> Any:
        if settings.get("ssl") is not None:
            settings |= {
                "ssl_handshake_timeout": http.HEAD_SECONDS,
                "ssl_shutdown_timeout": http.STALL_SECONDS,
            }
        return await create_server(*arguments, **settings)

    vars(loop)["create_server"] = create
    try:
        yield
    finally:
        del vars(loop)["create_server"]
