"""One Engine.IO session: a client, whichever transport it uses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from roomkey.core.rate import TokenBucket
from roomkey.guard.connection import GuardedConnection
from roomkey.guard.host import CLIENT_DISCONNECT, SERVER_DISCONNECT
from roomkey.guard.settings import UPGRADE_SECONDS
from roomkey.guard.timers import Timers
from roomkey.hub.settings import ATTACHMENT_SECONDS, HubSettings
from roomkey.wire import (
    Decoder,
    EngineType,
    Message,
    Packet,
    PacketType,
    TransportAction,
    TransportInput,
    TransportMachine,
    TransportState,
    Violation,
    decode_packet,
    encode,
)

PING_TIMEOUT, TRANSPORT_CLOSE, TRANSPORT_ERROR = "ping timeout", "transport close", "transport error"
VIOLATION = "protocol violation"
_NOTHING_TO_SAY = frozenset({CLIENT_DISCONNECT, PING_TIMEOUT, TRANSPORT_CLOSE, TRANSPORT_ERROR, VIOLATION})

PING, NOOP, PROBE, PROBE_ANSWER, UPGRADE_PACKET = b"2", b"6", b"2probe", b"3probe", b"5"
_MESSAGE = ord("4")
_ON_CANDIDATE = {PROBE: TransportInput.PROBE, UPGRADE_PACKET: TransportInput.UPGRADE}
UPGRADE_AT_END_SECONDS = 3.0
"""How long a session that ends waits for an upgrade that has begun: until then, its client does not fetch packets."""
ANONYMOUS_RATE = 100.0  # packets per second before admission
_CLOSED = TransportState.CLOSED  # an Enum's members are slow to look up by their names

NORMAL, PROTOCOL_ERROR, NOT_UTF8, POLICY_VIOLATION, TOO_BIG, INTERNAL = 1000, 1002, 1007, 1008, 1009, 1011
"""Close codes of a WebSocket (RFC 6455 section 7.4.1)."""


Part = tuple[bytes, bool]
"""An Engine.IO packet, and whether it is a binary message."""


class Transport(Protocol):
    """Carries packets to a client. The methods of a transport that is closed do nothing."""

    def send(self, message: Message) -> None:
        """Send a Socket.IO packet, with its attachments."""

    def send_batched(self, message: Message) -> None:
        """Send a packet that has many receivers; it may wait for the end of this turn of the event loop."""

    def send_packet(self, packet: bytes, *, binary: bool = False) -> None:
        """Send one Engine.IO packet, or the data of a binary message."""

    def close(self, code: int = NORMAL) -> bool:
        """Close when everything is sent, or after a short time.

        Returns:
            False if a poll has still to fetch something.
        """

    def abort(self) -> None:
        """Close immediately."""

    def client_closing(self) -> None:
        """Note that the client has announced that it closes."""

    def on_admitted(self) -> None:
        """Allow larger messages, because a socket of the session is admitted."""

    def drain(self) -> list[Part]:
        """Return what is still unsent, so that another transport can send it."""


class OpeningRequest(Protocol):
    """The HTTP request that opened a session."""

    def environ(self) -> dict[str, Any]:
        """Return the request as a WSGI environ (PEP 3333)."""


class SessionOwner(Protocol):
    """The hub's sessions, as one of them sees them."""

    settings: HubSettings
    active: dict[str, EngineSession]
    timers: Timers
    now: Callable[[], float]
    new_sid: Callable[[], str]
    deliver: Callable[[EngineSession, Packet], None]

    def count_violation(self) -> None:
        """Count a violation of the protocol."""

    def too_slow(self, session: EngineSession) -> None:
        """End a session for which too much waits unsent."""

    def linger(self, session: EngineSession) -> None:
        """Keep an ended session for a while, because a poll may still fetch its last packets."""

    def drained(self, session: EngineSession) -> None:
        """Forget an ended session."""


