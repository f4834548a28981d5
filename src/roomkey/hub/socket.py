"""One client in one namespace of the hub."""

from __future__ import annotations

import asyncio
import inspect
import logging
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextvars import copy_context
from typing import Any

from roomkey.core.ack_expiry import MAX_CALLBACKS
from roomkey.core.admission import AdmissionState
from roomkey.errors import AuthError, Declined, PermissionDenied
from roomkey.guard import contract
from roomkey.guard.host import SERVER_DISCONNECT
from roomkey.guard.socket import GuardedSocket
from roomkey.hub.application import Application
from roomkey.hub.cluster import check_room
from roomkey.hub.engine_session import EngineSession
from roomkey.hub.rooms import NOWHERE, Room
from roomkey.wire import Message, PacketType, encode

LOG = logging.getLogger("roomkey.hub")

NOT_HANDLED = object()
"""What a handler returns to withhold its acknowledgement."""

AckCallback = Callable[..., Any]

CONNECT_ARGUMENTS = 3
"""A connect handler's ``(sid, environ, auth)``."""


def as_arguments(data: object) -> list[object]:
    """Return a value as the arguments of a packet: none for None, several for a tuple, one for any other value."""
    if data is None:
        return []
    return list(data) if isinstance(data, tuple) else [data]


class Expected(ABC):
    """The callback of an acknowledgement that somebody waits for."""

    __slots__ = ()

    @abstractmethod
    def __call__(self, *values: Any) -> None:
        """Accept the acknowledgement."""

    @abstractmethod
    def lost(self) -> None:
        """Stop waiting: the client disconnected, or did not reply in time."""


class Answer(Expected):
    """An acknowledgement that a caller waits for.

    Attributes:
        values: what the client answered; a TimeoutError once it cannot answer any more.
    """

    __slots__ = ("values",)

    def __init__(self) -> None:
        self.values: asyncio.Future[tuple[Any, ...]] = asyncio.get_running_loop().create_future()

    def __call__(self, *values: Any) -> None:
        """Accept the acknowledgement."""
        if not self.values.done():
            self.values.set_result(values)

    def lost(self) -> None:
        """Stop waiting: the client disconnected, or did not reply in time."""
        if not self.values.done():
            self.values.set_exception(TimeoutError("the client did not answer"))


