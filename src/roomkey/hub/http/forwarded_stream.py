"""Connections whose bytes one node forwards to another: the WebSockets of sessions that began with long-polling.

The front has the connection, and a :class:`roomkey.hub.http.stream_pump.StreamPump` as its protocol. For the owner, a
:class:`ForwardedStream` is the connection. Each side may send as many bytes as the other one allows. The front allows
more when the client has read, the owner when its protocol has, so neither has to keep much.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from roomkey.bus.peer_link import Link
from roomkey.hub.http.stream_flow import CLOSE, CREDIT, DATA, EOF, RESET, WINDOW, Receiver, Sender

LOG = logging.getLogger("roomkey.hub")

_SENT = 0


class ForwardedStream(asyncio.Transport):
    """The owner's side: a transport, as asyncio's are, of a connection that another node has.

    Args:
        link: the link to the front.
        number: of the conversation.
        address: the client's address.
    """

    def __init__(self, link: Link, number: int, address: str) -> None:
        super().__init__()
        self._link = link
        self._loop = asyncio.get_running_loop()
        self._number = number
        self._address = address
        self._protocol: asyncio.Protocol | None = None
        self._sender = Sender(link, number)
        self._receiver = Receiver(link, number)
        self._high, self._low = 65_536, 16_384
        self._full = False
        self._reading = True
        self._held = bytearray()
        self._ends: int | None = None
        self._closing = self._gone = False
        link.join(number, self)

    # A transport

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return the client's address for ``peername``."""
        return (self._address, 0) if name == "peername" else default

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Set the protocol that receives what arrives."""
        assert isinstance(protocol, asyncio.Protocol)
        self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Return the protocol."""
        assert self._protocol is not None
        return self._protocol

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Set the sizes at which the protocol is paused and resumed, in bytes."""
        self._high = 65_536 if high is None else high
        self._low = self._high // 4 if low is None else low

    def get_write_buffer_size(self) -> int:
        """Return how many bytes wait until the client reads, without those on their way."""
        return self._sender.size

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send bytes to the client."""
        if self._closing or self._ends is not None or not data:
            return
        self._sender.put(bytes(data))
        if self._sender.size > self._high and not self._full and self._protocol is not None:
            self._full = True
            self._protocol.pause_writing()

    def can_write_eof(self) -> bool:
        """Return True."""
        return True

    def write_eof(self) -> None:
        """Close the sending direction when everything is sent."""
        self._ends = EOF
        self._after_sending()

    def is_reading(self) -> bool:
        """Return True if the protocol receives what arrives."""
        return self._reading and not self._closing

    def pause_reading(self) -> None:
        """Keep what arrives; the front stops soon."""
        self._reading = False

    def resume_reading(self) -> None:
        """Receive again, from the next turn of the event loop on."""
        self._reading = True
        self._loop.call_soon(self._receive_held)

    def is_closing(self) -> bool:
        """Return True once it closes."""
        return self._closing

    def close(self) -> None:
        """Close when everything is sent."""
        if not self._closing:
            self._closing = True
            self._held.clear()
            self._ends = CLOSE
            self._after_sending()

    def abort(self) -> None:
        """Close immediately."""
        if not self._gone:
            self._sender.clear()
            self._end(RESET)

    def _after_sending(self) -> None:
        """Resume the protocol, or end, when enough is sent."""
        if self._gone:
            return
        if self._full and self._sender.size <= self._low and self._protocol is not None:
            self._full = False
            self._protocol.resume_writing()
        if self._sender.waiting:
            return
        if self._ends == CLOSE:
            self._end(CLOSE)
        elif self._ends == EOF:
            self._ends = _SENT
            self._link.send(EOF, self._number, b"")

    def _end(self, kind: int) -> None:
        self._link.end(self._number)
        self._link.send(kind, self._number, b"")
        self._lost()

    def _lost(self) -> None:
        self._gone = self._closing = True
        self._sender.clear()
        self._held.clear()
        self._loop.call_soon(self._report_lost)

    def _report_lost(self) -> None:
        protocol, self._protocol = self._protocol, None
        if protocol is not None:
            protocol.connection_lost(None)

    # Of the link

    def arrived(self, kind: int, payload: bytes) -> None:
        """Handle a frame of the front."""
        if self._gone:
            return
        if kind == DATA:
            self._arrived_data(payload)
        elif kind == CREDIT:
            self._sender.credit += int.from_bytes(payload, "big")
            self.resume()
        elif kind == RESET:
            self._link.end(self._number)
            self._lost()

    def _arrived_data(self, data: bytes) -> None:
        if self._closing:
            self._receiver.read(len(data))
            self._receiver.allow()
        elif self._reading and not self._held:
            self._receive(data)
        elif len(self._held) + len(data) > WINDOW:  # the front sends more than it may
            self.abort()
        else:
            self._held += data

    def _receive(self, data: bytes) -> None:
        self._receiver.read(len(data))
        if self._protocol is None:
            return
        try:
            self._protocol.data_received(data)
        except Exception:  # as the event loop's transports do
            LOG.exception("closed a forwarded connection: what arrived could not be handled")
            self.abort()
        else:
            self._receiver.allow()

    def _receive_held(self) -> None:
        if self._held and self._reading and not self._closing:
            data = bytes(self._held)
            self._held.clear()
            self._receive(data)

    def lost(self) -> None:
        """Report the end of the connection, because the front is gone."""
        if not self._gone:
            self._lost()

    def pause(self) -> None:
        """Do nothing: the sender asks the link."""

    def resume(self) -> None:
        """Send what waits."""
        self._sender.flush()
        self._after_sending()
