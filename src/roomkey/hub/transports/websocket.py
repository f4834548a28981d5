"""The WebSocket transport, on a connection of the event loop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable

from roomkey.core.rate import TokenBucket
from roomkey.guard.clock import Clock
from roomkey.hub.engine_session import TRANSPORT_CLOSE, TRANSPORT_ERROR, EngineSession, Part
from roomkey.hub.settings import HubSettings
from roomkey.hub.transports.end_of_turn import EndOfTurn
from roomkey.hub.transports.sweep import Sweep
from roomkey.wire import Message
from roomkey.wire.websocket import (
    BINARY,
    CLOSE,
    CONTINUATION,
    FAILED,
    INTERNAL,
    NORMAL,
    PING,
    POLICY_VIOLATION,
    PONG,
    TEXT,
    FrameReader,
    accept_key,
    encode_close,
    encode_frame,
)

LOG = logging.getLogger("roomkey.hub")

CLOSE_SECONDS = 1.0
"""How long a close may take."""

LARGE = 16_384
MAX_CORKED = 64
"""A message that is larger than this (in bytes), or that follows so many others, is sent immediately."""

FRAMES_PER_TURN = 64
"""Frames of one connection that are handled before the others have their turn."""

CONTROL_RATE = 100.0
"""Control frames, and fragments before admission, that one WebSocket may send per second; more close it."""

MAX_LATE = 1000
"""Frames and reads after a close, in case the client's own Close follows them."""

SMALL_FRAGMENT = 1024
"""A part of a message that is smaller than this, in bytes, counts as an event: it costs the server as much."""

_SWITCHING = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: "

Opened = Callable[["WebSocket"], None]
"""Called when the handshake is done."""


class WebSockets:
    """What the WebSockets of a hub share: settings, clock, deadlines, and the writes at the end of a turn of the loop.

    Args:
        settings: the hub's.
        clock: the guard's.

    Attributes:
        closing: the WebSockets that close.
        turn: uncorks WebSockets at the end of a turn of the event loop.
    """

    def __init__(self, settings: HubSettings, clock: Clock) -> None:
        self.settings = settings
        self.clock = clock
        self.closing = Sweep[WebSocket]()
        self.turn = EndOfTurn(WebSocket.uncork, "could not write to a connection")