class Socket:
    """A client in one namespace: the hub's :class:`roomkey.guard.host.HostSocket`.

    Args:
        guarded: the guard's side of it, with its state and identity.
        session: the Engine.IO session that carries it.
        application: its handlers, and the rooms.

    Attributes:
        sid: its Socket.IO id.
        rooms: the rooms that it is in, without its own sid.
        data: the data that ``save_session`` has stored.
    """

    __slots__ = (
        "_acks",
        "_application",
        "_held",
        "_last_ack",
        "data",
        "guarded",
        "namespace",
        "rooms",
        "session",
        "sid",
    )

    def __init__(self, guarded: GuardedSocket, session: EngineSession, application: Application) -> None:
        self.sid = application.new_sid()
        self.namespace = guarded.namespace
        self.guarded = guarded
        self.session = session
        self.rooms: set[Room] = NOWHERE
        self.data: dict[str, Any] | None = None
        self._application = application
        self._acks: dict[int, AckCallback] | None = None
        self._last_ack = 0
        self._held: list[Message] | None = None

    # What the guard asks of a host

    async def accept(self) -> None:
        """Reply to the CONNECT, and then send the packets that were held back."""
        send = self.session.send
        send(encode(PacketType.CONNECT, self.namespace, {"sid": self.sid}))
        held, self._held = self._held, None
        for message in held or ():
            send(message)

    async def send_event(self, event: str, data: object) -> None:
        """Send an event to this socket, in quarantine too."""
        self.session.send(encode(PacketType.EVENT, self.namespace, [event, data]))

    async def send_ack(self, ack_id: int, data: object) -> None:
        """Send the acknowledgement of an event."""
        self.session.send(encode(PacketType.ACK, self.namespace, [data], ack_id))

    async def disconnect(self) -> None:
        """Send DISCONNECT."""
        self.session.send(encode(PacketType.DISCONNECT, self.namespace))

    async def leave_namespace(self) -> None:
        """Send DISCONNECT and end this socket alone."""
        if self.guarded.connect_sent:
            await self.disconnect()
        await self.guarded.leave(SERVER_DISCONNECT, by_client=False)

    async def enter(self, room: Room) -> None:
        """Add the socket to a room. In a cluster, return when it receives what other nodes emit to the room."""
        application = self._application
        application.rooms.enter(self, room)
        if application.cluster is not None:
            await application.cluster.ready(self.namespace, room)

    async def leave(self, room: Room) -> None:
        """Remove the socket from a room."""
        self._application.rooms.leave(self, room)

    def is_in(self, room: Room) -> bool:
        """Return True if the socket is in the room."""
        return room in self.rooms

    async def emit(self, room: Room, event: str, data: object) -> None:
        """Send an event to the others in a room."""
        message = encode(PacketType.EVENT, self.namespace, [event, *as_arguments(data)])
        self._application.deliver(message, self.namespace, room, self.sid)

    def takes_payload(self) -> bool:
        """Return True if the connect handler accepts ``(sid, environ, auth)``."""
        found = self._application.handlers.find("connect", self.namespace)
        return found is not None and found.arity is not None and found.arity >= CONNECT_ARGUMENTS

    async def call_connect(self, payload: object) -> AuthError | None:
        """Call the application's connect handler; return why it declined, or None."""
        application = self._application
        if application.cluster is not None:
            own = application.guard.socket_authorizer.own_room(self.guarded)
            await application.cluster.prepare(self.namespace, own)
        found = application.handlers.find("connect", self.namespace)
        if found is None:
            return None
        arguments = (self.sid, self.session.request.environ(), payload or None)[: found.arity]
        try:
            answer = found.handler(*found.prefix_args, *arguments)
            if inspect.isawaitable(answer):
                answer = await answer
        except Exception as error:  # of the application; some are a refusal
            declined = _declined(error)
            if declined is None:
                raise
            return declined
        return PermissionDenied("the connect handler declined", message=contract.DECLINED) if answer is False else None

    def hears_disconnect(self) -> bool:
        """Return True if there is a disconnect handler."""
        return self._application.handlers.find("disconnect", self.namespace) is not None

    async def call_disconnect(self, reason: str) -> None:
        """Call the application's disconnect handler."""
        found = self._application.handlers.find("disconnect", self.namespace)
        if found is None:
            return
        try:
            answer = found.handler(*found.prefix_args, *(self.sid, reason)[: found.arity])
            if inspect.isawaitable(answer):
                await answer
        except Exception:  # the application's
            LOG.exception("the disconnect handler failed")

    def forget(self) -> None:
        """Delete everything that is kept about this socket."""
        if self._last_ack:
            self.forget_acks()
            self._application.ack_expiry.forget(self.sid)
        self._application.rooms.remove(self)

    # Rooms, for the application

    async def join(self, room: Room) -> None:
        """Add the socket to a room, if the policy allows it.

        Raises:
            PermissionDenied: it does not.
            ConfigError: the name cannot be sent to other nodes.
        """
        if room == self.sid:
            return
        if self._application.cluster is not None:
            check_room(room)
        await self._application.guard.socket_authorizer.check_own_join(self.guarded, room)
        await self.enter(room)

    def remove_from(self, room: Room) -> None:
        """Remove the socket from a room."""
        self.guarded.lose_rooms({room})
        self._application.rooms.leave(self, room)

    # What the hub sends

    def send_direct(self, message: Message) -> None:
        """Send a packet that is addressed to this socket alone; before the CONNECT reply it is held back."""
        guarded = self.guarded
        if not guarded.may_receive_direct:
            return
        if guarded.connect_sent or guarded.state is AdmissionState.ADMITTED:
            self.session.send(message)
        elif self._held is None:
            self._held = [message]
        else:
            self._held.append(message)

    def expect_ack(self, callback: AckCallback) -> int:
        """Keep a callback for an acknowledgement, instead of the oldest if there are too many.

        Returns:
            The id to ask for it with.
        """
        self._last_ack += 1
        if self._acks is None:
            self._acks = {}
        self._acks[self._last_ack] = callback
        give_up(self._acks.pop(self._last_ack - MAX_CALLBACKS, None))
        return self._last_ack

    def request_ack(self, message: Callable[[int], Message], callback: AckCallback) -> int:
        """Send a packet that asks for an acknowledgement, and keep the callback.

        Args:
            message: returns the packet with the ID of the acknowledgement.
            callback: called with the values of the acknowledgement.

        Returns:
            The ID.
        """
        application = self._application
        for sid in application.ack_expiry.requested(self.sid, application.guard.clock.monotonic()):
            if late := application.rooms.get(sid):
                late.forget_acks()
        number = self.expect_ack(callback)
        self.send_direct(message(number))
        return number

    def take_ack(self, number: int) -> AckCallback | None:
        """Return the callback of an acknowledgement that is still expected, or None."""
        return self._acks.pop(number, None) if self._acks is not None else None

    def forget_acks(self) -> None:
        """Stop waiting for all acknowledgements."""
        acks, self._acks = self._acks, None
        for callback in acks.values() if acks is not None else ():
            give_up(callback)


