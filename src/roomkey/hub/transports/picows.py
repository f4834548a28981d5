"""WebSockets on picows, which reads and writes the frames."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from picows import WSCloseCode, WSFrame, WSListener, WSMsgType, WSTransport

from roomkey.core.rate import TokenBucket
from roomkey.guard.clock import Clock
from roomkey.hub.session import (
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
FRAME_HEAD = 14  # bytes, at most
CLOSE_SECONDS = 1.0
LARGE = 16_384  # bytes; what is larger is sent at once, and so is what comes after MOST_CORKED others
MOST_CORKED = 64

CONTROL_RATE = 100.0
"""Control frames, and fragments before admission, that one WebSocket may send per second; one more closes it."""

MOST_LATE = 1000
"""Frames that are read after a close, in case the client's own Close is behind them."""

SMALL_FRAGMENT = 1024
"""Bytes. A smaller part of a message counts as an event: it costs the server as much."""


Opened = Callable[["PicowsWebSocket"], None]
"""Called when the handshake is done."""


class PicowsWebSockets:
    """Makes the WebSockets of a hub, and sends what they hold back until the end of a turn of the event loop.

    Args:
        settings: the hub's.
        clock: where to read the time.
    """

    def __init__(self, settings: HubSettings, clock: Clock) -> None:
        self.settings = settings
        self.clock = clock
        self._corked: list[PicowsWebSocket] = []

    def make(self, session: EngineSession, opened: Opened | None = None) -> PicowsWebSocket:
        """Return a WebSocket for a session.

        Args:
            session: the session that it carries, or that may be upgraded to it.
            opened: called when the handshake is done.
        """
        return PicowsWebSocket(self, session, opened)

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
                LOG.exception("a connection could not be written to")


