"""Connections whose bytes one node forwards to another: the WebSockets of sessions that began with long-polling.

The front has the connection, and a :class:`StreamPump` as its protocol. For the owner, a :class:`ForwardedStream` is
the connection. Each side may send as many bytes as the other one allows. The front allows more when the client has
read, the owner when its protocol has, so neither has to keep much.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import Any

from roomkey.bus.peer_link import STREAM, Link

LOG = logging.getLogger("roomkey.hub")

DATA, CREDIT, EOF, CLOSE, RESET = 9, 10, 11, 12, 13
"""Kinds of frames."""

_SENT = 0

WINDOW = 131_072
CHUNK = 32_768
"""The bytes that may be on their way in one direction, and the most in one frame."""

CLOSE_SECONDS = 1.0
"""How long a client may take to read what is left when its connection closes."""


class _Sender:
    """Sends the bytes of one direction, as far as the other side allows.

    Args:
        link: the link.
        number: of the conversation.
    """

    __slots__ = ("_link", "credit", "number", "size", "waiting")

    def __init__(self, link: Link, number: int) -> None:
        self._link = link
        self.number = number
        self.credit = WINDOW
        self.waiting: deque[bytes] = deque()
        self.size = 0

    def put(self, data: bytes) -> None:
        """Send bytes, or keep them."""
        if not self.waiting and len(data) <= self.credit and len(data) <= CHUNK and not self._link.paused:
            self.credit -= len(data)
            self._link.send(DATA, self.number, bytes(data))
            return
        self.waiting.append(bytes(data))
        self.size += len(data)
        self.flush()

    def flush(self) -> None:
        """Send what waits, as far as it is allowed."""
        while self.waiting and self.credit > 0 and not self._link.paused:
            data = self.waiting.popleft()
            most = min(self.credit, CHUNK)
            if len(data) > most:
                self.waiting.appendleft(data[most:])
                data = data[:most]
            self.size -= len(data)
            self.credit -= len(data)
            self._link.send(DATA, self.number, data)

    def clear(self) -> None:
        """Drop what waits."""
        self.waiting.clear()
        self.size = 0


class _Receiver:
    """Counts the bytes that were read, and allows the other side to send more."""

    __slots__ = ("_link", "_number", "_read")

    def __init__(self, link: Link, number: int) -> None:
        self._link = link
        self._number = number
        self._read = 0

    def read(self, size: int) -> None:
        """Count bytes that were read."""
        self._read += size

    def allow(self) -> None:
        """Allow as many bytes again, if that is worth a frame."""
        if self._read >= WINDOW // 2:
            read, self._read = self._read, 0
            self._link.send(CREDIT, self._number, read.to_bytes(4, "big"))


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
        self._sender = _Sender(self._link, number)
        self._receiver = _Receiver(self._link, number)
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
        self._sender = _Sender(link, number)
        self._receiver = _Receiver(link, number)
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
