"""The functions of the guard that replace those of a synchronous server."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any

from roomkey.guard.base import BaseGuard
from roomkey.guard.socket import GuardedSocket
from roomkey.guard.threads import ThreadBackground
from roomkey.socketio.checks import SYNC_ENGINE_SEAMS, SYNC_SERVER_SEAMS
from roomkey.socketio.hooks import ACK_ID, LOG, UNFILTERED, UNREADABLE, Hooks
from roomkey.socketio.sync_sessions import noted_answer
from roomkey.socketio.sync_transports import SyncTransports

UNLOCKED = {"get_participants", "_ok", "_handle_event_internal", "_send_packet", "_send_eio_packet"}
"""The functions that take the monitor themselves where they need it."""

HOT = {"_handle_eio_message", "_handle_event", "_trigger_event"}
"""Those that every event passes. ``sync_handle_event`` and the others begin no coroutine for most events."""


class Recipient(str):
    """The ID of an Engine.IO session, for a packet to one of its sockets.

    Between the choice of the recipients and each packet, another thread can end a socket, or take a room from it. So
    the guard looks again when the packet is queued.
    """

    __slots__ = ("room", "socket")

    socket: GuardedSocket
    room: Any

    @classmethod
    def of(cls, eio_sid: str, socket: GuardedSocket, room: Any) -> Recipient:
        """Return the recipient of a packet.

        Args:
            room: what it is addressed to: a room, several rooms, the socket's own ID, or None for everybody.
        """
        made = cls(eio_sid)
        made.socket, made.room = socket, room
        return made

    @property
    def may_receive(self) -> bool:
        """True if the packet may be delivered now."""
        socket, room = self.socket, self.room
        if room == socket.sid:
            return socket.may_receive_direct
        if not socket.may_receive_broadcast:
            return False
        if hasattr(room, "__len__") and not isinstance(room, str):  # as python-socketio asks
            return any(one is None or socket.host.is_in(one) for one in room)
        return room is None or socket.host.is_in(room)


class SyncHooks(Hooks):
    """The functions of the guard that replace those of a :class:`socketio.Server`.

    They are those of :class:`roomkey.socketio.hooks.Hooks`, each of which runs to its end in the thread that calls it.
    """

    server_seams = SYNC_SERVER_SEAMS
    engine_seams = SYNC_ENGINE_SEAMS

    def __init__(self, guard: BaseGuard, *arguments: Any, **named: Any) -> None:
        super().__init__(guard, *arguments, **named)
        assert isinstance(guard.background, ThreadBackground)
        self._background = guard.background
        self._trigger_blocking = self.blocking(self._trigger_event)

    def _installed(self, name: str) -> Callable[..., Any]:
        function: Callable[..., Any] = getattr(self, f"sync{name}" if name in HOT else name)
        return function if name in UNLOCKED | HOT else self.blocking(function)

    def blocking(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function that runs another one with the monitor: a coroutine function to its end."""
        background = self._background
        if not inspect.iscoroutinefunction(function):

            @wraps(function)
            def locked(*arguments: Any, **named: Any) -> Any:
                with background.monitor:
                    return function(*arguments, **named)

            return locked

        @wraps(function)
        def run(*arguments: Any, **named: Any) -> Any:
            if background.monitor.is_mine():  # engineio ends a session while the guard sends something
                return background.start(function(*arguments, **named))
            return background.run(function(*arguments, **named))

        return run

    # Sending

    def get_participants(self, namespace: str, room: object) -> Iterator[tuple[str, str]]:
        """Yield the sockets that a packet reaches, as :meth:`Hooks.get_participants` does."""
        sockets = self.guard.index.sockets
        for sid, eio_sid in super().get_participants(namespace, room):
            socket = sockets.get(sid)
            if socket is not None and not UNFILTERED.get():
                yield sid, Recipient.of(eio_sid, socket, room)
            elif UNFILTERED.get():
                yield sid, eio_sid

    def _send_packet(self, eio_sid: str, pkt: Any) -> None:
        self._send("_send_packet", eio_sid, pkt)

    def _send_eio_packet(self, eio_sid: str, eio_pkt: Any) -> None:
        self._send("_send_eio_packet", eio_sid, eio_pkt)

    def _send(self, name: str, eio_sid: str, packet: Any) -> None:
        if not isinstance(eio_sid, Recipient):
            self.inner[name](eio_sid, packet)
            return
        with self._background.monitor:
            if eio_sid.may_receive:
                self.inner[name](eio_sid, packet)

    # Events

    def sync_handle_eio_message(self, eio_sid: str, data: object) -> None:
        """Read a message as :meth:`Hooks._handle_eio_message` does."""
        with self._background.monitor:
            connection = self._readable(eio_sid, data)
        if connection is None:
            return
        try:
            if not self._keep_head(eio_sid, data):
                self.inner["_handle_eio_message"](eio_sid, data)
        except Exception as error:  # whatever a parser raises
            with self._background.monitor:
                connection.violation(UNREADABLE.format(type(error).__name__))

    def sync_handle_event(self, eio_sid: str, namespace: str | None, id: int | None, data: object) -> None:
        """Handle an event as :meth:`Hooks._handle_event` does; its acknowledgement is for this one socket."""
        with self._background.monitor:
            connection, name = self._guarded(eio_sid), namespace or "/"
            socket = connection.admit_without_waiting(name, data) if connection is not None else None
        if socket is None and connection is not None:
            socket = self._background.run(connection.event(name, data, id))
        if socket is None:
            return
        ACK_ID.set(id)
        try:
            self.inner["_handle_event"](Recipient.of(eio_sid, socket, None), namespace, id, data)
        except Exception:  # such as a result that cannot be sent
            LOG.exception("an event handler failed")

    def sync_trigger_event(self, event: str, namespace: str, *arguments: Any) -> Any:
        """Call a handler as :meth:`Hooks._trigger_event` does."""
        if event in ("connect", "disconnect"):
            return self._trigger_blocking(event, namespace, *arguments)
        sid = arguments[0]
        socket = self.guard.index.sockets.get(sid)
        if socket is None or not socket.admitted:
            return self.sio.not_handled
        try:
            result = self.inner["_trigger_event"](event, namespace, *arguments)
        except Exception as error:  # of the application's handler
            self._background.run(self._handler_failed(socket, error, event))
            return self.sio.not_handled
        return result if socket.admitted else self.sio.not_handled

    def _handle_event_internal(
        self, server: Any, sid: str, eio_sid: str, data: Any, namespace: str, id: int | None
    ) -> None:
        """Call the handler, perhaps in a thread of its own."""
        ACK_ID.set(id)
        self.inner["_handle_event_internal"](server, sid, eio_sid, data, namespace, id)

    async def _handle_eio_disconnect(self, eio_sid: str, *reason: str) -> None:
        assert isinstance(self.transports, SyncTransports)
        with self.transports.ending(eio_sid):
            await super()._handle_eio_disconnect(eio_sid, *reason)

    # Requests

    def _ok(self, packets: Any = None, headers: Any = None, jsonp_index: Any = None) -> Any:
        """Respond to a request, with the refusal that a session's own functions noted, if there is one."""
        return noted_answer() or self.inner["_ok"](packets, headers, jsonp_index)
