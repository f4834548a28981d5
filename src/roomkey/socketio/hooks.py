"""The functions of the guard that replace python-socketio's own functions."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from typing import Any

from engineio import packet as engine_packet
from socketio.exceptions import ConnectionRefusedError as HostRefusal

from roomkey.audit import redact_logs
from roomkey.core.ack_expiry import MAX_CALLBACKS, AckExpiry
from roomkey.errors import ConfigError, TooManyAttempts, Unavailable
from roomkey.guard import contract
from roomkey.guard.base import BaseGuard
from roomkey.guard.connection import GuardedConnection
from roomkey.guard.socket import GuardedSocket
from roomkey.socketio import content_json
from roomkey.socketio.checks import (
    ENGINE_SEAMS,
    MANAGER_SEAMS,
    SERVER_CALLS,
    SERVER_SEAMS,
    check_seams,
    is_instrumented,
    packet_json,
)
from roomkey.socketio.engine_sessions import ANSWER, LARGE_PACKET, CommonSessions
from roomkey.socketio.environ import ReadRequest, address, wants_script
from roomkey.socketio.host import SocketIOConnection, SocketIOSocket
from roomkey.socketio.packets import strict_packet
from roomkey.socketio.transports import CommonTransports

LOG = logging.getLogger("roomkey.guard")

MAX_ATTACHMENTS = 10
# Where instrument() keeps the server's own _trigger_event. The guard replaces that one, next to the handlers, so that
# nothing can happen between its check and a handler.
INSTRUMENTED = "_{}__trigger_event"
UNREADABLE = "a packet that cannot be read ({})"
_BINARY_HEAD = re.compile(r"[56]([1-9][0-9]?)-")
ACK_ID: ContextVar[int | None] = ContextVar("roomkey_ack_id", default=None)
UNFILTERED: ContextVar[bool] = ContextVar("roomkey_unfiltered", default=False)


class Hooks:
    """The functions of the guard that replace python-socketio's own functions, for one server.

    Args:
        guard: the guard of the server.
        transports: those of the server.
        sessions: wraps the request functions of each session.
        around: takes the function that calls handlers, and returns the one to call instead.
        read_request: finds the parts of a request that can contain tokens.
    """

    server_seams: Mapping[str, tuple[str, ...]] = SERVER_SEAMS
    engine_seams: Mapping[str, tuple[str, ...]] = ENGINE_SEAMS

    def __init__(
        self,
        guard: BaseGuard,
        transports: CommonTransports,
        sessions: CommonSessions,
        *,
        around: Callable[[Callable[..., Any]], Callable[..., Any]],
        read_request: ReadRequest,
    ) -> None:
        self.guard = guard
        self.transports = transports
        self.sio = transports.sio
        self.sessions = sessions
        self._perform = guard.background.perform
        self.connections: dict[str, SocketIOConnection] = {}  # by Engine.IO session
        self.inner: dict[str, Callable[..., Any]] = {}
        self._around = around
        self._read_request = read_request
        self._ack_expiry = AckExpiry()
        self._leaving: set[tuple[str, str]] = set()  # namespaces that their clients are leaving
        self._connecting: set[str] = set()  # sockets whose connect handler instrument() is about to call

    def install(self) -> None:
        """Replace the server's functions."""
        seams = ((self.sio, self.server_seams), (self.sio.manager, MANAGER_SEAMS), (self.sio.eio, self.engine_seams))
        check_seams(self.sio, SERVER_CALLS)
        for owner, names in seams:
            check_seams(owner, names)
        for owner, names in seams:
            for name in names:
                self._replace(owner, name)
        self.inner["_trigger_event"] = self._around(self.inner["_trigger_event"])
        # engineio holds its own references; instrument() replaces them by others, which call the server's names.
        for event in ("connect", "message", "disconnect"):
            name = f"_handle_eio_{event}"
            if self.sio.eio.handlers.get(event) == self.inner[name]:
                self.sio.eio.on(event, getattr(self.sio, name))
        strict = packet_json(self.sio)
        if strict is not content_json and engine_packet.Packet.json is self.sio.packet_class.json:
            # engineio reads some packets before the guard does
            engine_packet.Packet.json = strict
        self.sio.packet_class = strict_packet(self.sio.packet_class, strict)
        self.sio.manager.json = strict
        self.sio.roomkey_guard = self.guard
        redact_logs(self.sio.logger, self.sio.eio.logger, LOG, names=self.guard.settings.secret_names)
        if hasattr(self.sio.manager, "channel") and not self.guard.has_store:
            LOG.warning("revocations apply only to this process, and not to other nodes; pass a store as revocations=")

    def _replace(self, owner: Any, name: str) -> None:
        """Replace a function of the owner by one of the guard."""
        place, before = name, getattr(owner, name)
        if name == "_trigger_event" and is_instrumented(before):
            place = INSTRUMENTED.format(type(before.__self__).__name__)
        self.inner[name] = getattr(owner, place)
        setattr(owner, place, self._installed(name))

    def _installed(self, name: str) -> Callable[..., Any]:
        """Return the function that replaces one of the server's."""
        function: Callable[..., Any] = getattr(self, name)
        return function

    # Connections

    async def _handle_eio_connect(self, eio_sid: str, environ: Mapping[str, Any]) -> Any:
        if wants_script(environ):
            return False
        if eio_sid not in self.sio.eio.sockets:  # Flask-SocketIO's test client calls this function without one
            raise ConfigError(
                "cannot guard a client without a connection; instead of socketio.test_client(app, …), "
                "use roomkey.testing.connect_blocking(app, token=…)"
            )
        connection = SocketIOConnection(eio_sid, self.transports, self.guard.background)
        try:
            connection.guarded = self.guard.accept(self._read_request(environ), address(environ), connection)
        except TooManyAttempts:
            return False
        self.connections[eio_sid] = connection
        self.sessions.bind(connection, environ)
        return await self._perform(self.inner["_handle_eio_connect"], eio_sid, environ)

    async def _make_response(self, response: dict[str, Any], environ: Mapping[str, Any]) -> Any:
        """Respond to a request, with the refusal that a session's own functions noted, if there is one."""
        return await self._perform(self.inner["_make_response"], environ.get(ANSWER, response), environ)

    async def _handle_eio_disconnect(self, eio_sid: str, *reason: str) -> None:
        try:
            await self._perform(self.inner["_handle_eio_disconnect"], eio_sid, *reason)
        finally:
            self.transports.end_half_upgrade(eio_sid)
            self.sessions.release(eio_sid)
            connection = self.connections.pop(eio_sid, None)
            if connection is not None:
                connection.guarded.lost(reason[0] if reason else "")

    def _guarded(self, eio_sid: str) -> GuardedConnection | None:
        connection = self.connections.get(eio_sid)
        return connection.guarded if connection is not None else None

    async def _handle_eio_message(self, eio_sid: str, data: object) -> None:
        connection = self._readable(eio_sid, data)
        if connection is None:
            return
        try:
            if not self._keep_head(eio_sid, data):
                await self._perform(self.inner["_handle_eio_message"], eio_sid, data)
        except Exception as error:
            connection.violation(UNREADABLE.format(type(error).__name__))

    def _readable(self, eio_sid: str, data: object) -> GuardedConnection | None:
        """Return the connection if python-socketio may read its message."""
        connection = self._guarded(eio_sid)
        if connection is None or connection.closing:
            return None
        problem = self._frame_problem(eio_sid, connection, data)
        if problem is not None:
            connection.violation(problem)
            return None
        return connection

    def _keep_head(self, eio_sid: str, data: object) -> bool:
        """Keep a packet until its attachments have arrived, and return True if it has any.

        python-socketio refuses it in a namespace that is not joined, but the client may just have left it.
        """
        if isinstance(data, str) and data[0] in "56":
            self.sio._binary_packet[eio_sid] = self.sio.packet_class(encoded_packet=data)
            return True
        return False

    def _frame_problem(self, eio_sid: str, connection: GuardedConnection, data: object) -> str | None:
        """Return why a message is rejected before python-socketio reads it, or None."""
        collecting = eio_sid in self.sio._binary_packet
        if isinstance(data, bytes):
            return self._attachment_problem(eio_sid, data) if collecting else "binary data that belongs to no packet"
        if not isinstance(data, str) or not data or data[0] not in "012356":
            return "not a packet that a client sends"
        if self.sessions.is_too_large(connection, data):
            return LARGE_PACKET
        if collecting:
            return "text where an attachment belongs"
        if data[0] in "56":
            head = _BINARY_HEAD.match(data)
            if head is None or int(head[1]) > MAX_ATTACHMENTS:
                return f"a binary packet without 1 to {MAX_ATTACHMENTS} attachments"
            if not connection.admitted:
                return "a binary packet before admission"
        return None

    def _attachment_problem(self, eio_sid: str, data: bytes) -> str | None:
        held = self.sio._binary_packet[eio_sid].attachments
        if sum(map(len, held)) + len(data) > self.sio.eio.max_http_buffer_size:
            return "attachments over the limit"
        return None

    # Namespaces

    async def _handle_connect(self, eio_sid: str, namespace: str | None, data: object) -> None:
        connection, namespace = self.connections.get(eio_sid), namespace or "/"
        if connection is None:
            return

        async def open_socket(guarded: GuardedSocket) -> SocketIOSocket | None:
            if not self._is_known(namespace):
                return None
            sid = await self.guard.background.at_once(self.sio.manager.connect, eio_sid, namespace)
            if sid is None:
                raise Unavailable("python-socketio did not create a socket for a CONNECT")
            if (shown := getattr(self.sio.manager, "_timestamps", None)) is not None:
                shown[sid] = time.time()  # instrument() fails at the end of a socket that it does not know
            return SocketIOSocket(
                guarded, connection, sid, self.transports, self._call_handler, self._ack_expiry.forget
            )

        await connection.guarded.connect(namespace, data, open_socket)

    def _is_known(self, namespace: str) -> bool:
        sio = self.sio
        return bool(
            namespace in sio.handlers
            or namespace in sio.namespace_handlers
            or sio.namespaces == "*"
            or namespace in sio.namespaces
        )

    # Events

    async def _handle_event(self, eio_sid: str, namespace: str | None, id: int | None, data: object) -> None:
        connection, name = self._guarded(eio_sid), namespace or "/"
        if connection is None:
            return
        socket = connection.admit_without_waiting(name, data) or await connection.event(name, data, id)
        if socket is None:
            return
        ACK_ID.set(id)
        try:
            await self._perform(self.inner["_handle_event"], eio_sid, namespace, id, data)
        except Exception:
            LOG.exception("an event handler failed")

    async def _handle_ack(self, eio_sid: str, namespace: str | None, id: int | None, data: object) -> None:
        connection, name = self._guarded(eio_sid), namespace or "/"
        if connection is None:
            return
        if not isinstance(data, list) or id is None or id < 1:  # python-socketio keeps its counter at 0
            connection.violation("an acknowledgement without its id or its list")
            return
        socket = connection.ack(name)
        if socket is None or id not in self.sio.manager.callbacks.get(socket.sid, ()):
            connection.unexpected_ack(name)
            return
        try:
            await self._perform(self.inner["_handle_ack"], eio_sid, namespace, id, data)
        except Exception:
            LOG.exception("an acknowledgement's callback failed")

    def _generate_ack_id(self, sid: str, callback: object) -> int:
        """Keep a callback for a limited time. python-socketio would keep it until the socket ends."""
        callbacks = self.sio.manager.callbacks
        for late in self._ack_expiry.requested(sid, self.guard.clock.monotonic()):
            kept = callbacks.pop(late, None)
            if kept is not None and late in self.guard.index.sockets:
                callbacks[late] = {0: kept[0]}  # its counter: an ID must not be used twice
        number: int = self.inner["_generate_ack_id"](sid, callback)
        if number > MAX_CALLBACKS:
            callbacks[sid].pop(number - MAX_CALLBACKS, None)
        return number

    def _call_handler(self, event: str, namespace: str, sid: str, *arguments: Any) -> Any:
        """Call a connect or disconnect handler. instrument() calls connect handlers, and shows their clients."""
        outer = self.sio._trigger_event
        if event != "connect" or not is_instrumented(outer):
            return self.inner["_trigger_event"](event, namespace, sid, *arguments)
        self._connecting.add(sid)
        return outer(event, namespace, sid, *arguments)

    async def _trigger_event(self, event: str, namespace: str, *arguments: Any) -> Any:
        """Call a handler of the application, if the guard allows it. python-socketio calls all handlers here."""
        sid = arguments[0]
        if event == "connect":
            if sid not in self._connecting:
                raise HostRefusal(contract.DECLINED)  # the guard itself calls the handlers of admitted sockets
            self._connecting.discard(sid)
            return await self._perform(self.inner["_trigger_event"], event, namespace, *arguments)
        socket = self.guard.index.sockets.get(sid)
        if event == "disconnect":
            return await self._on_disconnect(socket, namespace, *arguments)
        if socket is None or not socket.admitted:
            return self.sio.not_handled
        try:
            result = await self._perform(self.inner["_trigger_event"], event, namespace, *arguments)
        except Exception as error:
            await self._handler_failed(socket, error, event)
            return self.sio.not_handled
        return result if socket.admitted else self.sio.not_handled

    async def _handler_failed(self, socket: GuardedSocket, error: Exception, event: str) -> None:
        connection = self._guarded(self.sio.manager.eio_sid_from_sid(socket.sid, socket.namespace))
        if connection is not None:
            await connection.handler_failed(socket, error, ACK_ID.get(), event)

    async def _on_disconnect(self, socket: GuardedSocket | None, namespace: str, sid: str, *reason: str) -> None:
        if socket is not None:
            left = self.sio.manager.eio_sid_from_sid(sid, namespace), namespace
            await socket.leave(reason[0] if reason else "", by_client=left in self._leaving)

    async def _handle_disconnect(self, eio_sid: str, namespace: str | None, *reason: Any) -> None:
        """Remember whether the client left the namespace or lost its connection."""
        left = eio_sid, namespace or "/"
        self._leaving.add(left)
        try:
            await self._perform(self.inner["_handle_disconnect"], eio_sid, namespace, *reason)
        finally:
            self._leaving.discard(left)

    # Fan-out

    def get_participants(self, namespace: str, room: object) -> Iterator[tuple[str, str]]:
        """Yield the sockets that a packet reaches: admitted ones, and one that its own connect handler addresses."""
        sockets = self.guard.index.sockets
        for sid, eio_sid in self.inner["get_participants"](namespace, room):
            socket = sockets.get(sid)
            if UNFILTERED.get() or (
                socket is not None and (socket.may_receive_direct if room == sid else socket.may_receive_broadcast)
            ):
                yield sid, eio_sid

    def basic_close_room(self, room: str, namespace: str) -> None:
        """Close a room for all sockets in it, including those in quarantine."""
        before = UNFILTERED.set(True)
        try:
            self.inner["basic_close_room"](room, namespace)
        finally:
            UNFILTERED.reset(before)
