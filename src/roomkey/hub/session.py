"""One Engine.IO session: a client, whatever transport carries it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from roomkey.core.rate import TokenBucket
from roomkey.guard.registry import Connection
from roomkey.hub.http.requests import HttpRequest
from roomkey.wire import (
    Decoder,
    EngineType,
    Message,
    Packet,
    TransportAction,
    TransportInput,
    TransportMachine,
    TransportState,
    Violation,
    decode_packet,
)

if TYPE_CHECKING:
    from roomkey.hub.engine import Engine

LOG = logging.getLogger("roomkey.hub")

CLIENT_DISCONNECT, SERVER_DISCONNECT = "client disconnect", "server disconnect"
PING_TIMEOUT, TRANSPORT_CLOSE, TRANSPORT_ERROR = "ping timeout", "transport close", "transport error"
VIOLATION = "protocol violation"
_NOTHING_TO_SAY = frozenset({CLIENT_DISCONNECT, PING_TIMEOUT, TRANSPORT_CLOSE, TRANSPORT_ERROR, VIOLATION})

PING, NOOP, PROBE, PROBE_ANSWER, UPGRADE = b"2", b"6", b"2probe", b"3probe", b"5"
_MESSAGE = b"4"
ANONYMOUS_RATE = 100.0  # packets per second before admission
_CLOSED = TransportState.CLOSED  # an Enum's members are slow to look up by its name

NORMAL, PROTOCOL_ERROR, NOT_UTF8, POLICY_VIOLATION, TOO_BIG, INTERNAL = 1000, 1002, 1007, 1008, 1009, 1011
"""Close codes of a WebSocket (RFC 6455 section 7.4.1)."""


Part = tuple[bytes, bool]
"""An Engine.IO packet, and whether it is a binary message."""


class Transport(Protocol):
    """What carries packets to a client. A method of one that is gone does nothing."""

    def send(self, message: Message) -> None:
        """Send a Socket.IO packet, with its attachments."""

    def send_soon(self, message: Message) -> None:
        """The same for one of many receivers; it may wait for the end of this turn of the event loop."""

    def send_packet(self, packet: bytes, *, binary: bool = False) -> None:
        """Send one Engine.IO packet, or the data of a binary message."""

    def close(self, code: int = NORMAL) -> bool:
        """Close after what was sent has left, or after a short while; False if something waits to be fetched."""

    def abort(self) -> None:
        """Close now."""

    def left(self) -> None:
        """The client has said that it closes."""

    def take(self) -> list[Part]:
        """What was sent and has not left, for another transport."""


class EngineSession:
    """A client of the hub. It is alive from its opening to :meth:`end`, whichever side that comes from.

    Args:
        engine: what all sessions share.
        connection: the guard's side of it; its id is the session's (``eio_sid``).
        request: what opened it.
        state: the transport it begins on.

    Attributes:
        binding: the value of the cookie it is bound to, if it is.
        ended_for: the reason of its end.
        transport: what carries it now.
        send: sends a Socket.IO packet by that transport.
        send_soon: the same for one of many receivers.
    """

    __slots__ = (
        "_bucket",
        "_candidate",
        "_decoder",
        "_engine",
        "_state",
        "binding",
        "connection",
        "ended_for",
        "request",
        "send",
        "send_soon",
        "transport",
    )

    transport: Transport
    send: Callable[[Message], None]
    send_soon: Callable[[Message], None]

    def __init__(self, engine: Engine, connection: Connection, request: HttpRequest, state: TransportState) -> None:
        self._engine = engine
        self._state = TransportMachine(state)
        self._decoder = Decoder(engine.limits)
        self._bucket = TokenBucket(min(engine.event_rate, ANONYMOUS_RATE), connection.opened_at)
        self._candidate: Transport | None = None
        self.binding: str | None = None
        self.ended_for: str | None = None
        self.connection = connection
        self.request = request

    @property
    def eio_sid(self) -> str:
        """Its id; never written to a log."""
        return self.connection.connection_id

    @property
    def alive(self) -> bool:
        """False once it has ended."""
        return self._state.state is not _CLOSED

    @property
    def upgraded(self) -> bool:
        """True if a WebSocket carries it."""
        return self._state.state is TransportState.WEBSOCKET

    @property
    def max_packet(self) -> int:
        """Bytes that a packet may have now: fewer before anything is admitted."""
        return self._engine.limits.payload if self.connection.admitted else self._engine.anonymous_packet

    @property
    def max_body(self) -> int:
        """Bytes that a polling body may have now; before admission, as much as several packets may."""
        return self._engine.limits.payload if self.connection.admitted else self._engine.anonymous_body

    def use(self, transport: Transport) -> None:
        """Send by this transport from now on."""
        self.transport = transport
        self.send = transport.send
        self.send_soon = transport.send_soon

    # What arrives

    def text(self, data: bytes) -> None:
        """An Engine.IO text packet arrived on the current transport."""
        if len(data) > self._engine.anonymous_packet and not self.connection.admitted:
            self.violation("a large packet before admission", code=TOO_BIG)
        elif data[:1] == _MESSAGE:  # in every state but CLOSED; looking into the table would cost each message
            if self._state.state is not _CLOSED and not self.connection.closing:
                packet = self._decoder.text(data[1:])
                if type(packet) is Packet:
                    self._engine.deliver(self, packet)
                elif packet is None:
                    self._engine.await_attachments(self)
                elif isinstance(packet, Violation):
                    self.violation(packet.reason, code=_code_for(data))
        else:
            self._control(data)

    def _control(self, data: bytes) -> None:
        """An Engine.IO packet that is no message."""
        control = decode_packet(data)
        kind = None if isinstance(control, Violation) or control.data else control.type
        if kind is EngineType.PONG:
            self._do(self._state.feed(TransportInput.PONG))
        elif kind is EngineType.CLOSE:
            self._state.feed(TransportInput.CLOSE)
            self.transport.left()
            self.end(CLIENT_DISCONNECT)
        elif self.alive:
            self.violation("an Engine.IO packet that no client sends", code=_code_for(data))

    def binary(self, data: bytes) -> None:
        """A binary message arrived on the current transport."""
        if self._state.state is not _CLOSED and not self.connection.closing:
            packet = self._decoder.binary(data)
            if packet is not None:
                self._received(packet)

    def _received(self, packet: Packet | Violation) -> None:
        if type(packet) is Packet:
            self._engine.deliver(self, packet)
        elif isinstance(packet, Violation):
            self.violation(packet.reason)

    @property
    def attachments_missing(self) -> bool:
        """True while a packet's attachments have not all arrived."""
        return self._decoder.waiting

    def take_event(self, now: float) -> float:
        """Count an event against the session's rate; below 0 it is one too many."""
        if self._bucket.rate != self._engine.event_rate and self.connection.admitted:
            self._bucket = TokenBucket(self._engine.event_rate, now)
        return self._bucket.take(now)

    # The heartbeat

    def beat(self) -> None:
        """It is time for a ping, or the pong is missing."""
        self._do(self._state.feed(TransportInput.HEARTBEAT_DUE))

    def _do(self, action: TransportAction | None) -> None:
        if action is TransportAction.PING:
            self.transport.send_packet(PING)
            self._engine.beat_after(self, self._engine.ping_timeout)
        elif action is TransportAction.REST:
            self._engine.beat_after(self, self._engine.ping_interval)
        elif action is TransportAction.END_SILENT:
            self.end(PING_TIMEOUT)
        elif action is TransportAction.END:
            self.violation("a pong without a ping", closed=True)

    # From polling to WebSocket

    def offer(self, candidate: Transport) -> bool:
        """A WebSocket with the session's id opened. Returns False if it is not wanted."""
        if self._state.feed(TransportInput.OFFER) is TransportAction.REFUSE_CANDIDATE:
            return False
        self._candidate = candidate
        self._engine.await_upgrade(self)
        return True

    def candidate_text(self, candidate: Transport, data: bytes) -> None:
        """A text packet arrived on a WebSocket that is not the transport yet."""
        if candidate is not self._candidate:
            return
        happened = {PROBE: TransportInput.PROBE, UPGRADE: TransportInput.UPGRADE}.get(
            data, TransportInput.CANDIDATE_LOST
        )
        action = self._state.feed(happened)
        if action is TransportAction.ANSWER_PROBE:
            candidate.send_packet(PROBE_ANSWER)
            self.transport.send_packet(NOOP)  # a waiting poll would keep the client from going on
        elif action is TransportAction.SWITCH:
            self._switch(candidate)
        elif action is TransportAction.DROP_CANDIDATE:
            self._drop_candidate()

    def candidate_lost(self, candidate: Transport | None = None) -> None:
        """A WebSocket closed, or took too long, before it became the transport."""
        if candidate is None or candidate is self._candidate:
            self._state.feed(TransportInput.CANDIDATE_LOST)
            self._drop_candidate()

    @property
    def upgrading(self) -> bool:
        """True between the answer to a probe and the upgrade: polls are answered at once."""
        return self._state.state is TransportState.PROBED

    def _drop_candidate(self) -> None:
        candidate, self._candidate = self._candidate, None
        if candidate is not None:
            candidate.close(PROTOCOL_ERROR)

    def _switch(self, candidate: Transport) -> None:
        self._candidate = None
        before = self.transport
        self.use(candidate)
        for packet, binary in before.take():
            if binary or packet != NOOP:
                candidate.send_packet(packet, binary=binary)
        before.close()
        self._engine.switched(self)

    # The end

    def violation(self, detail: str, *, closed: bool = False, code: int = POLICY_VIOLATION) -> None:
        """Something arrived that no honest client sends: the guard closes the connection.

        Args:
            closed: the state says that it has ended, and nothing was done about it yet.
            code: for the WebSocket.
        """
        if (self.alive or closed) and not self.connection.closing:
            self.ended_for = VIOLATION
            self._engine.violation(self, detail, code)

    def end(self, reason: str, code: int = NORMAL, *, abort: bool = False) -> None:
        """End the session, and close its transport.

        Args:
            reason: what disconnect handlers are told.
            code: for the WebSocket.
            abort: do not wait for what was sent to leave.
        """
        if not self._engine.forget(self):
            return
        self._state.feed(TransportInput.LOST)
        self.ended_for = self.ended_for or reason
        self._drop_candidate()
        drained = True
        if abort:
            self.transport.abort()
        else:
            drained = self.transport.close(code) or self.ended_for in _NOTHING_TO_SAY
        self._engine.ended(self, reason, drained=drained)


def _code_for(text: bytes) -> int:
    """How to close for a text that is malformed."""
    try:
        text.decode()
    except UnicodeDecodeError:
        return NOT_UTF8
    return POLICY_VIOLATION