class PicowsWebSocket(WSListener):
    """One WebSocket: a :class:`roomkey.hub.session.Transport`, and what picows reports to.

    Args:
        shared: what all WebSockets of the hub share.
        session: the session that it carries, or that may be upgraded to it.
        opened: called when the handshake is done.

    Attributes:
        session: that session; None once the connection is gone.
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

    def __init__(self, shared: PicowsWebSockets, session: EngineSession, opened: Opened | None) -> None:
        self._corked: list[Message] | None = None
        self._shared = shared
        self._settings = shared.settings
        self._opened = opened
        self._ws: WSTransport | None = None
        self._fragments: list[bytes] | None = None
        self._collected = self._late = 0
        self._control: TokenBucket | None = None  # most clients send no control frame, ever
        self._gate: Gate | None = None
        self._binary = False
        self._closing = False
        self.session: EngineSession | None = session

    def start(self, transport: asyncio.Transport, key: str, rest: bytes, first: bytes | None = None) -> None:
        """Do the handshake on a connection whose request was read and accepted.

        Args:
            transport: the connection; its protocol is replaced.
            key: ``Sec-WebSocket-Key``.
            rest: what arrived after the request.
            first: the packet that the client gets together with the answer, in one call of the system.
        """
        greeting = _frame(first) if first is not None else b""
        protocol = make_protocol(transport, self, self, greeting, self._settings.limits.payload)
        self._gate = Gate(protocol, self, transport)
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
        """Send with what else is sent in this turn of the event loop: many broadcasts in one call of the system."""
        corked = self._corked
        if message.attachments or len(message.text) > LARGE:
            self.send(message)
        elif corked is None:
            self._corked = [message]
            self._shared.cork(self)
        elif len(corked) < MOST_CORKED:
            corked.append(message)
        else:
            self.send(message)

    def uncork(self) -> None:
        """Send what waited for the end of the turn."""
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
        """Close after what was sent has left, or after a short while."""
        ws = self._ws
        if ws is not None and not self._closing:
            self.uncork()
            self._closing = True
            ws.send_close(WSCloseCode(code))
            # Not now: while the client sends, TCP would reset, and what was sent last be lost (RFC 6455 section 7.1.1).
            asyncio.get_running_loop().call_later(CLOSE_SECONDS, ws.disconnect, False)
        return True

    def abort(self) -> None:
        """Close now."""
        if self._ws is not None:
            self._closing = True
            self._ws.disconnect(False)

    def client_closing(self) -> None:
        """The client has said that it closes."""

    def drain(self) -> list[Part]:
        """Nothing: a session never moves from a WebSocket to another transport."""
        return []

    # What picows reports

    def on_ws_connected(self, transport: WSTransport) -> None:
        """The handshake is done."""
        self._ws = transport
        del transport.request.headers  # of no more use, and a kilobyte
        # pause_writing() is called when more than this waits for a client that does not read.
        transport.underlying_transport.set_write_buffer_limits(high=self._settings.max_unsent)
        opened, self._opened = self._opened, None
        if opened is not None:
            opened(self)

    def arrived(self, gate: Gate) -> None:
        """Bytes arrived: close where they are too many for one frame, and remove the gate after the admission."""
        session = self.session
        if session is None or self._closing:
            return
        if session.connection.admitted:
            self._gate = None
            gate.open()
        elif gate.pending > self._settings.packet_before_admission + FRAME_HEAD:
            self._break(TOO_BIG)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """A frame arrived, unmasked."""
        kind = frame.msg_type
        if self._gate is not None:
            self._gate.pending = frame.tail_size
        if self._closing:
            self._too_late(transport, kind)
            return
        if frame.rsv1 or frame.rsv2 or frame.rsv3:  # no extension was agreed on (RFC 6455 section 5.2)
            self._break(PROTOCOL_ERROR)
        elif kind is TEXT and frame.fin and self._fragments is None:
            self._text(frame.get_payload_as_bytes())
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
        """A frame arrived after the close: only the client's own Close matters, and not much is read for it."""
        self._late += 1
        if kind is CLOSE:
            transport.disconnect()
        elif self._late == MOST_LATE:
            transport.underlying_transport.pause_reading()

    def _is_flood(self) -> bool:
        """Count a control frame, or what is counted like one."""
        now = self._shared.clock.monotonic()
        if self._control is None:
            self._control = TokenBucket(CONTROL_RATE, now)
        return self._control.take(now) < 0

    def _fragment(self, frame: WSFrame) -> None:
        """A binary frame, or a part of a message (RFC 6455 section 5.4)."""
        limits = self._settings.limits
        if (frame.msg_type is CONTINUATION) != (self._fragments is not None):
            self._break(PROTOCOL_ERROR)
            return
        if self._fragments is None:
            self._fragments, self._collected, self._binary = [], 0, frame.msg_type is BINARY
        self._fragments.append(frame.get_payload_as_bytes())
        self._collected += frame.payload_size
        if len(self._fragments) > limits.fragments or self._collected > self._most():
            self._break(TOO_BIG)
        elif not frame.fin and frame.payload_size < SMALL_FRAGMENT and self._is_one_too_many():
            self._break(POLICY_VIOLATION)
        elif frame.fin:
            whole, self._fragments = b"".join(self._fragments), None
            (self._data if self._binary else self._text)(whole)

    def _most(self) -> int:
        """Bytes that a message may have now."""
        return self.session.max_packet if self.session is not None else self._settings.packet_before_admission

    def _is_one_too_many(self) -> bool:
        """Count a small fragment."""
        session = self.session
        if session is None or not session.connection.admitted:
            return self._is_flood()
        return session.take_event(self._shared.clock.monotonic()) <= -self._settings.event_rate

    def _text(self, data: bytes) -> None:
        session = self.session
        if session is None:
            return
        if session.transport is self:
            session.text(data)
        else:
            session.candidate_text(self, data)

    def _data(self, data: bytes) -> None:
        session = self.session
        if session is None:
            return
        if session.transport is self:
            session.binary(data)
        else:
            session.candidate_text(self, b"")

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

    def refused(self) -> None:
        """picows refuses a frame; it reads one ahead, so that this one may stand behind a Close."""
        ws = self._ws
        handshake = ws.close_handshake if ws is not None else None
        if ws is not None and handshake is not None and handshake.recv is not None:
            self._answer_close(ws)  # nothing that follows a Close counts (RFC 6455 section 5.5.1)
        else:
            self.broken()

    def broken(self, code: int = PROTOCOL_ERROR) -> None:
        """The client broke the WebSocket protocol, or sent too much; picows closes."""
        self._closing = True
        if self._ws is not None:
            self._ws.underlying_transport.pause_reading()
            # picows closes soon, and would wait for ever for a client that does not read what it was sent before.
            asyncio.get_running_loop().call_later(CLOSE_SECONDS, self._ws.disconnect, False)
        if self.session is not None and self.session.transport is self:
            self.session.violation(f"an invalid WebSocket frame, or too many ({code})")

    def failed(self) -> None:
        """Handling a frame failed: our mistake, and the client's session ends."""
        LOG.exception("a frame could not be handled, so its connection is closed")
        self.close(INTERNAL)

    def pause_writing(self) -> None:
        """More waits for the client than may."""
        if self.session is not None and self.session.transport is self:
            self.session.too_slow()
        else:  # not a session's transport yet, or no more
            self.abort()

    def resume_writing(self) -> None:
        """The client reads again: it was closed before."""

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        """The connection is gone."""
        session, self.session, self._ws = self.session, None, None
        if session is None:
            return
        session.candidate_lost(self)
        if session.alive and session.transport is self:
            handshake = transport.close_handshake
            session.end(TRANSPORT_CLOSE if handshake is not None or self._closing else TRANSPORT_ERROR)


def _may_be_sent(payload: bytes) -> bool:
    """True for the payload of a Close frame without a code, or with one that may be sent (RFC 6455 section 7.4)."""
    code = int.from_bytes(payload[:2])
    return not payload or 1000 <= code <= 1003 or 1007 <= code <= 1014 or 3000 <= code <= 4999


def _frame(text: bytes) -> bytes:
    """A text frame of a server, which is the same for every client (RFC 6455 section 5.2)."""
    size = len(text)
    return (bytes((0x81, size)) if size < 126 else b"\x81\x7e" + size.to_bytes(2, "big")) + text


def _framed(message: Message) -> bytes:
    """A message as a frame, made once for all its receivers."""
    message.framed = _frame(message.text)
    return message.framed
