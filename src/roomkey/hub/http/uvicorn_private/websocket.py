"""uvicorn's WebSocket protocol, with bounds on what one connection may cost before the application hears of it."""

from __future__ import annotations

import asyncio
from typing import Any
from weakref import WeakKeyDictionary

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame

from roomkey.core.rate import TokenBucket
from roomkey.hub.session import NOT_UTF8
from roomkey.hub.transports.picows import CONTROL_RATE

FRAGMENTS_PER_SECOND = 2000.0
"""Frames that continue a message, of one connection."""

SLICE = 1024
"""Bytes that are read at once; what is longer waits for its turn."""

TURN_SECONDS = 0.002
"""How long all connections together may read slices before everything else gets a turn of the event loop."""

DEAF_SECONDS = 1.0
"""How long a connection that was closed may stay open while its client still sends."""


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """uvicorn's WebSocket protocol, reading little at once.

    It parses whatever one read gave, and 256 KiB of empty frames take half a second, in which nobody is served. Here
    only short data is read immediately. What is longer is read slice by slice, after the messages of the slice before
    have been taken, and not at all once the connection is closed.
    """

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self._control = TokenBucket(CONTROL_RATE, self.loop.time())
        self._fragments = TokenBucket(FRAGMENTS_PER_SECOND, self.loop.time())
        self._flooded = False
        self._deaf = False
        self._rest = bytearray()
        self._turns = _TURNS.setdefault(self.loop, _Turns())

    def data_received(self, data: bytes) -> None:
        if self._flooded or self._deaf:
            return
        if not self.handshake_initiated or (not self._rest and len(data) <= SLICE):
            super().data_received(data)
            return
        self._rest += data
        self.transport.pause_reading()
        self._turns.add(self)

    async def receive(self) -> Any:
        message = await super().receive()
        if self._rest:  # uvicorn has resumed reading, because all messages were taken
            self.transport.pause_reading()
            if not self.read_paused:
                self._turns.add(self)
        return message

    def read_slice(self) -> bool:
        """Read on; returns True if there is more to read now."""
        if self._flooded or self.close_sent or self.transport.is_closing():
            self._stop_listening()
            return False
        if self.read_paused:  # until the application has taken what there is
            return False
        part = bytes(self._rest[:SLICE])
        del self._rest[:SLICE]
        super().data_received(part)
        if not self._rest and not self.read_paused:
            self.transport.resume_reading()
        return bool(self._rest)

    def _stop_listening(self) -> None:
        """The connection is closed, and its client still sends: that is not worth reading."""
        self._rest.clear()
        self._deaf = True
        if not self.transport.is_closing():
            self.transport.resume_reading()  # else its end would not be noticed
            self.loop.call_later(DEAF_SECONDS, self.transport.close)

    def handle_ping(self) -> None:
        if self._takes(self._control):
            super().handle_ping()

    def handle_pong(self, event: Frame) -> None:
        if self._takes(self._control):
            super().handle_pong(event)

    def handle_cont(self, event: Frame) -> None:
        if self._takes(self._fragments):
            super().handle_cont(event)

    def send_receive_event_to_app(self) -> None:
        """Close for a text that is not UTF-8 (RFC 6455 section 8.1); uvicorn would log a traceback for each."""
        if self.close_sent or self.curr_msg_data_type != "text" or _is_utf8(b"".join(self.frames)):
            super().send_receive_event_to_app()
            return
        self.frames = []
        self.logger.info("closed a WebSocket: a client sent text that is not UTF-8")
        self.conn.send_close(NOT_UTF8)
        self.handle_parser_exception()

    def _takes(self, bucket: TokenBucket) -> bool:
        if not self._flooded and bucket.take(self.loop.time()) < 0:
            self._flooded = True
            self.transport.abort()  # what it sends on its way out is not worth reading
        return not self._flooded


def _is_utf8(data: bytes) -> bool:
    try:
        return data.isascii() or bool(data.decode())
    except UnicodeDecodeError:
        return False


class _Turns:
    """The connections of an event loop that have more to read: all of them together get a little time in each turn."""

    def __init__(self) -> None:
        self._waiting: dict[WebSocketProtocol, None] = {}
        self._due = False

    def add(self, connection: WebSocketProtocol) -> None:
        self._waiting[connection] = None
        if not self._due:
            self._due = True
            connection.loop.call_soon(self._run, connection.loop)

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        self._due = False
        end = loop.time() + TURN_SECONDS
        for connection in list(self._waiting):
            del self._waiting[connection]
            if connection.read_slice():
                self._waiting[connection] = None  # behind the others
            if loop.time() >= end:
                break
        if self._waiting and not self._due:
            self._due = True
            loop.call_soon(self._run, loop)


_TURNS: WeakKeyDictionary[asyncio.AbstractEventLoop, _Turns] = WeakKeyDictionary()
