"""WebSockets on picows, which reads and writes their frames."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from picows import WSCloseCode, WSFrame, WSListener, WSMsgType, WSTransport

from roomkey.core.rate import TokenBucket
from roomkey.guard.clock import Clock
from roomkey.hub.engine_session import (
    INTERNAL,
    NORMAL,
    POLICY_VIOLATION,
    PROTOCOL_ERROR,
    TOO_BIG,
    TRANSPORT_CLOSE,
    TRANSPORT_ERROR,
    EngineSession,
    Part,
)
from roomkey.hub.settings import HubSettings
from roomkey.hub.transports.gate import Gate
from roomkey.hub.transports.picows_private import make_protocol, start
from roomkey.wire import Message

LOG = logging.getLogger("roomkey.hub")

TEXT, BINARY = WSMsgType.TEXT, WSMsgType.BINARY
CONTINUATION, CLOSE, PING, PONG = WSMsgType.CONTINUATION, WSMsgType.CLOSE, WSMsgType.PING, WSMsgType.PONG
FRAME_HEAD = 14
"""Largest head of a frame, in bytes."""

CLOSE_SECONDS = 1.0
"""How long a close may take."""

LARGE = 16_384
MAX_CORKED = 64
"""A message that is larger than this (in bytes), or that follows so many others, is sent immediately."""

CONTROL_RATE = 100.0
"""Control frames, and fragments before admission, that one WebSocket may send per second; more close it."""

MAX_LATE = 1000
"""Frames that are read after a close, in case the client's own Close follows them."""

SMALL_FRAGMENT = 1024
"""A part of a message that is smaller than this, in bytes, counts as an event: it costs the server as much."""

Opened = Callable[["PicowsWebSocket"], None]
"""Called when the handshake is done."""


class PicowsShared:
    """What the WebSockets of a hub share: settings, clock, and the writes at the end of a turn of the event loop.

    Args:
        settings: the hub's.
        clock: the guard's.
    """

    def __init__(self, settings: HubSettings, clock: Clock) -> None:
        self.settings = settings
        self.clock = clock
        self._corked: list[PicowsWebSocket] = []

    def cork(self, websocket: PicowsWebSocket) -> None:
        """Uncork a WebSocket when this turn of the event loop is over."""
        if not self._corked:
            asyncio.get_running_loop().call_soon(self._uncork)
        self._corked.append(websocket)

    def _uncork(self) -> None:
        corked, self._corked = self._corked, []
        for websocket in corked:
            try:
                websocket.uncork()
            except Exception:  # the others are sent all the same
                LOG.exception("could not write to a connection")