def call_back(start: Callable[[Coroutine[Any, Any, None]], None], callback: AckCallback, values: Sequence[Any]) -> None:
    """Call the callback of an acknowledgement in a context of its own.

    Args:
        start: runs what a callback that is a coroutine function returns.
        callback: the callback.
        values: those of the acknowledgement.
    """
    copy_context().run(_call_back, start, callback, values)


def _call_back(
    start: Callable[[Coroutine[Any, Any, None]], None], callback: AckCallback, values: Sequence[Any]
) -> None:
    try:
        answer = callback(*values)
    except Exception:  # the application's
        LOG.exception("the callback of an acknowledgement failed")
    else:
        if inspect.isawaitable(answer):
            start(_finish(answer))


async def _finish(answer: Awaitable[object]) -> None:
    try:
        await answer
    except Exception:  # the application's
        LOG.exception("the callback of an acknowledgement failed")


def give_up(callback: AckCallback | None) -> None:
    """Tell the caller that waits for an acknowledgement, if there is one, that it will not arrive."""
    if isinstance(callback, Expected):
        callback.lost()


def _declined(error: Exception) -> AuthError | None:
    """Return a connect handler's refusal, with its message and data for the client; None for any other exception.

    Handlers refuse by ``ConnectionRefusedError(message, data)``, by python-socketio's exception of that name, or by an
    error of ours.
    """
    told: tuple[Any, ...]
    if isinstance(error, AuthError):
        told = (error.message, error.to_client())
    elif type(error).__name__ == "ConnectionRefusedError" and isinstance(
        members := getattr(error, "error_args", None), dict
    ):
        told = (members.get("message", contract.DECLINED), *([members["data"]] if "data" in members else []))
    elif isinstance(error, ConnectionRefusedError):
        if isinstance(
            error.errno, int
        ):  # of the operating system: a database is down, and the text contains its address
            return None
        told = error.args[:2] or (contract.DECLINED,)
    elif type(error).__name__ == "ConnectionRefusedError":
        told = (contract.DECLINED,)
    else:
        return None
    try:
        encode(PacketType.CONNECT_ERROR, "/", {"data": told[1:]})
    except (TypeError, ValueError):
        LOG.exception("the connect handler refused with data that is not JSON")
        told = told[:1]
    return Declined(str(told[0]), *told[1:])
