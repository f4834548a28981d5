"""Decisions about events before they reach the application."""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from typing import Any

from roomkey.core.admission import AdmissionAction, AdmissionEvent
from roomkey.core.names import is_event_name, is_name
from roomkey.core.policy import OPEN, Policy
from roomkey.core.printable import printable
from roomkey.core.rate import TokenBucket
from roomkey.errors import (
    AuthError,
    ConfigError,
    CredentialsError,
    ExpiredToken,
    ReauthenticationRequired,
    Unavailable,
)
from roomkey.guard import contract
from roomkey.guard.authenticator import Authenticator
from roomkey.guard.clock import Clock
from roomkey.guard.socket import ConnectionState, GuardedSocket
from roomkey.guard.socket_authorizer import SocketAuthorizer

LOG = logging.getLogger("roomkey.guard")

UNEXPECTED_PER_SECOND = 100.0
"""Acknowledgements that nobody waits for, of one connection."""

GuardHandler = Callable[[GuardedSocket, str, Sequence[object]], Coroutine[Any, Any, Mapping[str, object] | None]]
"""Handles an event, and returns what its acknowledgement has besides ``ok``."""


class Events:
    """Decides about every event and acknowledgement, and handles the guard's own events.

    Args:
        policy: the rules for events.
        socket_authorizer: decides what a socket can do.
        authenticator: handles ``authenticate``.
        clock: where to read the time.
        counted: True if every event counts for its subject.

    Attributes:
        policy: the rules for events.
        guard_handlers: the handlers of the events that the guard handles itself, by event name.
        changes: counts the changes of ``guard_handlers``.
    """

    def __init__(
        self,
        policy: Policy,
        socket_authorizer: SocketAuthorizer,
        authenticator: Authenticator,
        clock: Clock,
        *,
        counted: bool,
    ) -> None:
        self.policy = policy
        self._socket_authorizer = socket_authorizer
        self._authenticator = authenticator
        self._clock = clock
        self._counted = counted
        self.guard_handlers: dict[str, GuardHandler] = {}
        self.changes = 0

    def serve_rooms(self) -> None:
        """Serve ``join-room`` and ``leave-room``."""
        self._serve({contract.JOIN_ROOM: self._join, contract.LEAVE_ROOM: self._leave})

    def _serve(self, handlers: dict[str, GuardHandler]) -> None:
        self.guard_handlers |= handlers
        self.changes += 1

    def serve(self, name: str, handler: GuardHandler) -> None:
        """Serve an event of this name.

        Raises:
            ConfigError: as for :meth:`relay`.
        """
        self._check_new((name,))
        self._serve({name: handler})

    def relay(self, names: Sequence[str]) -> None:
        """Serve events that clients emit to rooms.

        Raises:
            ConfigError: a name that no event can have, one of the guard's own events, or one that is relayed already.
        """
        self._check_new(names)
        self._serve(dict.fromkeys(names, self._relay))

    def _check_new(self, names: Sequence[str]) -> None:
        for name in names:
            if not is_event_name(name):
                raise ConfigError(f"cannot relay {name!r}: it is not a valid event name; use another name")
            if name in contract.GUARD_EVENTS:  # a client could pretend to be the guard
                raise ConfigError(f"cannot relay {name!r}: only the guard sends and handles this event; rename yours")
            if name in self.guard_handlers or names.count(name) > 1:
                raise ConfigError(f"cannot relay {name!r}: it is relayed already; pass each name once")

    def is_open(self, name: object, namespace: str) -> bool:
        """Return True if an admitted socket's event is for the application, and nobody has to be asked about it.

        This is the same for all sockets, until the policy or ``guard_handlers`` change.
        """
        if self._counted or not is_event_name(name):
            return False
        if name == contract.AUTHENTICATE or name in self.guard_handlers:
            return False
        return self.policy.rules_for_event(str(name), namespace) is OPEN

    async def admit(
        self, connection: ConnectionState, namespace: str, arguments: object, ack_id: int | None
    ) -> GuardedSocket | None:
        """Decide about an event.

        Args:
            arguments: the packet's data: the event's name, then its arguments.
            ack_id: the acknowledgement that the client asked for, or None.

        Returns:
            The socket if the application can handle the event; None if the guard has handled it.
        """
        socket = connection.sockets.get(namespace)
        if connection.closing or not isinstance(arguments, list) or not arguments or not is_event_name(arguments[0]):
            if connection.closing or socket is None or self.check_admitted(connection, socket):
                connection.violation("not an event, or one with a reserved or impossible name")
            return None
        name = arguments[0]
        if socket is not None and name == contract.AUTHENTICATE and self._authenticator.accepts_authenticate(socket):
            await self._authenticator.authenticate(socket, tuple(arguments[1:]), ack_id)
            return None
        if not self.check_admitted(connection, socket) or socket is None:
            return None
        try:
            await self._socket_authorizer.check_event(socket, name)
            if name not in self.guard_handlers:
                return socket if socket.admitted else None
            told = await self.guard_handlers[name](socket, name, arguments[1:])
        except AuthError as error:
            await self.answer_error(socket, error, ack_id, name)
        except Exception as error:
            LOG.exception("%s failed", name)
            await self.answer_error(socket, Unavailable(type(error).__name__), ack_id)
        else:
            if ack_id is not None:
                await socket.host.send_ack(ack_id, contract.accepted(told))
        return None

    def check_admitted(self, connection: ConnectionState, socket: GuardedSocket | None) -> bool:
        """Return True if the socket is admitted, so that its packet can be handled; otherwise refuse the packet.

        A packet before admission ends the socket, and a packet before any CONNECT closes the connection.
        """
        if socket is None:
            # After a DISCONNECT of ours, packets of an honest client may still be under way.
            if not connection.in_use:
                connection.violation("a packet before a namespace was joined")
            return False
        if socket.live and not socket.admitted:  # only the first such packet is worth a task
            socket.end(AdmissionEvent.PACKET, CredentialsError("a packet before admission"))
        return AdmissionAction.DISPATCH in socket.handle(AdmissionEvent.PACKET)

    def unexpected_ack(self, connection: ConnectionState, socket: GuardedSocket | None) -> None:
        """Count an unexpected acknowledgement like an event of its subject. A flood closes the connection.

        Honest clients send a few, when the caller has stopped waiting.
        """
        with suppress(AuthError):
            if socket is not None:
                self._socket_authorizer.count_event(socket)
        now = self._clock.monotonic()
        if connection.unexpected is None:
            connection.unexpected = TokenBucket(UNEXPECTED_PER_SECOND, now)
        if connection.unexpected.take(now) < 0:
            connection.violation("too many acknowledgements that the server does not wait for")

    async def answer_error(
        self, socket: GuardedSocket, error: AuthError, ack_id: int | None, event: str | None = None
    ) -> None:
        """Send the error of a denied event, as the acknowledgement or, without one, as the event ``error``.

        Args:
            event: the name of the event, if a newer token would allow it: the guard then asks the client for one.
        """
        if not socket.admitted:  # it has ended meanwhile, and has been told why
            return
        told = error.to_client()
        if event is not None and isinstance(error, (ReauthenticationRequired, ExpiredToken)):
            await socket.host.send_event(contract.REAUTHENTICATE, {"event": event, **told})
        if ack_id is not None:
            await socket.host.send_ack(ack_id, contract.rejected(told))
        else:
            await socket.host.send_event(contract.ERROR, told)

    async def handler_failed(self, socket: GuardedSocket, failure: Exception, ack_id: int | None, event: str) -> None:
        """Answer an event whose handler raised an exception: see :meth:`GuardedConnection.handler_failed`."""
        if isinstance(failure, AuthError):
            await self.answer_error(socket, failure, ack_id, event)
            return
        LOG.error("the handler for %s failed", printable(event), exc_info=failure)
        if ack_id is not None:
            await self.answer_error(socket, Unavailable("a handler failed"), ack_id)

    async def _join(self, socket: GuardedSocket, _event: str, arguments: Sequence[object]) -> None:
        await self._socket_authorizer.enter_room(socket, self.room_name(socket, "room", arguments))

    async def _leave(self, socket: GuardedSocket, _event: str, arguments: Sequence[object]) -> None:
        await self._socket_authorizer.leave_room(socket, self.room_name(socket, "room", arguments))

    async def _relay(self, socket: GuardedSocket, name: str, arguments: Sequence[object]) -> None:
        room = self.room_name(socket, "emit", arguments)
        await self._socket_authorizer.check_emit(socket, room, name)
        who = socket.identity
        data = arguments[1] if len(arguments) > 1 else None
        await socket.host.emit(room, name, {"room": room, "from": who.subject if who is not None else "", "data": data})

    def room_name(self, socket: GuardedSocket, kind: str, arguments: Sequence[object]) -> str:
        """Return the first argument of an event, which names a room.

        Raises:
            PermissionDenied: it is not a name.
        """
        room = arguments[0] if arguments else None
        if not is_name(room):
            raise self._socket_authorizer.denied(socket, kind, room)
        return str(room)
