"""From a packet to the handler, past the guard; and from the end of a session to the handlers that hear of it."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable
from typing import Any

from roomkey.core.admission import Admission, Input, State
from roomkey.core.printable import printable
from roomkey.errors import AuthError, Declined, PermissionDenied, TooManyAttempts, Unavailable
from roomkey.guard import contract
from roomkey.guard.port import new_sid
from roomkey.guard.registry import Connection
from roomkey.hub.application import Application
from roomkey.hub.handlers import BoundHandler
from roomkey.hub.session import CLIENT_DISCONNECT, EngineSession
from roomkey.hub.socket import NOT_HANDLED, AckCallback, Socket, as_arguments
from roomkey.wire import Packet, PacketType, encode

LOG = logging.getLogger("roomkey.hub")

# An Enum's members are slow to look up by its name, and these are looked at for each message.
_EVENT, _ACK, _ADMITTED = PacketType.EVENT, PacketType.ACK, State.ADMITTED

CONNECT_ARGUMENTS = 3
"""A connect handler's ``(sid, environ, auth)``."""


class Dispatch:
    """The way of every packet.

    Args:
        application: the handlers, the sockets and the guard.
    """

    def __init__(self, application: Application) -> None:
        self._application = application
        self._guard = application.guard
        self._monotonic = application.guard.clock.monotonic
        self._steps = {
            PacketType.CONNECT: self._connect,
            PacketType.DISCONNECT: self._disconnect,
        }

    def packet(self, session: EngineSession, packet: Packet) -> None:
        """A packet arrived on a session."""
        if packet.type is _EVENT:
            self._event(session, packet)
        elif packet.type is _ACK:
            self._ack(session, packet)
        elif session.take_event(self._monotonic()) < 0:
            session.violation("far too many packets from one connection")  # each CONNECT costs a verification
        else:
            self._application.tasks.start(self._steps[packet.type](session, packet))

    # CONNECT

    async def _connect(self, session: EngineSession, packet: Packet) -> None:
        connection, namespace, auth = session.connection, packet.namespace, packet.data
        authenticator = self._guard.authenticator
        before = connection.admissions.get(namespace)
        if before is not None and before.state is State.ENDED:
            del connection.admissions[namespace]  # only its disconnect handler runs, which nobody has to wait for
        if connection.closing or not authenticator.may_ask(connection, namespace):
            return
        if not self._application.handlers.knows(namespace):
            unknown = PermissionDenied("a namespace that is not served", message=contract.INVALID_NAMESPACE)
            session.send(encode(PacketType.CONNECT_ERROR, namespace, {"message": unknown.message}))
            self._guard.teardown.tell_refused(unknown, connection)
            self._application.counts[f"refused: {contract.INVALID_NAMESPACE}"] += 1
            authenticator.refused(connection)
            return
        admission = authenticator.ask(connection, namespace, new_sid())
        socket = Socket(admission, session)
        self._application.sockets.add(socket)
        try:
            error = await authenticator.decide_handshake(
                connection, admission, auth, self.run_connect, wants_auth=self._wants_auth(namespace)
            )
        except Exception as failure:
            LOG.exception("a CONNECT could not be decided, so it is refused")
            error = Unavailable(type(failure).__name__)
        if error is None and admission.live and session.alive:
            session.send(encode(PacketType.CONNECT, namespace, {"sid": socket.sid}))
            admission.answered = True
            socket.send_held()
            return
        self._refuse(session, namespace, error or admission.ended_by or Unavailable("the connection ended"))
        self._forget(admission)
        self._guard.teardown.left(admission)
        authenticator.refused(connection)

    def _refuse(self, session: EngineSession, namespace: str, error: AuthError) -> None:
        """Answer CONNECT_ERROR."""
        if session.alive:
            told = {"message": error.message, "data": error.to_client()}
            try:
                reply = encode(PacketType.CONNECT_ERROR, namespace, told)
            except (TypeError, ValueError):
                LOG.exception("what the connect handler says is not JSON")
                told["data"] = AuthError.to_client(error)
                reply = encode(PacketType.CONNECT_ERROR, namespace, told)
            session.send(reply)

    def _wants_auth(self, namespace: str) -> bool:
        found = self._application.handlers.find("connect", namespace)
        return found is not None and found.takes is not None and found.takes >= CONNECT_ARGUMENTS

    async def run_connect(self, admission: Admission, auth: object) -> bool:
        """Call the application's connect handler; False if it declines.

        Args:
            auth: the CONNECT packet's payload.

        Raises:
            Declined: it refused, with a message for the client.
        """
        socket = self._application.sockets.get(admission.sid)
        if socket is None or not socket.session.alive:
            return False
        found = self._application.handlers.find("connect", admission.namespace)
        if found is None:
            return True
        arguments = (admission.sid, socket.session.request.environ(), auth or None)[: found.takes]
        try:
            answer = await _call(found, *arguments)
        except Exception as error:
            refusal = _refusal(error)
            if refusal is None:
                raise
            raise Declined(str(refusal[0]), *refusal[1:]) from None
        return answer is not False

    # EVENT and ACK

    def _event(self, session: EngineSession, packet: Packet) -> None:
        """An event: nothing waits and no task is made, unless a rule or the handler has to be waited for."""
        excess = session.take_event(self._monotonic())
        if excess < 0:
            self._one_too_many(session, packet, excess)
            return
        admission = self._guard.events.at_once(session.connection, packet.namespace, packet.data)
        if admission is None:
            self._application.tasks.start(self._ask(session, packet))
            return
        self._handle(session, packet, admission)

    async def _ask(self, session: EngineSession, packet: Packet) -> None:
        """Let the guard look at an event, and perhaps wait for a rule."""
        admission = await self._guard.events.arrived(
            session.connection, packet.namespace, packet.data, packet.id, self.run_connect
        )
        if admission is not None:
            self._handle(session, packet, admission)

    def _handle(self, session: EngineSession, packet: Packet, admission: Admission) -> None:
        """Call the handler, if there is one."""
        found = self._application.handlers.find(packet.data[0], packet.namespace)
        if found is None:
            return
        try:
            answer = found.handler(*found.before, admission.sid, *packet.data[1:])
        except Exception as error:
            self._failed(packet, admission, error)
            return
        if found.waits or inspect.isawaitable(answer):
            self._application.tasks.start(self._wait(session, packet, admission, answer))
        else:
            self._answer(session, packet, admission, answer)

    async def _wait(self, session: EngineSession, packet: Packet, admission: Admission, answer: Any) -> None:
        try:
            answer = await answer
        except Exception as error:
            self._failed(packet, admission, error)
        else:
            self._answer(session, packet, admission, answer)

    def _answer(self, session: EngineSession, packet: Packet, admission: Admission, answer: object) -> None:
        """What a handler returned is the acknowledgement, if one was asked for."""
        if packet.id is not None and answer is not NOT_HANDLED and admission.state is _ADMITTED:
            try:
                session.send(encode(_ACK, packet.namespace, as_arguments(answer), packet.id))
            except (TypeError, ValueError):
                LOG.exception("what the handler of %s returned is not JSON", printable(packet.data[0]))

    def _failed(self, packet: Packet, admission: Admission, error: Exception) -> None:
        """A handler raised: one of guard's errors is the client's answer, any other is for the log alone."""
        if isinstance(error, AuthError):
            self._application.tasks.start(self._guard.events.answer_error(admission, error, packet.id))
        else:
            LOG.error("the handler of %s failed", printable(packet.data[0]), exc_info=error)

    def _one_too_many(self, session: EngineSession, packet: Packet, excess: float) -> None:
        """One event too many in this second: it is refused; a second's worth, or one before admission, closes."""
        if excess <= -self._application.settings.event_rate or not session.connection.admitted:
            session.violation("far more events than one connection may send")
            return
        self._application.counts["refused: too many events"] += 1
        admission = session.connection.admissions.get(packet.namespace)
        if admission is not None and admission.admitted:
            error = TooManyAttempts("too many events")
            self._application.tasks.start(self._guard.events.answer_error(admission, error, packet.id))

    def _ack(self, session: EngineSession, packet: Packet) -> None:
        """An acknowledgement: one that nobody waits for counts as an event, and no task is made for it."""
        admission = session.connection.admissions.get(packet.namespace)
        admitted = self._guard.events.packet(session.connection, admission)
        socket = self._application.sockets.get(admission.sid) if admitted and admission is not None else None
        callback = socket.take_ack(packet.id or 0) if socket is not None else None
        if callback is not None:
            self._call_back(callback, packet)
        elif session.take_event(self._monotonic()) <= -self._application.settings.event_rate:
            session.violation("far too many packets from one connection")
        else:
            self._guard.events.unexpected_ack(session.connection, admission)

    def _call_back(self, callback: AckCallback, packet: Packet) -> None:
        try:
            answer = callback(*packet.data)
        except Exception:
            LOG.exception("the callback of an acknowledgement failed")
        else:
            if inspect.isawaitable(answer):
                self._application.tasks.start(_finish(answer))

    # The end

    async def _disconnect(self, session: EngineSession, packet: Packet) -> None:
        admission = session.connection.admissions.get(packet.namespace)
        if admission is not None:  # else it has left already, or was never there
            await self.leave(admission, CLIENT_DISCONNECT)

    async def leave(self, admission: Admission, reason: str) -> None:
        """A namespace connection ends, and its session goes on if others use it."""
        admission.feed(Input.GONE)  # from here on, however long the handler takes
        try:
            await self.disconnect_handler(admission, reason)
        finally:
            self._forget(admission)
            guard = self._guard
            (guard.authenticator if reason == CLIENT_DISCONNECT else guard.teardown).left(admission)

    async def disconnect_handler(self, admission: Admission, reason: str) -> None:
        """Call the application's disconnect handler, once, and only for whom the connect handler has accepted."""
        opened, admission.opened = admission.opened, False
        if opened:
            await self.run_disconnect(admission, reason)

    async def run_disconnect(self, admission: Admission, reason: str) -> None:
        """Call the application's disconnect handler."""
        found = self._application.handlers.find("disconnect", admission.namespace)
        if found is None:
            return
        try:
            await _call(found, *(admission.sid, reason)[: found.takes])
        except Exception:
            LOG.exception("the disconnect handler failed")

    def ended(self, session: EngineSession, reason: str) -> None:
        """A session has ended, and all that ran over it."""
        admissions = list(session.connection.admissions.values())
        session.connection.closing = True
        handlers = self._application.handlers
        told = [one for one in admissions if one.opened and handlers.find("disconnect", one.namespace) is not None]
        for admission in admissions:
            admission.feed(Input.GONE)
            if admission not in told:
                self._forget(admission)
        if told:
            self._application.tasks.start(self._tell_all(session.connection, told, reason))
        else:
            self._guard.teardown.closed(session.eio_sid)

    async def _tell_all(self, connection: Connection, admissions: list[Admission], reason: str) -> None:
        try:
            await asyncio.gather(*(self.disconnect_handler(admission, reason) for admission in admissions))
        finally:
            for admission in admissions:
                self._forget(admission)
            self._guard.teardown.closed(connection.connection_id)

    def _forget(self, admission: Admission) -> None:
        socket = self._application.sockets.get(admission.sid)
        if socket is not None:
            socket.forget_acks()
            self._application.ack_expiry.forget(socket.sid)
            self._application.sockets.remove(socket)


async def _call(found: BoundHandler, *arguments: Any) -> Any:
    answer = found.handler(*found.before, *arguments)
    if inspect.isawaitable(answer):
        return await answer
    return answer


async def _finish(answer: Awaitable[object]) -> None:
    try:
        await answer
    except Exception:
        LOG.exception("the callback of an acknowledgement failed")


def _refusal(error: Exception) -> tuple[object, ...] | None:
    """Message and data of a connect handler's refusal: ``ConnectionRefusedError(message, data)``, python-socketio's
    exception of that name, or an error of ours. None for any other exception."""
    if isinstance(error, AuthError):
        return (error.message, error.to_client())
    if isinstance(error, ConnectionRefusedError):
        if isinstance(error.errno, int):  # of the operating system: a database is down, and its address stands there
            return None
        return (*error.args[:2],) or (contract.DECLINED,)
    told = getattr(error, "error_args", None) if type(error).__name__ == "ConnectionRefusedError" else None
    if isinstance(told, dict):
        return (told.get("message", contract.DECLINED), *([told["data"]] if "data" in told else []))
    return (contract.DECLINED,) if type(error).__name__ == "ConnectionRefusedError" else None
