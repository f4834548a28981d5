"""uvicorn's server, with a stop that closes Socket.IO connections first."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from functools import partial
from types import FrameType
from typing import Any, Protocol, cast

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from roomkey.hub.http.acceptor import Acceptor, Load
from roomkey.hub.http.uvicorn_private import http

STOP_SECONDS = 3

TLS_DEADLINES = {"ssl_handshake_timeout": http.HEAD_SECONDS, "ssl_shutdown_timeout": http.STALL_SECONDS}


class Closable(Protocol):
    """A hub, a guard, or an application that contains one of them."""

    async def close(self) -> None:
        """Close every connection, because the server stops."""


class Draining(Protocol):
    """What happens before a stop, so that clients move to other servers without a rush."""

    async def announce(self) -> None:
        """Report that the server is not ready; it still accepts connections."""

    async def close_connections(self) -> None:
        """Close the connections one after the other; the server accepts no more."""

    def seconds_left(self) -> float:
        """Return the seconds until everything must have ended."""

    def hurry(self) -> None:
        """Return from the other methods immediately."""


class Server(uvicorn.Server):
    """uvicorn's server. Its stop closes Socket.IO connections first, and exits with 0.

    Args:
        connections: closed when the server stops.
        config: from :func:`roomkey.hub.runner.config`.
        started: called when the server listens.
        draining: what happens before the stop. By default, nothing.
        load: compares this process with others that listen on the same sockets. By default, there are none.
    """

    def __init__(
        self,
        connections: Closable,
        config: uvicorn.Config,
        started: Callable[[], None] | None = None,
        *,
        draining: Draining | None = None,
        load: Load | None = None,
    ) -> None:
        super().__init__(config)
        self._connections = connections
        self._started = started
        self._draining = draining
        self._load = load
        self._acceptors: list[Acceptor] = []

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and call ``started``."""
        if self._load is None:
            with _impatient_tls(asyncio.get_running_loop()):
                await super().startup(sockets)
        else:
            await super().startup([])
            self._acceptors = [self._acceptor(listener, self._load) for listener in sockets or ()]
            for acceptor in self._acceptors:
                acceptor.start()
        if self._started is not None:
            self._started()

    def _acceptor(self, listener: socket.socket, load: Load) -> Acceptor:
        make: Callable[[], asyncio.Protocol] = partial(
            cast("Any", self.config.http_protocol_class),
            config=self.config,
            server_state=self.server_state,
            app_state=self.lifespan.state,
        )
        tls = None if self.config.ssl is None else {"ssl": self.config.ssl, **TLS_DEADLINES}
        return Acceptor(listener, make, load, tls)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close all connections, so that polls get a response and WebSockets a Close frame."""
        if self._draining is not None:
            await self._draining.announce()
        # No new connections and requests from now on: clients whose connection is closed reconnect immediately.
        for server in self.servers:
            server.close()
        for acceptor in self._acceptors:
            acceptor.close()
        for connection in list(self.server_state.connections):
            if isinstance(connection, (HttpToolsProtocol, http.ClosesAfterResponse)):
                connection.shutdown()
        if self._draining is not None:
            await self._draining.close_connections()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._connections.close(), self._seconds_to_stop(2))
        self.config.timeout_graceful_shutdown = self._seconds_to_stop(1)  # type: ignore[assignment]  # for wait_for
        await super().shutdown(sockets)

    def _seconds_to_stop(self, steps: int) -> float:
        """Return how long the next step of the stop may take, if as many are left."""
        return STOP_SECONDS if self._draining is None else min(STOP_SECONDS, self._draining.seconds_left() / steps)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop. If the server is stopping already, do not wait for clients any longer."""
        if self.should_exit and self._draining is not None:
            self._draining.hurry()
        super().handle_exit(sig, frame)

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
            settings |= TLS_DEADLINES
        return await create_server(*arguments, **settings)

    vars(loop)["create_server"] = create
    try:
        yield
    finally:
        del vars(loop)["create_server"]
