"""What test clients know about their connection, without I/O: the same for every kind of server."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from itertools import count
from typing import Any

from roomkey.errors import ConfigError
from roomkey.guard import contract
from roomkey.testing import packets
from roomkey.testing.outcomes import (
    CLIENT_LEFT,
    SERVER_LEFT,
    TRANSPORT_CLOSED,
    Closed,
    Event,
    Received,
    Refused,
    plain,
)
from roomkey.testing.packets import Packet

PATIENCE = 5.0
"""Seconds for which a test client waits for the server, before its test fails."""

Handler = Callable[..., Any]


class SocketState:
    """One test client in one namespace.

    Attributes:
        namespace: the namespace.
        sid: the socket ID that the server told; empty before that.
        received: the events that arrived.
        closed: why it is not connected any more; None while it is connected, or is connecting.
        refusal: why the server refused the CONNECT, or None.
        handlers: functions of the test, by the name of their event.
        failure: what such a function raised, or None.
    """

    def __init__(self, namespace: str) -> None:
        self.namespace = namespace
        self.sid = ""
        self.received = Received()
        self.closed: Closed | None = None
        self.refusal: Refused | None = None
        self.handlers: dict[str, Handler] = {}
        self.failure: Exception | None = None
        self._read: dict[str, int] = {}
        self._acks: dict[int, tuple[Any, ...] | None] = {}
        self._numbers = count(1)
        self._unauthorized: object = None

    @property
    def is_connected(self) -> bool:
        """True from the server's acceptance to the end."""
        return bool(self.sid) and self.closed is None

    # What the test sends

    def event(self, event: str, args: tuple[Any, ...], *, wants_ack: bool = False) -> Packet:
        """Return the packet of an event.

        Raises:
            Refused: the client is not connected.
        """
        self.check_connected()
        number = next(self._numbers) if wants_ack else None
        if number is not None:
            self._acks[number] = None
        return Packet(packets.EVENT, self.namespace, [event, *args], number)

    def check_connected(self) -> None:
        """Raise :class:`Refused` if the client is not connected."""
        if not self.is_connected:
            closed = self.closed or Closed("not connected yet")
            raise Refused(closed.message or f"this client is not connected: {closed.how}", closed.data)

    def acknowledged(self, number: int) -> bool:
        """Return True if the acknowledgement has arrived, or cannot arrive any more."""
        return self._acks[number] is not None or self.closed is not None

    def take_ack(self, number: int, event: str) -> Any:
        """Return the data of an acknowledgement.

        Raises:
            Refused: the guard rejected the event, or disconnected the client.
        """
        args = self._acks.pop(number)
        if args is None:
            self.check_connected()
            raise AssertionError(f"{event!r} was not acknowledged within {PATIENCE:g} seconds")
        answer = plain(args)
        error = answer.get("error") if isinstance(answer, Mapping) and answer.get("ok") is False else None
        if isinstance(error, Mapping) and error.get("type") == "UnauthorizedError":
            raise Refused(str(error.get("message", "")), error)
        return answer

    def has_unread(self, event: str) -> bool:
        """Return True if there is an event for :meth:`take_event`, or cannot be one any more."""
        return len(self.received(event)) > self._read.get(event, 0) or self.closed is not None

    def take_event(self, event: str) -> Any:
        """Return the data of the first event of this name that was not taken before."""
        taken, found = self._read.get(event, 0), self.received(event)
        if taken >= len(found):
            names = ", ".join(dict.fromkeys(entry.name for entry in self.received)) or "nothing"
            why = f"; it is not connected any more: {self.closed}" if self.closed else ""
            raise AssertionError(f"the client did not receive {event!r}, but {names}{why}")
        self._read[event] = taken + 1
        return found[taken]

    def answers_to_token(self) -> int:
        """Return the number of answers to ``authenticate`` that have arrived."""
        return len(self.received(contract.AUTHENTICATED)) + len(self.received(contract.UNAUTHORIZED))

    def take_answer_to_token(self) -> Any:
        """Return the data of the last answer to ``authenticate``.

        Raises:
            Refused: the server rejected the token.
        """
        last = next((event for event in reversed(self.received) if event.name in contract.EVENTS_TO_CLIENT), None)
        if last is not None and last.name == contract.AUTHENTICATED:
            return last.data
        raise Refused(*_told(self._unauthorized))

    # What arrives

    def arrived(self, packet: Packet) -> Packet | None:
        """Handle a packet, and return the acknowledgement to send, if there is one."""
        data = packet.data
        if packet.type == packets.CONNECT:
            self.sid = data["sid"]
        elif packet.type == packets.CONNECT_ERROR:
            told = data if isinstance(data, Mapping) else {"message": data}
            self.refusal = Refused(str(told.get("message")), told.get("data"))
            self.end(SERVER_LEFT)
        elif packet.type == packets.DISCONNECT:
            self.end(SERVER_LEFT)
        elif packet.type == packets.ACK and packet.id in self._acks:
            self._acks[packet.id] = tuple(data)
        elif packet.type == packets.EVENT:
            return self._event(Event(data[0], tuple(data[1:])), packet.id)
        return None

    def _event(self, event: Event, number: int | None) -> Packet | None:
        self.received.append(event)
        if event.name == contract.UNAUTHORIZED:
            self._unauthorized = event.data
        elif event.name == contract.AUTHENTICATED:
            self._unauthorized = None
        handler = self.handlers.get(event.name)
        if handler is None:
            return None
        try:
            result = handler(*event.args)
        except Exception as error:  # it belongs to the test, and not to the server, which is sending
            self.failure = error
            return None
        if number is None:
            return None
        answer = [] if result is None else list(result) if isinstance(result, tuple) else [result]
        return Packet(packets.ACK, self.namespace, answer, number)

    def check_handlers(self) -> None:
        """Raise what a function of the test has raised."""
        if self.failure is not None:
            failure, self.failure = self.failure, None
            raise failure

    def why_refused(self) -> Refused:
        """Return why the server did not accept the CONNECT, and give up waiting."""
        closed = self.closed
        self.end("refused")
        if self.refusal is not None:
            return self.refusal
        if closed is None:
            return Refused(f"the server did not answer within {PATIENCE:g} seconds")
        return Refused(closed.message or f"the server closed the connection: {closed.how}", closed.data)

    def end(self, how: str) -> None:
        """Note that the client is not connected any more; only the first end counts."""
        if self.closed is None:
            self.closed = Closed.told(how, self._unauthorized)

    def on(self, event: str, handler: Handler) -> None:
        """Call a function of the test for each event of this name.

        Raises:
            ConfigError: a coroutine function, which nothing would wait for.
        """
        if inspect.iscoroutinefunction(handler):
            raise ConfigError(f"the handler for {event!r} must be a plain function: nothing would await it")
        self.handlers[event] = handler


