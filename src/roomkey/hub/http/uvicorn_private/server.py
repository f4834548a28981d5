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
                "ssl_handshake_timeout": http.HEAD_SECONDS,
                "ssl_shutdown_timeout": http.STALL_SECONDS,
            }
        return await create_server(*arguments, **settings)

    vars(loop)["create_server"] = create
    try:
        yield
    finally:
        del vars(loop)["create_server"]
