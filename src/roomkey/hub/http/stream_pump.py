"""The front's side of a forwarded connection: the node that has the connection of the client."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from roomkey.bus.peer_link import STREAM, Link
from roomkey.hub.http.stream_flow import CLOSE, CREDIT, DATA, EOF, RESET, WINDOW, Receiver, Sender

CLOSE_SECONDS = 1.0
"""How long a client may take to read what is left when its connection closes."""


class StreamPump(asyncio.Protocol):
    """The front's side: the protocol of the client's connection.

    Args:
        link: the link to the owner.
    """

    def __init__(self, link: Link) -> None:
        self._link = link
        self._number = 0
        self._transport: asyncio.Transport | None = None
        self._refuse: Callable[[], None] | None = None
        self._answered: Callable[[], None] | None = None
        self._ended: Callable[[], None] | None = None
        self._full = False

    def open(self, head: bytes) -> bool:
        """Begin the conversation. Return False if the link takes no more."""
        number = self._link.open(self)
        if number is None:
            return False
        self._number = number
        self._sender = Sender(self._link, number)
        self._receiver = Receiver(self._link, number)
        self._link.send(STREAM, number, head)
        return number in self._link.conversations

    def start(
        self,
        transport: asyncio.Transport,
        rest: bytes,
        *,
        answered: Callable[[], None],
        ended: Callable[[], None],
        refuse: Callable[[], None],
    ) -> None:
        """Take a connection whose request was read.

        Args:
            transport: the connection; its protocol is replaced.
            rest: the bytes that arrived after the request.
            answered: called when the owner answers, or cannot answer any more.
            ended: called when the conversation has ended.
            refuse: called if the owner is gone before it answered; it responds to the client and closes.
        """
        self._transport = transport
        self._answered, self._ended, self._refuse = answered, ended, refuse
        transport.set_write_buffer_limits(high=WINDOW // 2)
        transport.set_protocol(self)
        if rest:
            self.data_received(rest)

    # Of the client

    def data_received(self, data: bytes) -> None:
        """Forward bytes; read no more while some wait."""
        if self._transport is None:
            return
        self._sender.put(data)
        if self._sender.waiting:
            self._transport.pause_reading()

    def pause_writing(self) -> None:
        """Allow no more bytes, because the client does not read."""
        self._full = True

    def resume_writing(self) -> None:
        """Allow more bytes."""
        self._full = False
        self._receiver.allow()

    def eof_received(self) -> None:
        """Let the transport close."""

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the owner that the connection is gone."""
        if self._transport is not None:
            self._end()
            self._link.send(RESET, self._number, b"")

    def shutdown(self) -> None:
        """Close, because this node stops, or the owner is late."""
        if self._transport is not None:
            self._transport.abort()

    too_late = shutdown

    def _decided(self) -> None:
        if self._answered is not None:
            self._answered()
            self._answered = self._refuse = None

    # Of the link

    def arrived(self, kind: int, payload: bytes) -> None:
        """Handle a frame of the owner."""
        transport = self._transport
        if transport is None:
            return
        if kind == DATA:
            self._decided()
            transport.write(payload)
            self._receiver.read(len(payload))
            if not self._full:
                self._receiver.allow()
        elif kind == CREDIT:
            self._sender.credit += int.from_bytes(payload, "big")
            self.resume()
        elif kind == EOF and transport.can_write_eof():
            transport.write_eof()
        elif kind in (EOF, CLOSE):
            self._end()
            transport.close()
            if transport.get_write_buffer_size():
                asyncio.get_running_loop().call_later(CLOSE_SECONDS, transport.abort)
        elif kind == RESET:
            self._end()
            transport.abort()

    def _end(self) -> None:
        """End the conversation."""
        self._transport = None
        self._link.end(self._number)
        self._sender.clear()
        self._decided()
        if self._ended is not None:
            self._ended()
            self._ended = None

    def lost(self) -> None:
        """Close the connection, because the owner is gone."""
        transport, refuse = self._transport, self._refuse
        self._end()
        if refuse is not None:
            refuse()
        elif transport is not None:
            transport.abort()

    def pause(self) -> None:
        """Do nothing: the sender asks the link."""

    def resume(self) -> None:
        """Forward what waits, and then read on."""
        waited = bool(self._sender.waiting)
        self._sender.flush()
        if waited and not self._sender.waiting and self._transport is not None:
            self._transport.resume_reading()
