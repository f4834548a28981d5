"""What a connection may send over a WebSocket before anything is admitted on it."""

from __future__ import annotations

import asyncio
from typing import Protocol

from picows.picows import WSProtocol  # type: ignore[attr-defined]  # its stub leaves it out

READ_AT_ONCE = 16_384
"""Bytes that one read takes, so that no flood holds up the event loop for long before it is noticed."""


class Watcher(Protocol):
    """What decides how long the gate stays."""

    def arrived(self, gate: Gate) -> None:
        """Bytes arrived: open the gate, leave it, or close the connection."""


class Gate(asyncio.BufferedProtocol):
    """Counts the bytes of a frame that has not ended, until something is admitted; then picows reads alone.

    picows has one limit for a frame, which cannot change later, and it buffers a frame up to that limit.

    Args:
        picows: the protocol that reads the frames.
        websocket: what they belong to.
        transport: the connection.

    Attributes:
        pending: bytes that have arrived since the end of the last frame; the WebSocket sets it at each frame.
    """

    __slots__ = ("_picows", "_transport", "_websocket", "pending")

    def __init__(self, picows: WSProtocol, websocket: Watcher, transport: asyncio.Transport) -> None:
        self._picows = picows
        self._websocket = websocket
        self._transport = transport
        self.pending = 0

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return where to read to."""
        buffer: memoryview = self._picows.get_buffer(sizehint)
        return buffer[:READ_AT_ONCE]

    def buffer_updated(self, nbytes: int) -> None:
        """Pass on what was read."""
        self.pending += nbytes
        self._picows.buffer_updated(nbytes)
        self._websocket.arrived(self)

    def open(self) -> None:
        """Step aside."""
        self._transport.set_protocol(self._picows)

    def eof_received(self) -> bool | None:
        """Pass on that the client sends nothing more."""
        closes: bool | None = self._picows.eof_received()
        return closes

    def connection_lost(self, exc: Exception | None) -> None:
        """Pass on that the connection is gone."""
        self._picows.connection_lost(exc)

    def pause_writing(self) -> None:
        """Pass on that too much waits for the client."""
        self._picows.pause_writing()

    def resume_writing(self) -> None:
        """Pass on that the client reads again."""
        self._picows.resume_writing()