class PicowsWebSocket(WSListener):
    """One WebSocket: a :class:`roomkey.hub.engine_session.Transport` that listens to picows.

    Args:
        shared: what all WebSockets of the hub share.
        session: the session that it carries, or that may be upgraded to it.
        opened: called when the handshake is done.

    Attributes:
        session: that session; None when the connection is gone.
    """

    __slots__ = (
        "_binary",
        "_closing",
        "_collected",
        "_control",
        "_corked",
        "_fragments",
        "_gate",
        "_late",
        "_opened",
        "_settings",
        "_shared",
        "_ws",
        "session",
    )

    def __init__(self, shared: PicowsShared, session: EngineSession, opened: Opened | None = None) -> None:
        self._corked: list[Message] | None = None
        self._shared = shared
        self._settings = shared.settings
        self._opened = opened
        self._ws: WSTransport | None = None
        self._fragments: list[bytes] | None = None
        self._collected = self._late = 0
        self._control: TokenBucket | None = None  # most clients never send a control frame
        self._gate: Gate | None = None
        self._binary = False
        self._closing = False
        self.session: EngineSession | None = session

    def start(self, transport: asyncio.Transport, key: str, rest: bytes, first: bytes | None = None) -> None:
        """Complete the handshake on a connection whose request was read and accepted.

        Args:
            transport: the connection; its protocol is replaced.
            key: ``Sec-WebSocket-Key``.
            rest: the bytes that arrived after the request.
            first: the packet that the client receives together with the response, in one write.
        """
        greeting = _frame(first) if first is not None else b""
        protocol = make_protocol(transport, self, self, greeting, self._settings.limits.payload)
        self._gate = Gate(protocol, self, transport, self._settings.packet_before_admission + FRAME_HEAD)
        transport.set_protocol(self._gate)
        start(protocol, key, rest)

    # A transport

    def send(self, message: Message) -> None:
        """Send a Socket.IO packet, with its attachments."""
        ws = self._ws
        if ws is not None:
            if self._corked is not None:
                self.uncork()
            ws.send(TEXT, message.text)
            for attachment in message.attachments:
                ws.send(BINARY, attachment)

    def send_batched(self, message: Message) -> None:
        """Send at the end of this turn of the event loop: many broadcasts become one write."""
        corked = self._corked
        if message.attachments or len(message.text) > LARGE:
            self.send(message)
        elif corked is None:
            self._corked = [message]
            self._shared.cork(self)
        elif len(corked) < MAX_CORKED:
            corked.append(message)
        else:
            self.send(message)

    def uncork(self) -> None:
        """Send the messages that wait for the end of the turn."""
        corked, self._corked = self._corked, None
        ws = self._ws
        if ws is None or corked is None or self._closing:
            return
        if len(corked) == 1:
            ws.send(TEXT, corked[0].text)
        else:
            ws.underlying_transport.write(b"".join([message.framed or _framed(message) for message in corked]))

    def send_packet(self, packet: bytes, *, binary: bool = False) -> None:
        """Send one Engine.IO packet, or the data of a binary message."""
        if self._ws is not None:
            self._ws.send(BINARY if binary else TEXT, packet)

    def close(self, code: int = NORMAL) -> bool:
        """Close when everything is sent, or after a short time."""
        ws = self._ws
        if ws is not None and not self._closing:
            if self._corked is not None:
                self.uncork()
            self._closing = True
            ws.send_close(WSCloseCode(code))
            # Not immediately: while the client sends, TCP would reset the connection, and the last messages would be
            # lost (RFC 6455 section 7.1.1).
            asyncio.get_running_loop().call_later(CLOSE_SECONDS, ws.disconnect, False)
        return True

    def abort(self) -> None:
        """Close immediately."""
        if self._ws is not None:
            self._closing = True
            self._ws.disconnect(False)

    def client_closing(self) -> None:
        """Do nothing: the client closes the WebSocket as well."""

    def on_admitted(self) -> None:
        """Let picows read directly: bytes are no longer counted."""
        gate, self._gate = self._gate, None
        if gate is not None:
            gate.open()

    def drain(self) -> list[Part]:
        """Return nothing: a session never moves from a WebSocket to another transport."""
        return []

    # What picows reports

    def on_ws_connected(self, transport: WSTransport) -> None:
        """Set the limits of the connection: the handshake is done."""
        self._ws = transport
        del transport.request.headers  # a kilobyte that is not needed any more
        # picows calls pause_writing() when more bytes wait for a client that does not read.
        transport.underlying_transport.set_write_buffer_limits(high=self._settings.max_unsent)
        opened, self._opened = self._opened, None
        if opened is not None:
            opened(self)

    def frame_too_large(self) -> None:
        """Close the connection: a frame before admission is too large."""
        if not self._closing:
            self._break(TOO_BIG)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Handle a frame."""
        kind = frame.msg_type
        if self._gate is not None:
            self._gate.pending = frame.tail_size
        if self._closing:
            self._too_late(transport, kind)
        elif frame.rsv1 or frame.rsv2 or frame.rsv3:  # no extension was negotiated (RFC 6455 section 5.2)
            self._break(PROTOCOL_ERROR)
        elif kind is TEXT and frame.fin and self._fragments is None:
            session = self.session
            if session is not None and session.transport is self:
                session.text(frame.get_payload_as_bytes())
            else:
                self._candidate_message(frame.get_payload_as_bytes())
        elif kind is CLOSE:
            self._client_closes(transport, frame.get_payload_as_bytes())
        elif kind is PING or kind is PONG:
            if self._is_flood():
                self._break(POLICY_VIOLATION)
            elif kind is PING:
                transport.send_pong(frame.get_payload_as_bytes())
        else:
            self._fragment(frame)

    def _too_late(self, transport: WSTransport, kind: WSMsgType) -> None:
        """Handle a frame that arrived after the close: only the client's own Close matters."""
        self._late += 1
        if kind is CLOSE:
            transport.disconnect()
        elif self._late == MAX_LATE:
            transport.underlying_transport.pause_reading()

    def _is_flood(self) -> bool:
        """Count a control frame, or a fragment. Returns True if there are too many."""
        now = self._shared.clock.monotonic()
        if self._control is None:
            self._control = TokenBucket(CONTROL_RATE, now)
        return self._control.take(now) < 0

    def _fragment(self, frame: WSFrame) -> None:
        """Handle a binary frame, or a part of a message (RFC 6455 section 5.4)."""
        limits = self._settings.limits
        if (frame.msg_type is CONTINUATION) != (self._fragments is not None):
            self._break(PROTOCOL_ERROR)
            return
        if self._fragments is None:
            self._fragments, self._collected, self._binary = [], 0, frame.msg_type is BINARY
        self._fragments.append(frame.get_payload_as_bytes())
        self._collected += frame.payload_size
        if len(self._fragments) > limits.fragments or self._collected > self._max_message():
            self._break(TOO_BIG)
        elif not frame.fin and frame.payload_size < SMALL_FRAGMENT and self._exceeds_rate():
            self._break(POLICY_VIOLATION)
        elif frame.fin:
            whole, self._fragments = b"".join(self._fragments), None
            self._message(whole, binary=self._binary)

    def _max_message(self) -> int:
        """Return the current limit of a message, in bytes."""
        return self.session.max_packet if self.session is not None else self._settings.packet_before_admission

    def _exceeds_rate(self) -> bool:
        """Count a small fragment. Returns True if there are too many."""
        session = self.session
        if session is None or not session.connection.admitted:
            return self._is_flood()
        return session.bucket.take(self._shared.clock.monotonic()) <= -self._settings.event_rate

    def _message(self, data: bytes, *, binary: bool) -> None:
        """Handle a message that was put together from its parts, or a binary one."""
        session = self.session
        if session is None or session.transport is not self:
            self._candidate_message(b"" if binary else data)
        elif binary:
            session.binary(data)
        else:
            session.text(data)

    def _candidate_message(self, data: bytes) -> None:
        """Handle a message while the session still uses another transport."""
        if self.session is not None:
            self.session.candidate_text(self, data)

    def _client_closes(self, transport: WSTransport, payload: bytes) -> None:
        if _may_be_sent(payload):
            self._answer_close(transport)
        else:
            self._break(PROTOCOL_ERROR)

    def _answer_close(self, transport: WSTransport) -> None:
        self.close()
        transport.disconnect()

    def _break(self, code: int) -> None:
        self.close(code)
        if self._ws is not None:
            self._ws.disconnect()
        self.broken(code)

    def frame_refused(self) -> None:
        """Handle a frame that picows refused. It reads one frame ahead, so this one may follow a Close."""
        ws = self._ws
        handshake = ws.close_handshake if ws is not None else None
        if ws is not None and handshake is not None and handshake.recv is not None:
            self._answer_close(ws)  # what follows a Close is ignored (RFC 6455 section 5.5.1)
        else:
            self.broken()

    def broken(self, code: int = PROTOCOL_ERROR) -> None:
        """End the session, because the client violated the WebSocket protocol or sent too much; picows closes."""
        self._closing = True
        if self._ws is not None:
            self._ws.underlying_transport.pause_reading()
            # picows closes soon, but would wait forever for a client that does not read.
            asyncio.get_running_loop().call_later(CLOSE_SECONDS, self._ws.disconnect, False)
        if self.session is not None and self.session.transport is self:
            self.session.violation(f"an invalid WebSocket frame, or too many ({code})")

    def listener_failed(self) -> None:
        """Log an exception that a frame caused in roomkey, and end the session."""
        LOG.exception("closed a WebSocket: a frame could not be handled")
        self.close(INTERNAL)

    def pause_writing(self) -> None:
        """End the session, because too much waits for the client."""
        if self.session is not None and self.session.transport is self:
            self.session.too_slow()
        else:  # it is not the transport of a session
            self.abort()

    def resume_writing(self) -> None:
        """Do nothing: a connection that was paused is closed."""

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        """End the session, or its upgrade, because the connection is gone."""
        session, self.session, self._ws = self.session, None, None
        if session is None:
            return
        if session.transport is not self:
            session.candidate_lost(self)
        elif session.alive:
            handshake = transport.close_handshake
            session.end(TRANSPORT_CLOSE if handshake is not None or self._closing else TRANSPORT_ERROR)


def _may_be_sent(payload: bytes) -> bool:
    """Return True for the payload of a Close frame that has a valid code, or none (RFC 6455 section 7.4)."""
    code = int.from_bytes(payload[:2])
    return not payload or 1000 <= code <= 1003 or 1007 <= code <= 1014 or 3000 <= code <= 4999


def _frame(text: bytes) -> bytes:
    """Return a server's text frame, which is the same for every client (RFC 6455 section 5.2)."""
    size = len(text)
    return (bytes((0x81, size)) if size < 126 else b"\x81\x7e" + size.to_bytes(2, "big")) + text


def _framed(message: Message) -> bytes:
    """Return a message's frame, made once for all its receivers."""
    message.framed = _frame(message.text)
    return message.framed
