"""A limit on what a client may send over a WebSocket before it is admitted."""

from __future__ import annotations

import asyncio
from math import inf
from typing import Protocol

from picows.picows import WSProtocol  # type: ignore[attr-defined]  # its stub leaves it out

READ_AT_ONCE = 16_384
"""Bytes in one read, so that a flood is noticed before it delays the event loop for long."""


class Watcher(Protocol):
    """The WebSocket behind a gate."""

    def frame_too_large(self) -> None:
        """Close the connection: an unfinished frame has more bytes than the limit."""


class Gate(asyncio.BufferedProtocol):
    """Limits the bytes of an unfinished frame until a socket is admitted; then picows reads directly.

    picows has one limit for all frames of a connection, and buffers a frame up to that limit.

    Args:
        picows: the protocol that reads the frames.
        websocket: is told when a frame exceeds the limit.
        transport: the connection.
        limit: the largest number of bytes of an unfinished frame.

    Attributes:
        pending: the number of bytes that arrived since the end of the last frame; the WebSocket sets it at each frame.
    """

    __slots__ = ("_limit", "_picows", "_transport", "_websocket", "pending")

    def __init__(self, picows: WSProtocol, websocket: Watcher, transport: asyncio.Transport, limit: int) -> None:
        self._picows = picows
        self._websocket = websocket
        self._transport = transport
        self._limit: float = limit
        self.pending = 0

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return the buffer to read into."""
        buffer: memoryview = self._picows.get_buffer(sizehint)
        return buffer[:READ_AT_ONCE]

    def buffer_updated(self, nbytes: int) -> None:
        """Pass on the bytes that were read, and compare their number with the limit."""
        self.pending += nbytes
        self._picows.buffer_updated(nbytes)
        if self.pending > self._limit:
            self._websocket.frame_too_large()

    def open(self) -> None:
        """Let picows read directly."""
        self._limit = inf  # this may be called by picows while it handles the bytes of a read
        self._transport.set_protocol(self._picows)

    def eof_received(self) -> bool | None:
        """Pass on that the client will send nothing more."""
        closes: bool | None = self._picows.eof_received()
        return closes

    def connection_lost(self, exc: Exception | None) -> None:
        """Pass on that the connection is gone."""
        self._picows.connection_lost(exc)

    def pause_writing(self) -> None:
        """Pass on that too much waits to be sent."""
        self._picows.pause_writing()

    def resume_writing(self) -> None:
        """Pass on that the client reads again."""
        self._picows.resume_writing()
