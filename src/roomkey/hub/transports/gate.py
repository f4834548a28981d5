"""A limit on what a client may send over a WebSocket before it is admitted."""

from __future__ import annotations

import asyncio
from typing import Protocol

from picows.picows import WSProtocol  # type: ignore[attr-defined]  # its stub leaves it out

READ_AT_ONCE = 16_384
"""Bytes in one read, so that a flood is noticed before it delays the event loop for long."""


class Watcher(Protocol):
    """Is told how many bytes have arrived."""

    def bytes_arrived(self, pending: int) -> None:
        """Close the connection if they are too many.

        Args:
            pending: the number of bytes that arrived since the end of the last frame.
        """


class Gate(asyncio.BufferedProtocol):
    """Counts the bytes of an unfinished frame until a socket is admitted; then picows reads directly.

    picows has one limit for all frames of a connection, and buffers a frame up to that limit.

    Args:
        picows: the protocol that reads the frames.
        websocket: is told how many bytes have arrived.
        transport: the connection.

    Attributes:
        pending: the number of bytes that arrived since the end of the last frame; the WebSocket sets it at each frame.
    """

    __slots__ = ("_picows", "_transport", "_websocket", "pending")

    def __init__(self, picows: WSProtocol, websocket: Watcher, transport: asyncio.Transport) -> None:
        self._picows = picows
        self._websocket = websocket
        self._transport = transport
        self.pending = 0

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return the buffer to read into."""
        buffer: memoryview = self._picows.get_buffer(sizehint)
        return buffer[:READ_AT_ONCE]

    def buffer_updated(self, nbytes: int) -> None:
        """Pass on the bytes that were read, and report how many are pending."""
        self.pending += nbytes
        self._picows.buffer_updated(nbytes)
        self._websocket.bytes_arrived(self.pending)

    def open(self) -> None:
        """Let picows read directly."""
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