class WebSocket(asyncio.Protocol):
    """One WebSocket: a :class:`roomkey.hub.engine_session.Transport`, and the protocol of its connection.

    Args:
        shared: what all WebSockets of the hub share.
        session: the session that it carries, or that may be upgraded to it.
        opened: called when the handshake is done.

    Attributes:
        session: that session; None when the connection is gone.
    """

    __slots__ = (
        "_closing",
        "_control",
        "_corked",
        "_late",
        "_opened",
        "_reader",
        "_shared",
        "_transport",
        "_waiting",
        "session",
    )

    def __init__(self, shared: WebSockets, session: EngineSession, opened: Opened | None = None) -> None:
        settings = shared.settings
        self._shared = shared
        self._opened = opened
        self._transport: asyncio.Transport | None = None
        self._reader = FrameReader(settings.packet_before_admission, settings.limits.fragments)
        self._corked: list[Message] | None = None
        self._control: TokenBucket | None = None  # most clients never send a control frame
        self._late = 0
        self._closing = self._waiting = False
        self.session: EngineSession | None = session

    def start(self, transport: asyncio.Transport, key: str, rest: bytes, first: bytes | None = None) -> None:
        """Complete the handshake on a connection whose request was read and accepted (RFC 6455 section 4.2.2).

        Args:
            transport: the connection; its protocol is replaced.
            key: ``Sec-WebSocket-Key``.
            rest: the bytes that arrived after the request.
            first: the packet that the client receives together with the response, in one write.
        """
        self._transport = transport
        _send_immediately(transport)
        transport.set_protocol(self)
        # pause_writing() is called when more bytes wait for a client that does not read.
        transport.set_write_buffer_limits(high=self._shared.settings.max_unsent)
        greeting = encode_frame(first) if first is not None else b""
        transport.write(b"%b%b\r\n\r\n%b" % (_SWITCHING, accept_key(key), greeting))
        opened, self._opened = self._opened, None
        if opened is not None:
            opened(self)
        if rest:
            self.data_received(rest)

    # A transport

    def send(self, message: Message) -> None:
        """Send a Socket.IO packet, with its attachments."""
        transport = self._transport
        if transport is not None and not self._closing:
            if self._corked is not None:
                self.uncork()
            transport.write(encode_frame(message.text))
            for attachment in message.attachments:
                transport.write(encode_frame(attachment, BINARY))

    def send_batched(self, message: Message) -> None:
        """Send at the end of this turn of the event loop: many broadcasts become one write."""
        corked = self._corked
        if message.attachments or len(message.text) > LARGE:
            self.send(message)
        elif corked is None:
            self._corked = [message]
            self._shared.turn.add(self)
        elif len(corked) < MAX_CORKED:
            corked.append(message)
        else:
            self.send(message)

    def uncork(self) -> None:
        """Send the messages that wait for the end of the turn."""
        corked, self._corked = self._corked, None
        if self._transport is not None and corked is not None and not self._closing:
            self._transport.write(b"".join([message.framed or _framed(message) for message in corked]))

    def send_packet(self, packet: bytes, *, binary: bool = False) -> None:
        """Send one Engine.IO packet, or the data of a binary message."""
        if self._transport is not None and not self._closing:
            if self._corked is not None:
                self.uncork()
            self._transport.write(encode_frame(packet, BINARY if binary else TEXT))

    def close(self, code: int = NORMAL) -> bool:
        """Close when everything is sent and the client has answered, or after a short time."""
        transport = self._transport
        if transport is not None and not self._closing:
            frames = [message.framed or _framed(message) for message in self._corked or ()]
            self._corked = None
            self._closing = True
            transport.write(b"".join((*frames, encode_close(code))))
            self._shared.closing.add(self, CLOSE_SECONDS)
        return True

    def abort(self) -> None:
        """Close immediately."""
        self._closing = True
        if self._transport is not None:
            self._transport.abort()

    too_late = abort

    def client_closing(self) -> None:
        """Do nothing: the client closes the WebSocket as well."""

    def on_admitted(self) -> None:
        """Allow larger messages."""
        self._reader.allow(self._shared.settings.limits.payload)

    def drain(self) -> list[Part]:
        """Return nothing: a session never moves from a WebSocket to another transport."""
        return []

    # What arrives

    def data_received(self, data: bytes) -> None:
        """Handle the frames that arrived, but only some of them in this turn of the event loop."""
        if self._closing and self._is_deaf():
            return
        reader, left = self._reader, FRAMES_PER_TURN
        frame = reader.read(data)
        try:
            while frame is not None:
                session = self.session
                if frame[0] == TEXT and session is not None and session.transport is self and not self._closing:
                    session.text(frame[1])  # most frames
                else:
                    self._handle(*frame)
                left -= 1
                if not reader.more:
                    return
                if left == 0:
                    self._wait_for_turn()
                    return
                frame = reader.read()
        except Exception:  # the event loop would drop the connection without a Close frame
            LOG.exception("closed a WebSocket: a frame could not be handled")
            reader.stop()
            self.close(INTERNAL)

    def _wait_for_turn(self) -> None:
        """Read the frames that are left after the other connections have had their turn."""
        if self._transport is not None:
            if not self._waiting:
                self._waiting = True
                self._transport.pause_reading()
            asyncio.get_running_loop().call_soon(self._take_turn)

    def _take_turn(self) -> None:
        transport = self._transport
        if transport is None:
            return
        self.data_received(b"")
        if not self._reader.more:
            self._waiting = False
            if self._late <= MAX_LATE and not transport.is_closing():
                transport.resume_reading()

    def _is_deaf(self) -> bool:
        """Count what arrives after the close. Returns True if it is no longer read."""
        self._late += 1
        if self._late <= MAX_LATE:
            return False
        self._reader.stop()
        if self._transport is not None:
            self._transport.pause_reading()
        return True

    def _handle(self, opcode: int, data: bytes) -> None:
        """Handle a frame that is not a text of the session's transport."""
        if self._closing:
            if opcode == CLOSE and self._transport is not None:
                self._transport.close()
            else:
                self._is_deaf()
        elif opcode == FAILED:
            self._fail(int.from_bytes(data[:2], "big"), data[2:].decode())
        elif opcode == CLOSE:
            self._answer_close()
        elif opcode in (PING, PONG, CONTINUATION):
            self._count(opcode, data)
        elif self.session is not None and self.session.transport is not self:
            self.session.candidate_text(self, b"" if opcode == BINARY else data)
        elif self.session is not None:
            self.session.binary(data)

    def _count(self, opcode: int, data: bytes) -> None:
        """Count a control frame or a fragment, and answer a PING."""
        if opcode == CONTINUATION:
            if len(data) < SMALL_FRAGMENT and self._exceeds_rate():
                self._fail(POLICY_VIOLATION, "too many small fragments")
        elif self._is_flood():
            self._fail(POLICY_VIOLATION, "too many control frames")
        elif opcode == PING and self._transport is not None:
            self._transport.write(encode_frame(data, PONG))

    def _exceeds_rate(self) -> bool:
        """Count a small fragment. Returns True if there are too many."""
        session = self.session
        if session is None or not session.connection.admitted:
            return self._is_flood()
        return session.bucket.take(self._shared.clock.monotonic()) <= -self._shared.settings.event_rate

    def _is_flood(self) -> bool:
        """Count a control frame, or a fragment before admission. Returns True if there are too many."""
        now = self._shared.clock.monotonic()
        if self._control is None:
            self._control = TokenBucket(CONTROL_RATE, now)
        return self._control.take(now) < 0

    # The end

    def _answer_close(self) -> None:
        """Close, because the client closes (RFC 6455 section 5.5.1)."""
        self.close()
        if self._transport is not None:
            self._transport.close()

    def _fail(self, code: int, reason: str) -> None:
        """Close, because the client violated the WebSocket protocol or sent too much (RFC 6455 section 7.1.7)."""
        self._reader.stop()
        self.close(code)
        transport = self._transport
        if transport is None:
            return
        # While the client sends, TCP would reset the connection, and the Close frame would be lost (section 7.1.1).
        if transport.can_write_eof():
            transport.write_eof()
        else:
            transport.close()
        if self.session is not None and self.session.transport is self:
            self.session.violation(f"{reason} (WebSocket close code {code})")

    def pause_writing(self) -> None:
        """End the session, because too much waits for the client."""
        if self.session is not None and self.session.transport is self:
            self.session.too_slow()
        else:  # it is not the transport of a session
            self.abort()

    def resume_writing(self) -> None:
        """Do nothing: a connection that was paused is closed."""

    def eof_received(self) -> None:
        """End the session: a WebSocket that can only send is of no use. The event loop closes the connection."""
        self._shared.closing.add(self, CLOSE_SECONDS)
        self._lost()

    def connection_lost(self, exc: Exception | None) -> None:
        """End the session, or its upgrade, because the connection is gone."""
        self._transport = None
        self._shared.closing.discard(self)
        self._lost()

    def _lost(self) -> None:
        session, self.session = self.session, None
        reason = TRANSPORT_CLOSE if self._closing else TRANSPORT_ERROR
        self._closing = True  # nobody would read a Close frame
        if session is None:
            return
        if session.transport is not self:
            session.candidate_lost(self)
        elif session.alive:
            session.end(reason)


def _send_immediately(transport: asyncio.Transport) -> None:
    """Turn off Nagle's algorithm. uvloop has done so; asyncio does it only if the socket names its protocol."""
    if not type(transport).__module__.startswith("uvloop"):
        with contextlib.suppress(OSError, AttributeError):  # a Unix socket; none, if another node has the connection
            transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _framed(message: Message) -> bytes:
    """Return a message's frame, made once for all its receivers."""
    message.framed = encode_frame(message.text)
    return message.framed
