"""Where the guard stands in python-socketio: between the transport, its own code, and the application's handlers."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from functools import partial
from typing import Any

from socketio import packet
from socketio.exceptions import ConnectionRefusedError as HostRefusal

from roomkey.audit import redact_logs
from roomkey.core.ack_expiry import MAX_CALLBACKS, AckExpiry
from roomkey.core.admission import Admission, Input
from roomkey.core.callables import accepts
from roomkey.errors import AuthError, Declined, Unavailable
from roomkey.guard import contract
from roomkey.guard.guard import Guard
from roomkey.guard.registry import Connection
from roomkey.socketio import content_json
from roomkey.socketio.checks import (
    ENGINE_SEAMS,
    MANAGER_SEAMS,
    SERVER_CALLS,
    SERVER_SEAMS,
    check_seams,
    is_instrumented,
)
from roomkey.socketio.environ import address, request, wants_script
from roomkey.socketio.packets import strict_packet
from roomkey.socketio.port import SocketIOPort
from roomkey.socketio.sessions import ANSWER, LARGE_PACKET, Sessions

LOG = logging.getLogger("roomkey.guard")

MAX_ATTACHMENTS = 10
# Where instrument() keeps the server's own _trigger_event. The guard stands behind it, next to the handlers, so that
# nothing can happen between its check and them.
INSTRUMENTED = "_InstrumentedAsyncServer__trigger_event"
_BINARY_HEAD = re.compile(r"[56]([1-9][0-9]?)-")
_WANTS_ACK: ContextVar[bool] = ContextVar("roomkey_wants_ack", default=False)


class Hooks:
    """The guard's side of one server: what stands where python-socketio's own functions stood."""

    def __init__(self, guard: Guard, port: SocketIOPort, *, by_address: bool) -> None:
        self.guard = guard
        self.port = port
        self.sio = port.sio
        self.sessions = Sessions(guard, port, by_address=by_address)
        self.inner: dict[str, Callable[..., Any]] = {}
        self._unfiltered = False
        self._ack_expiry = AckExpiry()
        self._asking: dict[tuple[str, str], object] = {}  # CONNECT payloads on their way through python-socketio
        self._leaving: set[tuple[str, str]] = set()  # namespaces that their clients are leaving

    def install(self) -> None:
        """Put the guard between the transport and the server's own code."""
        check_seams(self.sio, SERVER_SEAMS | SERVER_CALLS)
        check_seams(self.sio.manager, MANAGER_SEAMS)
        check_seams(self.sio.eio, ENGINE_SEAMS)
        for name in SERVER_SEAMS:
            self._replace(self.sio, name)
        for name in MANAGER_SEAMS:
            self._replace(self.sio.manager, name)
        for name in ENGINE_SEAMS:
            self._replace(self.sio.eio, name)
        # engineio holds its own references; instrument() puts others there, which call the server's names.
        for event in ("connect", "message", "disconnect"):
            name = f"_handle_eio_{event}"
            if self.sio.eio.handlers.get(event) == self.inner[name]:
                self.sio.eio.on(event, getattr(self, name))
        self.sio.packet_class = strict_packet(self.sio.packet_class)
        self.sio.manager.json = content_json
        self.port.call_disconnect = self._disconnect_handler
        self.sio.roomkey_guard = self.guard
        handshake = self.guard.authenticator.handshake
        redact_logs(self.sio.logger, self.sio.eio.logger, LOG, query=handshake.query if handshake is not None else None)
        if hasattr(self.sio.manager, "channel") and not self.guard.has_store:
            LOG.warning("revocations are kept in this process, and reach no other node: give the guard a store")

    def _replace(self, owner: Any, name: str) -> None:
        """Put a function of the guard in the place of the owner's."""
        instrumented = is_instrumented(getattr(owner, name)) and hasattr(owner, INSTRUMENTED)
        place = INSTRUMENTED if name == "_trigger_event" and instrumented else name
        self.inner[name] = getattr(owner, place)
        setattr(owner, place, getattr(self, name))

    # Connections

    async def _handle_eio_connect(self, eio_sid: str, environ: Mapping[str, Any]) -> Any:
        connection = Connection(eio_sid, address(environ), request(environ))
        if wants_script(environ) or not self.guard.authenticator.opened(connection):
            return False
        self.sessions.bind(connection, environ)
        return await self.inner["_handle_eio_connect"](eio_sid, environ)

    async def _make_response(self, response: dict[str, Any], environ: Mapping[str, Any]) -> Any:
        """Answer a request, with a refusal where a session's own functions have noted one: engineio asks none."""
        return await self.inner["_make_response"](environ.get(ANSWER, response), environ)

    async def _handle_eio_disconnect(self, eio_sid: str, *reason: str) -> None:
        try:
            await self.inner["_handle_eio_disconnect"](eio_sid, *reason)
        finally:
            self.port.end_half_upgrade(eio_sid)
            self.sessions.release(eio_sid)
            self.guard.teardown.closed(eio_sid)

    async def _handle_eio_message(self, eio_sid: str, data: object) -> None:
        connection = self.guard.registry.connections.get(eio_sid)
        if connection is None or connection.closing:
            return
        problem = self._frame_problem(connection, data)
        if problem is not None:
            self.guard.teardown.violation(connection, problem)
            return
        try:
            if isinstance(data, str) and data[0] in "56":
                # python-socketio refuses it for a namespace that is not joined; it may just have been left.
                self.sio._binary_packet[eio_sid] = self.sio.packet_class(encoded_packet=data)
            else:
                await self.inner["_handle_eio_message"](eio_sid, data)
        except Exception as error:
            self.guard.teardown.violation(connection, f"a packet that cannot be read ({type(error).__name__})")

    def _frame_problem(self, connection: Connection, data: object) -> str | None:
        """What is wrong with a message before python-socketio reads it, or None."""
        collecting = connection.connection_id in self.sio._binary_packet
        if isinstance(data, bytes):
            return self._attachment_problem(connection, data) if collecting else "binary data that belongs to no packet"
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

    def _attachment_problem(self, connection: Connection, data: bytes) -> str | None:
        held = self.sio._binary_packet[connection.connection_id].attachments
        if sum(map(len, held)) + len(data) > self.sio.eio.max_http_buffer_size:
            return "attachments over the limit"
        return None

    # Namespaces

    async def _handle_connect(self, eio_sid: str, namespace: str | None, data: object) -> None:
        namespace = namespace or "/"
        connection = self.guard.registry.connections.get(eio_sid)
        if connection is None or connection.closing or not self.guard.authenticator.may_ask(connection, namespace):
            return
        if not self._is_known(namespace):
            await self._answer_error(eio_sid, namespace, {"message": contract.INVALID_NAMESPACE})
            self.guard.authenticator.refused(connection)
            return
        self._asking[eio_sid, namespace] = data  # python-socketio tells no {} and no [] from nothing
        try:
            await self.inner["_handle_connect"](eio_sid, namespace, data)
        except Exception as error:
            LOG.exception("python-socketio failed to handle a CONNECT, so it is refused")
            await self._abandon(eio_sid, namespace, Unavailable(type(error).__name__))
        finally:
            self._asking.pop((eio_sid, namespace), None)
        admission = connection.admissions.get(namespace)
        if admission is not None and admission.live:
            admission.answered = True
            return
        if admission is not None:
            self.guard.teardown.left(admission)
        self.guard.authenticator.refused(connection)

    def _is_known(self, namespace: str) -> bool:
        sio = self.sio
        return bool(
            namespace in sio.handlers
            or namespace in sio.namespace_handlers
            or sio.namespaces == "*"
            or namespace in sio.namespaces
        )

    async def _refuse(self, eio_sid: str, namespace: str, error: AuthError) -> None:
        await self._answer_error(eio_sid, namespace, {"message": error.message, "data": error.to_client()})

    async def _answer_error(self, eio_sid: str, namespace: str, told: dict[str, object]) -> None:
        await self.port.send(eio_sid, self.sio.packet_class(packet.CONNECT_ERROR, data=told, namespace=namespace))

    async def _abandon(self, eio_sid: str, namespace: str, error: AuthError) -> None:
        """Take back a half-made namespace connection."""
        sid = self.sio.manager.sid_from_eio_sid(eio_sid, namespace)
        if sid is not None:
            await self.sio.manager.disconnect(sid, namespace, ignore_queue=True)
            if admission := self.guard.registry.admissions.get(sid):
                self.guard.teardown.left(admission)
        await self._refuse(eio_sid, namespace, error)

    async def _on_connect(self, namespace: str, sid: str) -> None:
        """Decide, where python-socketio would call the application's connect handler.

        Raises:
            HostRefusal: refused; python-socketio answers CONNECT_ERROR. Nothing else: a TypeError would make it
                call a second time.
        """
        eio_sid = self.sio.manager.eio_sid_from_sid(sid, namespace)
        connection = self.guard.registry.connections.get(eio_sid)
        if connection is None:
            raise HostRefusal("Connection rejected by server")
        admission = self.guard.authenticator.ask(connection, namespace, sid)
        auth = self._asking.pop((eio_sid, namespace), None)
        refusals: list[HostRefusal] = []
        wants_auth = self._connect_takes_auth(namespace, (sid, {}, auth))
        error = await self.guard.authenticator.decide_handshake(
            connection, admission, auth, partial(self._run_connect, refusals), wants_auth=wants_auth
        )
        if error is None:
            return
        raise refusals[0] if refusals else HostRefusal(error.message, error.to_client())

    def _connect_takes_auth(self, namespace: str, arguments: tuple[object, ...]) -> bool:
        """True if somebody is there to be called with ``(sid, environ, auth)``."""
        handler, full = self.sio._get_event_handler("connect", namespace, arguments)
        if handler is None:
            owner, full = self.sio._get_namespace_handler(namespace, arguments)
            handler = getattr(owner, "on_connect", None)
            if handler is None:
                return owner is not None  # its class may have a trigger_event of its own
        return accepts(handler, *full)

    async def _run_connect(self, refusals: list[HostRefusal], admission: Admission, auth: object) -> bool:
        """Call the application's connect handler once, with the arguments that its signature takes."""
        namespace, environ = admission.namespace, self.sio.environ[admission.connection_id]
        arguments: tuple[object, ...] = (admission.sid, environ, auth or None)
        if not self._connect_takes_auth(namespace, arguments):
            arguments = arguments[:2]
        try:
            with self.port.in_handler():
                result = await self.inner["_trigger_event"]("connect", namespace, *arguments)
        except (HostRefusal, ConnectionRefusedError) as refusal:
            refusals.append(
                refusal if isinstance(refusal, HostRefusal) else HostRefusal("Connection rejected by server")
            )
            told = refusals[0].error_args
            if not isinstance(told, dict):
                told = {"message": told}
            raise Declined(str(told.get("message")), told.get("data")) from None
        return result is not False

    async def _disconnect_handler(self, admission: Admission, *reason: object) -> None:
        try:
            with self.port.in_handler():
                await self.inner["_trigger_event"]("disconnect", admission.namespace, admission.sid, *reason)
        except Exception:
            LOG.exception("the disconnect handler failed")

    # Events

    async def _handle_event(self, eio_sid: str, namespace: str | None, id: int | None, data: object) -> None:
        connection = self.guard.registry.connections.get(eio_sid)
        if connection is None:
            return
        admission = await self.guard.events.arrived(
            connection, namespace or "/", data, id, partial(self._run_connect, [])
        )
        if admission is None:
            return
        _WANTS_ACK.set(id is not None)
        try:
            await self.inner["_handle_event"](eio_sid, namespace, id, data)
        except Exception:
            LOG.exception("an event handler failed")

    async def _handle_ack(self, eio_sid: str, namespace: str | None, id: int | None, data: object) -> None:
        connection = self.guard.registry.connections.get(eio_sid)
        admission = connection.admissions.get(namespace or "/") if connection is not None else None
        if connection is None:
            return
        if not isinstance(data, list) or id is None or id < 1:  # python-socketio keeps its counter at 0
            self.guard.teardown.violation(connection, "an acknowledgement without its id or its list")
        elif not self._awaits(connection, admission, id):
            self.guard.events.unexpected_ack(connection, admission)
        else:
            try:
                await self.inner["_handle_ack"](eio_sid, namespace, id, data)
            except Exception:
                LOG.exception("an acknowledgement's callback failed")

    def _awaits(self, connection: Connection, admission: Admission | None, ack_id: int) -> bool:
        """True if the application waits for this acknowledgement of an admitted socket."""
        admitted = self.guard.events.packet(connection, admission)
        return admitted and admission is not None and ack_id in self.sio.manager.callbacks.get(admission.sid, ())

    def _generate_ack_id(self, sid: str, callback: object) -> int:
        """Keep a callback, but not forever: python-socketio drops none before its socket is gone."""
        callbacks = self.sio.manager.callbacks
        for late in self._ack_expiry.requested(sid, self.guard.clock.monotonic()):
            kept = callbacks.pop(late, None)
            if kept is not None and late in self.guard.registry.admissions:
                callbacks[late] = {0: kept[0]}  # its counter: an id that was given once means nothing else later
        number: int = self.inner["_generate_ack_id"](sid, callback)
        if number > MAX_CALLBACKS:
            callbacks[sid].pop(number - MAX_CALLBACKS, None)
        return number

    async def _trigger_event(self, event: str, namespace: str, *arguments: Any) -> Any:
        """Every handler of the application is called from here."""
        sid = arguments[0]
        if event == "connect":
            return await self._on_connect(namespace, sid)
        admission = self.guard.registry.admissions.get(sid)
        if event == "disconnect":
            return await self._on_disconnect(admission, *arguments[1:])
        if admission is None or not admission.admitted:
            return self.sio.not_handled
        try:
            result = await self.inner["_trigger_event"](event, namespace, *arguments)
        except AuthError as error:
            if _WANTS_ACK.get():
                result = contract.rejected(error.to_client())
            else:
                result = self.sio.not_handled
                await self.guard.events.answer_error(admission, error, None)
        return result if admission.admitted else self.sio.not_handled

    async def _on_disconnect(self, admission: Admission | None, *reason: Any) -> None:
        if admission is None:
            return
        admission.feed(Input.GONE)  # from here on, however long the handler takes
        try:
            if admission.opened:
                await self._disconnect_handler(admission, *reason)
        finally:
            transport = self.sio.eio.sockets.get(admission.connection_id)
            if transport is not None:
                transport.session.pop(admission.namespace, None)  # the next identity gets one of its own
            self._ack_expiry.forget(admission.sid)
            by_client = (admission.connection_id, admission.namespace) in self._leaving
            (self.guard.authenticator if by_client else self.guard.teardown).left(admission)

    async def _handle_disconnect(self, eio_sid: str, namespace: str | None, *reason: Any) -> None:
        """The client leaves a namespace, or its connection is gone."""
        left = eio_sid, namespace or "/"
        self._leaving.add(left)
        try:
            await self.inner["_handle_disconnect"](eio_sid, namespace, *reason)
        finally:
            self._leaving.discard(left)

    # Fan-out

    def get_participants(self, namespace: str, room: object) -> Iterator[tuple[str, str]]:
        """Who a packet reaches: the admitted, and whoever is addressed alone by its own connect handler."""
        admissions = self.guard.registry.admissions
        for sid, eio_sid in self.inner["get_participants"](namespace, room):
            admission = admissions.get(sid)
            if self._unfiltered or (admission is not None and admission.may_receive(alone=room == sid)):
                yield sid, eio_sid

    def basic_close_room(self, room: str, namespace: str) -> None:
        """Closing a room empties it, of those in quarantine too."""
        self._unfiltered = True
        try:
            self.inner["basic_close_room"](room, namespace)
        finally:
            self._unfiltered = False