class EngineSession:
    """One Engine.IO session, from its opening to :meth:`end`: the hub's host connection for the guard.

    Args:
        owner: the hub's sessions.
        request: the request that opened it.
        state: the transport on which it begins.
        now: when it opened, in seconds on the monotonic clock.

    Attributes:
        connection: the guard's side of it; the guard sets it when it accepts the session.
        eio_sid: the session's ID; never written to a log.
        bucket: counts its packets, but for acknowledgements that the server waits for.
        binding: the value of the cookie to which it is bound, or None.
        ended_for: why it has ended, or None.
        transport: its current transport.
        send: sends a Socket.IO packet on that transport.
        send_batched: sends a packet that has many receivers.
        send_packet: sends one Engine.IO packet.
    """

    __slots__ = (
        "_candidate",
        "_decoder",
        "_end_code",
        "_owner",
        "_settings",
        "_state",
        "binding",
        "bucket",
        "connection",
        "eio_sid",
        "ended_for",
        "request",
        "send",
        "send_batched",
        "send_packet",
        "transport",
    )

    reopens = True
    connection: GuardedConnection
    transport: Transport
    send: Callable[[Message], None]
    send_batched: Callable[[Message], None]
    send_packet: Callable[[bytes], None]

    def __init__(self, owner: SessionOwner, request: OpeningRequest, state: TransportState, now: float) -> None:
        settings = owner.settings
        self._owner = owner
        self._settings = settings
        self._state = TransportMachine(state)
        self._decoder = Decoder(settings.limits)
        self.bucket = TokenBucket(min(settings.event_rate, ANONYMOUS_RATE), now)
        self._candidate: Transport | None = None
        self._end_code: int | None = None
        self.binding: str | None = None
        self.ended_for: str | None = None
        self.eio_sid = owner.new_sid()
        self.request = request

    @property
    def alive(self) -> bool:
        """False once it has ended."""
        return self._state.state is not _CLOSED

    @property
    def upgraded(self) -> bool:
        """True if its transport is a WebSocket."""
        return self._state.state is TransportState.WEBSOCKET

    @property
    def max_packet(self) -> int:
        """The current limit of a packet, in bytes; it is lower before admission."""
        settings = self._settings
        return settings.limits.payload if self.connection.admitted else settings.packet_before_admission

    @property
    def max_body(self) -> int:
        """The current limit of a polling body, in bytes; before admission it has room for several packets."""
        settings = self._settings
        return settings.limits.payload if self.connection.admitted else settings.body_before_admission

    def use(self, transport: Transport) -> None:
        """Send on this transport from now on."""
        self.transport = transport
        self.send = transport.send
        self.send_batched = transport.send_batched
        self.send_packet = transport.send_packet

    # Packets from the client

    def text(self, data: bytes) -> None:
        """Handle an Engine.IO text packet from the current transport."""
        if len(data) > self._settings.packet_before_admission and not self.connection.admitted:
            self.violation("a large packet before admission", code=TOO_BIG)
        # Messages are allowed in every state but CLOSED; a look into the table would slow each of them.
        elif data and data[0] == _MESSAGE:
            if self._state.state is not _CLOSED and not self.connection.closing:
                packet = self._decoder.text(data, 1)
                if type(packet) is tuple:
                    self._owner.deliver(self, packet)
                elif packet is None:
                    self._await_attachments()
                elif isinstance(packet, Violation):
                    self.violation(packet.reason, code=_code_for(data))
        else:
            self._control(data)

    def _control(self, data: bytes) -> None:
        """Handle an Engine.IO packet that is not a message."""
        control = decode_packet(data)
        kind = None if isinstance(control, Violation) or control.data else control.type
        if kind is EngineType.PONG:
            self._heartbeat(self._state.handle(TransportInput.PONG))
        elif kind is EngineType.CLOSE:
            self._state.handle(TransportInput.CLOSE)
            self.transport.client_closing()
            self.end(CLIENT_DISCONNECT)
        else:
            self.violation("an Engine.IO packet that clients must not send", code=_code_for(data))

    def binary(self, data: bytes) -> None:
        """Handle a binary message from the current transport."""
        if self._state.state is not _CLOSED and not self.connection.closing:
            packet = self._decoder.binary(data)
            if type(packet) is tuple:
                self._owner.deliver(self, packet)
            elif isinstance(packet, Violation):
                self.violation(packet.reason)

    def _await_attachments(self) -> None:
        """Wait for the attachments of a packet; before admission none are collected."""
        if self.connection.admitted:
            self._owner.timers.after(self.attachments_due, ATTACHMENT_SECONDS)
        else:
            self.violation("a binary packet before admission")

    # Deadlines

    def attachments_due(self) -> None:
        """Close the connection if a packet's attachments have not all arrived."""
        if self._decoder.waiting:
            self.violation("attachments that did not all arrive in time")

    def heartbeat_due(self) -> None:
        """Send a ping, or end the session if the pong is missing."""
        self._heartbeat(self._state.handle(TransportInput.HEARTBEAT_DUE))

    def _heartbeat(self, action: TransportAction | None) -> None:
        if action is TransportAction.PING:
            self.transport.send_packet(PING)
            self._owner.timers.after(self.heartbeat_due, self._settings.ping_timeout)
        elif action is TransportAction.REST:
            self._owner.timers.after(self.heartbeat_due, self._settings.ping_interval)
        elif action is TransportAction.END_SILENT:
            self.end(PING_TIMEOUT)
        elif action is TransportAction.END:
            self.violation("a pong without a ping", closed=True)

    # What the guard asks of a host

    async def refuse(self, namespace: str, message: str, data: object) -> None:
        """Reply to a CONNECT with CONNECT_ERROR."""
        if self.alive:
            told = {"message": message} if data is None else {"message": message, "data": data}
            # Mostly the close follows, in the same write.
            self.send_batched(encode(PacketType.CONNECT_ERROR, namespace, told))

    def on_admitted(self) -> None:
        """Allow what an admitted client can send."""
        if self.bucket.rate != self._settings.event_rate:
            self.bucket = TokenBucket(self._settings.event_rate, self._owner.now())
        self.transport.on_admitted()

    def close(self, code: int | None = None) -> None:
        """End the session, because the guard closes the connection.

        Between the probe and the upgrade, a client fetches no packets, and it takes a WebSocket that closes for a lost
        connection. So it would not receive the reason: the session first waits for the upgrade.
        """
        code = NORMAL if code is None else code
        if self.upgrading and self._end_code is None and self.ended_for is None:
            self._end_code = code
            self._owner.timers.after(self.candidate_lost, UPGRADE_AT_END_SECONDS)
        else:
            self.end(SERVER_DISCONNECT, code)

    def _end_if_due(self) -> None:
        if self._end_code is not None:
            self.end(SERVER_DISCONNECT, self._end_code)

    def drained(self) -> None:
        """Forget the session: it has ended, and its last packets were fetched, or were not fetched in time."""
        self._owner.drained(self)

    # From polling to WebSocket

    def offer_upgrade(self, candidate: Transport) -> bool:
        """Offer a WebSocket that was opened with the session's ID. Returns False if the session does not want it."""
        if self._state.handle(TransportInput.OFFER) is TransportAction.REFUSE_CANDIDATE:
            return False
        self._candidate = candidate
        self._owner.timers.after(self.candidate_lost, UPGRADE_SECONDS)
        return True

    def candidate_text(self, candidate: Transport, data: bytes) -> None:
        """Handle a text packet from a WebSocket that is not the transport yet."""
        if candidate is not self._candidate:
            return
        action = self._state.handle(_ON_CANDIDATE.get(data, TransportInput.CANDIDATE_LOST))
        if action is TransportAction.ANSWER_PROBE:
            candidate.send_packet(PROBE_ANSWER)
            self.transport.send_packet(NOOP)  # the client goes on only when no poll waits
        elif action is TransportAction.SWITCH:
            self._switch(candidate)
        elif action is TransportAction.DROP_CANDIDATE:
            self._drop_candidate()
            self._end_if_due()

    def candidate_lost(self, candidate: Transport | None = None) -> None:
        """Drop a WebSocket that closed, or took too long, before it became the transport."""
        if candidate is None or candidate is self._candidate:
            self._state.handle(TransportInput.CANDIDATE_LOST)
            self._drop_candidate()
            self._end_if_due()

    @property
    def upgrading(self) -> bool:
        """True between the answer to a probe and the upgrade, while polls must not wait."""
        return self._state.state is TransportState.PROBED

    def _drop_candidate(self) -> None:
        candidate, self._candidate = self._candidate, None
        if candidate is not None:
            candidate.close(PROTOCOL_ERROR)

    def _switch(self, candidate: Transport) -> None:
        self._candidate = None
        before = self.transport
        self.use(candidate)
        if self.connection.admitted:
            candidate.on_admitted()
        for packet, binary in before.drain():
            if binary or packet != NOOP:
                candidate.send_packet(packet, binary=binary)
        before.close()
        self._owner.timers.cancel(self.candidate_lost)
        self._end_if_due()

    # The end

    def violation(self, detail: str, *, closed: bool = False, code: int = POLICY_VIOLATION) -> None:
        """Let the guard close the connection, because the client violated the protocol.

        Args:
            detail: what the client did, for the log.
            closed: the state is CLOSED already because of this violation.
            code: the WebSocket's close code.
        """
        if (closed or self._state.state is not _CLOSED) and not self.connection.closing:
            self.ended_for = VIOLATION
            self._owner.count_violation()
            self.connection.violation(detail, code)

    def too_slow(self) -> None:
        """End the session, because too much waits unsent."""
        self._owner.too_slow(self)

    def end(self, reason: str, code: int = NORMAL, *, abort: bool = False) -> None:
        """End the session and close its transport.

        Args:
            reason: the reason for the disconnect handlers.
            code: the WebSocket's close code.
            abort: True closes immediately, even if something is still unsent.
        """
        if self._owner.active.pop(self.eio_sid, None) is None:  # it has already ended
            return
        self._owner.timers.cancel(self.heartbeat_due, self.attachments_due, self.candidate_lost)
        self._state.handle(TransportInput.LOST)
        self.ended_for = self.ended_for or reason
        if self._candidate is not None:
            self._drop_candidate()
        drained = True
        if abort:
            self.transport.abort()
        else:
            drained = self.transport.close(code) or self.ended_for in _NOTHING_TO_SAY
        if not drained:
            self._owner.linger(self)
        self.connection.lost(reason)


def _code_for(text: bytes) -> int:
    """Return the close code for a malformed text."""
    try:
        text.decode()
    except UnicodeDecodeError:
        return NOT_UTF8
    return POLICY_VIOLATION
