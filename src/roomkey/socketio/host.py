"""The host interface for python-socketio: one connection, and one socket for each namespace on it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from socketio import packet
from socketio.exceptions import ConnectionRefusedError as HostRefusal

from roomkey.core.callables import accepts
from roomkey.errors import AuthError, Declined, PermissionDenied
from roomkey.guard import contract
from roomkey.guard.connection import GuardedConnection
from roomkey.guard.socket import GuardedSocket
from roomkey.guard.waiting import Waiting
from roomkey.socketio.transports import CommonTransports

LOG = logging.getLogger("roomkey.guard")


class SocketIOConnection:
    """One Engine.IO connection: :class:`roomkey.guard.host.HostConnection` for python-socketio.

    Attributes:
        eio_sid: its ID; never written to a log.
        guarded: the guard's side of it.
        declined: by namespace, the answer of a connect handler that refused.
        closing: nothing more is sent on it, apart from what is queued.
        polls: a long poll waits.
        grow: lets the WebSocket's library read larger messages, if it has a limit of its own.
    """

    reopens = False  # python-socketio keeps the socket until its disconnect handler has ended
    guarded: GuardedConnection

    def __init__(self, eio_sid: str, transports: CommonTransports, background: Waiting) -> None:
        self.eio_sid = eio_sid
        self.declined: dict[str, dict[str, Any]] = {}
        self.closing = self.polls = False
        self.grow: Callable[[], None] | None = None
        self._transports = transports
        self._background = background

    async def refuse(self, namespace: str, message: str, data: object) -> None:
        """Reply with CONNECT_ERROR."""
        sio = self._transports.sio
        sid = sio.manager.sid_from_eio_sid(self.eio_sid, namespace)
        if sid is not None:
            await self._background.at_once(sio.manager.disconnect, sid, namespace, ignore_queue=True)
        told = self.declined.pop(namespace, None)
        if told is None:
            told = {"message": message} if data is None else {"message": message, "data": data}
        await self._transports.send(
            self.eio_sid, sio.packet_class(packet.CONNECT_ERROR, data=told, namespace=namespace)
        )

    def on_admitted(self) -> None:
        """Read larger messages; the other limits are looked up with each packet."""
        grow = self.grow  # another thread can take it back
        if grow is not None:
            grow()

    def close(self, code: int | None) -> None:
        """Close the transport in the background; engineio chooses the close code."""
        self.closing = True
        self._background.spawn(self._transports.close(self.eio_sid))


class SocketIOSocket:
    """One client in one namespace: :class:`roomkey.guard.host.HostSocket` for python-socketio.

    Args:
        guarded: the guard's side of it.
        connection: what carries it.
        sid: python-socketio's ID for it.
        transports: those of the server.
        trigger: the server's own ``_trigger_event``, which calls handlers.
        forget_acks: drops what is kept about acknowledgements of a sid.
    """

    def __init__(
        self,
        guarded: GuardedSocket,
        connection: SocketIOConnection,
        sid: str,
        transports: CommonTransports,
        trigger: Callable[..., Any],
        forget_acks: Callable[[str], None],
    ) -> None:
        self.sid = sid
        self._guarded = guarded
        self._namespace = guarded.namespace
        self._connection = connection
        self._transports = transports
        self._background = guarded.connection.context.background
        self._sio = transports.sio
        self._trigger = trigger
        self._forget_acks = forget_acks

    async def accept(self) -> None:
        """Reply to the CONNECT."""
        await self._send(packet.CONNECT, data={"sid": self.sid})

    async def send_event(self, event: str, data: object) -> None:
        """Send an event to this socket, in quarantine too."""
        await self._send(packet.EVENT, data=[event, data])

    async def send_ack(self, ack_id: int, data: object) -> None:
        """Send the acknowledgement of an event."""
        await self._send(packet.ACK, data=[data], id=ack_id)

    async def disconnect(self) -> None:
        """Send DISCONNECT."""
        await self._send(packet.DISCONNECT)

    async def _send(self, kind: int, **content: Any) -> None:
        await self._transports.send(
            self._connection.eio_sid, self._sio.packet_class(kind, namespace=self._namespace, **content)
        )

    async def leave_namespace(self) -> None:
        """Send DISCONNECT and end this socket alone."""
        await self._background.perform(self._sio.disconnect, self.sid, namespace=self._namespace, ignore_queue=True)

    async def enter(self, room: str) -> None:
        """Add the socket to a room."""
        await self._background.at_once(self._transports.enter_room, self.sid, self._namespace, room)

    async def leave(self, room: str) -> None:
        """Remove the socket from a room."""
        self._transports.leave_room(self.sid, self._namespace, room)

    def is_in(self, room: str) -> bool:
        """Return True if the socket is in the room."""
        return self.sid in self._sio.manager.rooms.get(self._namespace, {}).get(room, ())

    async def emit(self, room: str, event: str, data: object) -> None:
        """Send an event to the others in a room."""
        emit = self._sio.emit
        await self._background.perform(emit, event, data, room=room, skip_sid=self.sid, namespace=self._namespace)

    def takes_payload(self) -> bool:
        """Return True if there is a connect handler, and it is not one for ``(sid, environ)`` alone."""
        return self._takes((self.sid, {}, None))

    def _takes(self, arguments: tuple[object, ...]) -> bool:
        handler, full = self._sio._get_event_handler("connect", self._namespace, arguments)
        if handler is None:
            owner, full = self._sio._get_namespace_handler(self._namespace, arguments)
            handler = getattr(owner, "on_connect", None)
            if handler is None:
                return owner is not None  # its class may have a trigger_event of its own
        # A framework such as Flask-SocketIO changes the arguments: a handler then accepts neither form.
        return accepts(handler, *full) or not accepts(handler, *full[:-1])

    async def call_connect(self, payload: object) -> AuthError | None:
        """Call the application's connect handler once, with the arguments that its signature takes."""
        arguments: tuple[object, ...] = (self.sid, self._sio.environ[self._connection.eio_sid], payload or None)
        if not self._takes(arguments):
            arguments = arguments[:2]
        try:
            with self._transports.in_handler():
                result = await self._background.perform(self._trigger, "connect", self._namespace, *arguments)
        except (HostRefusal, ConnectionRefusedError) as error:
            told = (error if isinstance(error, HostRefusal) else HostRefusal(contract.DECLINED)).error_args
            told = told if isinstance(told, dict) else {"message": told}
            if not self._guarded.connect_sent:  # otherwise the answer was sent long ago
                self._connection.declined[self._namespace] = told
            return Declined(str(told.get("message")), told.get("data"))
        return PermissionDenied("the connect handler declined", message=contract.DECLINED) if result is False else None

    def hears_disconnect(self) -> bool:
        """Return True, because python-socketio finds the handler itself."""
        return True

    async def call_disconnect(self, reason: str) -> None:
        """Call the application's disconnect handler."""
        reasons = (reason,) if hasattr(self._sio, "reason") else ()
        try:
            with self._transports.in_handler():
                await self._background.perform(self._trigger, "disconnect", self._namespace, self.sid, *reasons)
        except Exception:
            LOG.exception("the disconnect handler failed")

    def forget(self) -> None:
        """Drop the session data and the acknowledgements of this socket; the manager drops the rest."""
        transport = self._sio.eio.sockets.get(self._connection.eio_sid)
        now = self._connection.guarded.sockets.get(self._namespace)
        if transport is not None and (now is None or now.sid == self.sid):
            transport.session.pop(self._namespace, None)  # the next identity gets one of its own
        self._forget_acks(self.sid)
