"""uvicorn's WebSocket protocol, with limits on what a connection may cost before the application receives anything."""

from __future__ import annotations

import asyncio
from typing import Any
from weakref import WeakKeyDictionary

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame

from roomkey.core.rate import TokenBucket
from roomkey.hub.engine_session import NOT_UTF8
from roomkey.hub.transports.websocket import CONTROL_RATE

FRAGMENTS_PER_SECOND = 2000.0
"""Continuation frames of one connection."""

SLICE = 1024
"""Bytes that are read in one piece; longer data waits for its turn."""

TURN_SECONDS = 0.002
"""How long all connections together may read slices before the event loop continues."""

DEAF_SECONDS = 1.0
"""How long a closed connection may stay open while its client still sends."""


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """uvicorn's WebSocket protocol, which reads in small slices.

    uvicorn parses everything that one read returned. 256 KiB of empty frames take half a second, in which the server
    does nothing else. Here only short data is read immediately. Longer data is read slice by slice, after the
    application has received the messages of the previous slice, and not at all once the connection is closed.
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
        if self._rest:  # uvicorn has resumed reading, because the application has received all messages
            self.transport.pause_reading()
            if not self.read_paused:
                self._turns.add(self)
        return message

    def read_slice(self) -> bool:
        """Read the next slice. Returns True if there is more to read now."""
        if self._flooded or self.close_sent or self.transport.is_closing():
            self._stop_listening()
            return False
        if self.read_paused:  # until the application has received the messages
            return False
        part = bytes(self._rest[:SLICE])
        del self._rest[:SLICE]
        super().data_received(part)
        if not self._rest and not self.read_paused:
            self.transport.resume_reading()
        return bool(self._rest)

    def _stop_listening(self) -> None:
        """Drop everything that the client still sends after the close."""
        self._rest.clear()
        self._deaf = True
        if not self.transport.is_closing():
            self.transport.resume_reading()  # to notice when the connection is gone
            self.loop.call_later(DEAF_SECONDS, self.transport.close)

    def handle_ping(self) -> None:
        if self._accepts(self._control):
            super().handle_ping()

    def handle_pong(self, event: Frame) -> None:
        if self._accepts(self._control):
            super().handle_pong(event)

    def handle_cont(self, event: Frame) -> None:
        if self._accepts(self._fragments):
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

    def _accepts(self, bucket: TokenBucket) -> bool:
        if not self._flooded and bucket.take(self.loop.time()) < 0:
            self._flooded = True
            self.transport.abort()  # without reading what it still sends
        return not self._flooded


def _is_utf8(data: bytes) -> bool:
    try:
        return data.isascii() or bool(data.decode())
    except UnicodeDecodeError:
        return False


class _Turns:
    """The connections of an event loop that have more to read. Together they get little time in each of its turns."""

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
                self._waiting[connection] = None  # after the others
            if loop.time() >= end:
                break
        if self._waiting and not self._due:
            self._due = True
            loop.call_soon(self._run, loop)


_TURNS: WeakKeyDictionary[asyncio.AbstractEventLoop, _Turns] = WeakKeyDictionary()
