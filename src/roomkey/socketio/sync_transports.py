"""The transports of a synchronous server: sending packets, and closing connections completely."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import engineio
from engineio import packet as eio_packet

from roomkey.guard.thread_tasks import NativeEvent, Wait
from roomkey.guard.threads import ThreadBackground
from roomkey.socketio.transports import FLUSH_SECONDS, CommonTransports

# Where the libraries for WebSockets keep the connection of an object with send and wait.
_SOCKETS = (
    ("ws", "sock"),  # simple-websocket
    ("_sock", "stream", "handler", "socket"),  # gevent-websocket
    ("socket",),  # eventlet
    ("_sock",),
)


class SyncTransports(CommonTransports):
    """The Engine.IO transports of a :class:`socketio.Server`: sending, and a true close.

    Attributes:
        websockets: by Engine.IO session, its WebSocket, as engineio's handler gets it.
    """

    def __init__(self, sio: Any, background: ThreadBackground) -> None:
        super().__init__(sio)
        self._background = background
        self._send_packet = sio._send_packet
        self.websockets: dict[str, Any] = {}
        self._closing: dict[str, object] = {}

    async def send(self, eio_sid: str, pkt: Any) -> None:
        """Send a packet to a connection, if it is still there. This only queues it, and waits for nothing."""
        if eio_sid in self.sio.eio.sockets:
            with contextlib.suppress(engineio.exceptions.EngineIOError, KeyError):  # it closed meanwhile
                self._send_packet(eio_sid, pkt)

    async def close(self, eio_sid: str) -> None:
        """Close the transport after what is queued was sent, for polling and WebSockets.

        The thread that reads a WebSocket runs the application's disconnect handlers, when that is closed.
        """
        transport = self.sio.eio.sockets.get(eio_sid)
        if transport is None or transport.closed or eio_sid in self._closing:
            return
        self._closing[eio_sid] = self._background.hold()
        if transport.upgraded:
            transport.queue.put(None)  # ends the writer, and with it the WebSocket
            self.sever_later(eio_sid, FLUSH_SECONDS)
            return
        try:
            await self._flush(transport)  # a poll has to fetch the last packets
            if not transport.upgraded:
                transport.queue.put(eio_packet.Packet(eio_packet.CLOSE))
            transport.queue.put(None)
            self.sever_later(eio_sid, 0.0)
            await self._background.perform(transport.close, wait=False, abort=True)
        finally:
            self.ended(eio_sid)

    @contextmanager
    def ending(self, eio_sid: str) -> Iterator[None]:
        """Mark this thread while it ends a session: disconnect handlers may wait for everything else."""
        with self._background.doing(self._closing.get(eio_sid)):
            yield

    def ended(self, eio_sid: str) -> None:
        """Note that a session has ended."""
        transport = self.sio.eio.sockets.get(eio_sid)
        if transport is not None and not transport.upgraded:
            self.sever_later(eio_sid, 0.0)  # an upgrade that was not completed
        held = self._closing.pop(eio_sid, None)
        if held is not None:
            self.sio.eio.sockets.pop(eio_sid, None)  # engineio fails on requests to a session that is closed
            self._background.let_go(held)

    def end_half_upgrade(self, eio_sid: str) -> None:
        """Note that a session has ended."""
        self.ended(eio_sid)

    def sever_later(self, eio_sid: str, seconds: float) -> None:
        """Make sure that a WebSocket ends: its client may read nothing, or may be half upgraded."""
        websocket = self.websockets.get(eio_sid)
        if websocket is not None:
            self._background.call_later(seconds, partial(self._sever, eio_sid, websocket))

    def _sever(self, eio_sid: str, websocket: Any) -> None:
        if self.websockets.get(eio_sid) is websocket:
            sever(websocket)

    async def _flush(self, transport: Any) -> None:
        event: NativeEvent = self._background.primitives.event()
        transport.queue.drained = event
        if transport.queue.unfinished_tasks:
            await Wait(event, FLUSH_SECONDS)


def sever(websocket: Any) -> None:
    """End the connection of a WebSocket at once, whatever its threads wait for."""
    for path in _SOCKETS:
        found = websocket
        for name in path:
            found = getattr(found, name, None)
        if hasattr(found, "shutdown"):
            with contextlib.suppress(OSError):
                found.shutdown(socket.SHUT_RDWR)
            return
    websocket.close()