class Connection:
    """The namespaces on one Engine.IO connection of a test.

    Attributes:
        sockets: by namespace.
        outbox: packets that wait to be sent: acknowledgements of the test's handlers.
        changes: grows with everything that arrives.
    """

    def __init__(self) -> None:
        self.sockets: dict[str, SocketState] = {}
        self.outbox: list[Packet] = []
        self.changes = 0
        self._reader = packets.Reader()

    def opens(self, namespace: str) -> SocketState:
        """Return the state of a client that is about to send CONNECT.

        Raises:
            ConfigError: the connection has a client in this namespace.
        """
        before = self.sockets.get(namespace)
        if before is not None and before.closed is None:
            raise ConfigError(f"this connection already has a client in {namespace}; use another connection")
        socket = self.sockets[namespace] = SocketState(namespace)
        return socket

    def arrived(self, message: str | bytes) -> None:
        """Handle the data of an Engine.IO message."""
        packet = self._reader.binary(message) if isinstance(message, bytes) else self._reader.text(message)
        self.changes += 1
        socket = self.sockets.get(packet.namespace) if packet is not None else None
        if packet is not None and socket is not None and socket.closed is None:
            answer = socket.arrived(packet)
            if answer is not None:
                self.outbox.append(answer)

    def lost(self) -> None:
        """Handle the end of the transport."""
        self.changes += 1
        for socket in self.sockets.values():
            socket.end(TRANSPORT_CLOSED)

    def leave(self, socket: SocketState) -> bool:
        """Note that a client leaves its namespace, and return True if it was the last one of the connection."""
        socket.end(CLIENT_LEFT)
        return all(other.closed is not None for other in self.sockets.values())


class AnyClient:
    """What is known about a client, however its server waits.

    Attributes:
        namespace: its namespace.
    """

    def __init__(self, state: SocketState) -> None:
        self._state = state
        self.namespace = state.namespace

    def __repr__(self) -> str:
        return f"<{type(self).__name__} in {self.namespace}, {self.closed or 'connected'}>"

    @property
    def sid(self) -> str:
        """The socket ID that its handlers receive."""
        return self._state.sid

    @property
    def is_connected(self) -> bool:
        """True until it leaves, or the server disconnects it."""
        return self._state.is_connected

    @property
    def closed(self) -> Closed | None:
        """Why it is not connected any more; None while it is."""
        return self._state.closed

    @property
    def received(self) -> Received:
        """The events that it has received: a list, and ``client.received("message")`` returns the data of one name."""
        return self._state.received

    def on(self, event: str, handler: Handler) -> None:
        """Call a plain function for each event of this name; what it returns is the client's acknowledgement."""
        self._state.on(event, handler)


def _told(unauthorized: object) -> tuple[str, object]:
    data = unauthorized.get("data") if isinstance(unauthorized, Mapping) else None
    return (str(data.get("message", "")), data) if isinstance(data, Mapping) else ("no answer to the token", None)
