"""Delivery of packets to the guard and to the application's handlers."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Awaitable
from contextvars import copy_context
from functools import partial

from roomkey.core.admission import AdmissionState
from roomkey.errors import TooManyAttempts
from roomkey.guard import contract
from roomkey.guard.socket import GuardedSocket
from roomkey.hub.application import Application
from roomkey.hub.engine_session import EngineSession
from roomkey.hub.handlers import BoundHandler
from roomkey.hub.routes import UNHANDLED, Routes
from roomkey.hub.socket import NOT_HANDLED, Socket, as_arguments, call_back
from roomkey.wire import Message, Packet, PacketType, encode_parts

LOG = logging.getLogger("roomkey.hub")

# An Enum's members are slow to look up by its name, and these are needed for each message.
_EVENT, _ACK, _CONNECT, _ADMITTED = PacketType.EVENT, PacketType.ACK, PacketType.CONNECT, AdmissionState.ADMITTED
# Types of what handlers mostly return; to ask whether another value can be awaited is slow.
_PLAIN = frozenset({type(None), dict, list, str, int, bool, tuple})


class Dispatch:
    """Calls the guard once for each packet.

    Args:
        application: the guard, the handlers and the rooms.
    """

    def __init__(self, application: Application) -> None:
        self._application = application
        self._event_rate = application.settings.event_rate
        self._monotonic = application.guard.clock.monotonic
        self._start = application.tasks.start
        self._find_route = Routes(application.handlers, application.guard.events).find

    def packet(self, session: EngineSession, packet: Packet) -> None:
        """Handle a packet. Most events need no waiting, and nobody has to be asked about them."""
        kind, namespace, data, _ = packet
        if kind is _ACK:
            self._ack(session, packet)
            return
        connection = session.connection
        excess = session.bucket.take(self._monotonic())
        if excess < 0:
            self._one_too_many(session, packet, excess)
        elif kind is _EVENT:
            socket = connection.admitted_socket(namespace)
            found = self._find_route(namespace, data[0]) if socket is not None else None
            if socket is None or found is None:
                self._start(self._wait_for_guard(session, packet))
            elif found is not UNHANDLED:
                if found.is_coroutine:  # its task has a context of its own
                    self._start(self._run_handler(session, packet, socket, found))
                else:
                    copy_context().run(self._handle, session, packet, socket, found)
        elif kind is _CONNECT:
            self._start(connection.connect(namespace, data, partial(self._open_socket, session)))
        else:
            self._start(connection.disconnect(namespace))

    async def _open_socket(self, session: EngineSession, guarded: GuardedSocket) -> Socket | None:
        """Create the socket of a CONNECT, if the server has the namespace."""
        application = self._application
        if not application.handlers.knows(guarded.namespace):
            application.counts[f"refused: {contract.INVALID_NAMESPACE}"] += 1
            return None
        socket = Socket(guarded, session, application)
        application.rooms.add(socket)
        return socket

    # EVENT

    async def _wait_for_guard(self, session: EngineSession, packet: Packet) -> None:
        """Pass an event to the guard, and wait for its decision."""
        _, namespace, data, number = packet
        socket = await session.connection.event(namespace, data, number)
        found = self._application.handlers.find(data[0], namespace) if socket is not None else None
        if socket is not None and found is not None:
            self._handle(session, packet, socket, found)

    def _handle(self, session: EngineSession, packet: Packet, socket: GuardedSocket, found: BoundHandler) -> None:
        """Call the handler of an event."""
        _, _, data, _ = packet
        try:
            answer = found.handler(*found.prefix_args, socket.sid, *data[1:])
        except Exception as error:  # the application's
            self._failed(session, packet, socket, error)
            return
        if type(answer) not in _PLAIN and inspect.isawaitable(answer):
            self._start(self._wait_for_handler(session, packet, socket, answer))
        else:
            self._answer(session, packet, socket, answer)

    async def _wait_for_handler(
        self, session: EngineSession, packet: Packet, socket: GuardedSocket, answer: Awaitable[object]
    ) -> None:
        """Wait for what a handler returned."""
        try:
            given = await answer
        except Exception as error:  # the application's
            self._failed(session, packet, socket, error)
        else:
            self._answer(session, packet, socket, given)

    async def _run_handler(
        self, session: EngineSession, packet: Packet, socket: GuardedSocket, found: BoundHandler
    ) -> None:
        """Run a handler that is a coroutine function."""
        _, _, data, _ = packet
        try:
            answer = await found.handler(*found.prefix_args, socket.sid, *data[1:])
        except Exception as error:  # the application's
            self._failed(session, packet, socket, error)
        else:
            self._answer(session, packet, socket, answer)

    def _answer(self, session: EngineSession, packet: Packet, socket: GuardedSocket, answer: object) -> None:
        """Send what a handler returned as the acknowledgement, if one was asked for."""
        _, namespace, _, number = packet
        if number is not None and answer is not NOT_HANDLED and socket.state is _ADMITTED:
            try:
                text, attachments = encode_parts(_ACK, namespace, as_arguments(answer), number)
            except (TypeError, ValueError) as error:  # the value is not JSON
                self._failed(session, packet, socket, error)
                return
            if attachments:
                session.send(Message(text, attachments))
            else:
                session.send_packet(text)

    def _failed(self, session: EngineSession, packet: Packet, socket: GuardedSocket, error: Exception) -> None:
        """Handle an exception of a handler."""
        _, _, data, number = packet
        self._start(session.connection.handler_failed(socket, error, number, data[0]))

    def _one_too_many(self, session: EngineSession, packet: Packet, excess: float) -> None:
        """Reject an event over the rate; a second's worth of them, or one before admission, closes the connection."""
        connection = session.connection
        kind, namespace, _, number = packet
        if kind is not _EVENT:
            session.violation("far too many packets from one connection")  # each CONNECT costs a verification
            return
        if excess <= -self._event_rate or not connection.admitted:
            session.violation("far more events than one connection may send")
            return
        self._application.counts["refused: too many events"] += 1
        socket = connection.sockets.get(namespace)
        self._start(connection.answer_error(socket, TooManyAttempts("too many events"), number))

    # ACK

    def _ack(self, session: EngineSession, packet: Packet) -> None:
        """Call the callback. An unexpected acknowledgement counts as an event and does not start a task."""
        connection = session.connection
        _, namespace, data, number = packet
        guarded = connection.ack(namespace)
        socket: Socket | None = self._application.rooms.get(guarded.sid) if guarded is not None else None
        callback = socket.take_ack(number or 0) if socket is not None else None
        if callback is not None:
            call_back(self._start, callback, data)
        elif session.bucket.take(self._monotonic()) <= -self._event_rate:
            session.violation("far too many packets from one connection")
        else:
            connection.unexpected_ack(namespace)
