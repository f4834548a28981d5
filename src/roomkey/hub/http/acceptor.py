"""Accepts connections from a listening socket that several processes share.

The processes inherit one socket, so a connection waits in its queue until any of them accepts it: nothing is lost if
one of them stalls or dies. But whoever is awake takes everything. So a process that is ahead of the others waits a
moment before it accepts, and then accepts what nobody else has taken.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections.abc import Callable, Mapping
from typing import Any, Protocol

LOG = logging.getLogger("roomkey.hub")

YIELD_SECONDS = 0.005
"""How long a process that is ahead leaves new connections to the others."""

BATCH = 16
"""Connections that a process accepts at once after it has waited."""

FULL_SECONDS = 1.0
"""How long to wait if the process has no free file descriptors."""

_FULL = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}


class Load(Protocol):
    """Counts the connections of this process, and compares them with those of the others."""

    def opened(self) -> None:
        """Count a connection that opened."""

    def closed(self) -> None:
        """Count a connection that closed."""

    def is_ahead(self) -> bool:
        """Return True if this process has more connections than the others."""


class Acceptor:
    """Accepts connections while this process is not ahead of the others.

    Args:
        listener: the shared socket, which does not block.
        make_protocol: makes the protocol of a connection.
        load: compares this process with the others.
        tls: arguments of ``loop.connect_accepted_socket`` about TLS. By default, there is none.
    """

    def __init__(
        self,
        listener: socket.socket,
        make_protocol: Callable[[], asyncio.BaseProtocol],
        load: Load,
        tls: Mapping[str, Any] | None = None,
    ) -> None:
        self._listener = listener
        self._make_protocol = make_protocol
        self._load = load
        self._tls = tls or {}
        self._loop = asyncio.get_running_loop()
        self._opening: set[asyncio.Task[None]] = set()
        self._waiting: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Accept connections from now on."""
        self._loop.add_reader(self._listener.fileno(), self._readable)

    def close(self) -> None:
        """Accept no more connections. The socket stays open: it belongs to the caller."""
        self._loop.remove_reader(self._listener.fileno())
        if self._waiting is not None:
            self._waiting.cancel()

    def _readable(self) -> None:
        if self._load.is_ahead():
            self._pause(YIELD_SECONDS)
        else:
            self._accept()  # one, so that the others have their turn

    def _pause(self, seconds: float) -> None:
        self._loop.remove_reader(self._listener.fileno())
        self._waiting = self._loop.call_later(seconds, self._resume)

    def _resume(self) -> None:
        self._waiting = None
        try:
            for _ in range(BATCH):
                if not self._accept():
                    break
        finally:  # also after an error of one connection, which the event loop logs
            if self._waiting is None:
                self.start()

    def _accept(self) -> bool:
        """Accept a connection. Returns False if none is waiting."""
        try:
            accepted, _ = self._listener.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return False
        except OSError as error:
            if error.errno not in _FULL:
                raise
            LOG.error("cannot accept connections for %.0f s: %s", FULL_SECONDS, error.strerror)
            self._pause(FULL_SECONDS)
            return False
        kind = accepted.family, accepted.type, accepted.proto
        connection = _CountedSocket(*kind, fileno=accepted.detach())
        connection.setblocking(False)
        connection.counted_by(self._load)
        task = self._loop.create_task(self._open(connection))
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)
        return True

    async def _open(self, connection: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(self._make_protocol, connection, **self._tls)
        except OSError:  # includes ssl.SSLError and TimeoutError: the client gave up, or does not speak TLS
            connection.close()


class _CountedSocket(socket.socket):
    """A connection. Its transport closes it, whichever protocol it had in the end, or detaches it."""

    __slots__ = ("_load",)

    def counted_by(self, load: Load) -> None:
        self._load: Load | None = load
        load.opened()

    def close(self) -> None:
        self._uncount()
        super().close()

    def detach(self) -> int:  # uvloop closes file descriptors itself
        self._uncount()
        return super().detach()

    def _uncount(self) -> None:
        load, self._load = self._load, None
        if load is not None:
            load.closed()
