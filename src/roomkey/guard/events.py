"""What happens to an event on its way to the application."""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from typing import Any

from roomkey.core.admission import Action, Admission, Input, State
from roomkey.core.claims import is_name
from roomkey.core.event_names import is_event_name
from roomkey.core.policy import OPEN, Policy
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
from roomkey.guard.authenticator import Authenticator, RunConnect
from roomkey.guard.contract import AUTHENTICATE
from roomkey.guard.registry import Connection
from roomkey.guard.socket_authorizer import SocketAuthorizer
from roomkey.guard.teardown import Teardown

LOG = logging.getLogger("roomkey.guard")

_ADMITTED = State.ADMITTED  # an Enum's members are slow to look up by its name

UNEXPECTED_PER_SECOND = 100.0
"""Acknowledgements that nobody waits for, of one connection."""

Served = Callable[[Admission, str, Sequence[object]], Coroutine[Any, Any, None]]


class Events:
    """Decides about every event and acknowledgement, and serves those that are the guard's own.

    Args:
        policy: which events are open to everybody.
        rights: what a socket may do.
        authenticator: takes ``authenticate``.
        teardown: ends whoever sends what no honest client sends.
        every: ask about each event: something is counted.
    """

    def __init__(
        self, policy: Policy, rights: SocketAuthorizer, authenticator: Authenticator, teardown: Teardown, *, every: bool
    ) -> None:
        self._policy = policy
        self._rights = rights
        self._authenticator = authenticator
        self._teardown = teardown
        self._clock = teardown.clock
        self._every = every
        self._served: dict[str, Served] = {}

    def serve_rooms(self) -> None:
        """Serve ``join-room`` and ``leave-room``."""
        self._served |= {contract.JOIN_ROOM: self._room, contract.LEAVE_ROOM: self._room}

    def relay(self, names: Sequence[str]) -> None:
        """Serve events that clients emit to rooms.

        Raises:
            ConfigError: a name that no event can have, or one that is served already.
        """
        for name in names:
            if not is_event_name(name) or name in (AUTHENTICATE, *self._served):
                raise ConfigError(f"{name!r} cannot be relayed: it is no event's name, or has its own meaning")
            self._served[name] = self._relay

    async def arrived(
        self,
        connection: Connection,
        namespace: str,
        arguments: object,
        ack_id: int | None,
        run_connect: RunConnect,
    ) -> Admission | None:
        """An event arrived.

        Args:
            arguments: the packet's data: the event's name, then its arguments.
            ack_id: the acknowledgement the client asked for, or None.
            run_connect: calls the application's connect handler, once ``authenticate`` has told who it is.

        Returns:
            The admission if the application may handle the event, else None: the guard has dealt with it.
        """
        at_once = self.at_once(connection, namespace, arguments)
        if at_once is not None:
            return at_once
        if connection.closing or not isinstance(arguments, list) or not arguments or not is_event_name(arguments[0]):
            self._teardown.violation(connection, "not an event, or one with a reserved or impossible name")
            return None
        name = arguments[0]
        admission = connection.admissions.get(namespace)
        if admission is not None and name == AUTHENTICATE and self._authenticator.takes_event(admission):
            await self._authenticator.on_event(connection, admission, tuple(arguments[1:]), ack_id, run_connect)
            return None
        if not self.packet(connection, admission) or admission is None:
            return None
        try:
            await self._rights.check_event(admission, name)
            if name not in self._served:
                return admission if admission.admitted else None
            await self._served[name](admission, name, arguments[1:])
        except AuthError as error:
            await self.answer_error(admission, error, ack_id, name)
        except Exception as error:
            LOG.exception("%s failed", name)
            await self.answer_error(admission, Unavailable(type(error).__name__), ack_id)
        else:
            if ack_id is not None:
                await self._teardown.port.send_ack(admission, ack_id, contract.accepted())
        return None

    def at_once(self, connection: Connection, namespace: str, arguments: object) -> Admission | None:
        """The same for an event about which nobody has to be asked and nothing told: most of them.

        Returns:
            The admission if the application may handle the event; None if :meth:`arrived` has to look at it.
        """
        admission = connection.admissions.get(namespace)
        if admission is None or admission.state is not _ADMITTED or connection.closing or self._every:
            return None
        if type(arguments) is not list or not arguments:
            return None
        name = arguments[0]
        if not is_event_name(name) or name == AUTHENTICATE or name in self._served:
            return None
        return admission if self._policy.rules_for_event(name, namespace) is OPEN else None

    def packet(self, connection: Connection, admission: Admission | None) -> bool:
        """True if an event or an acknowledgement may be looked at; one before admission ends the socket."""
        if admission is None:
            # After a DISCONNECT of ours, packets of an honest client may still be under way.
            if not connection.in_use:
                self._teardown.violation(connection, "a packet before a namespace was joined")
            return False
        if admission.live and not admission.admitted:  # only the first such packet is worth a task
            self._teardown.end_soon(admission, Input.PACKET, CredentialsError("a packet before admission"))
        return Action.DISPATCH in admission.feed(Input.PACKET)

    def unexpected_ack(self, connection: Connection, admission: Admission | None) -> None:
        """Count an acknowledgement that nobody waits for: as an event of its subject; a flood closes.

        A few are honest: their callers have stopped waiting.
        """
        with suppress(AuthError):
            if admission is not None:
                self._rights.count_event(admission)
        now = self._clock.monotonic()
        if connection.unexpected is None:
            connection.unexpected = TokenBucket(UNEXPECTED_PER_SECOND, now)
        if connection.unexpected.take(now) < 0:
            self._teardown.violation(connection, "too many acknowledgements that the server does not wait for")

    async def answer_error(
        self, admission: Admission, error: AuthError, ack_id: int | None, event: str | None = None
    ) -> None:
        """Tell a client that an event was refused: by its acknowledgement, else by the event ``error``.

        Args:
            event: its name, where a newer token would let it pass: the client is asked for one.
        """
        if not admission.admitted:  # it has ended meanwhile, and has been told why
            return
        port, told = self._teardown.port, error.to_client()
        if event is not None and isinstance(error, (ReauthenticationRequired, ExpiredToken)):
            await port.send_event(admission, contract.REAUTHENTICATE, {"event": event, **told})
        if ack_id is not None:
            await port.send_ack(admission, ack_id, contract.rejected(told))
        else:
            await port.send_event(admission, contract.ERROR, told)

    async def _room(self, admission: Admission, name: str, arguments: Sequence[object]) -> None:
        room = self._room_name(admission, "room", arguments)
        await (self._rights.enter_room if name == contract.JOIN_ROOM else self._rights.leave_room)(admission, room)

    async def _relay(self, admission: Admission, name: str, arguments: Sequence[object]) -> None:
        room = self._room_name(admission, "emit", arguments)
        await self._rights.check_emit(admission, room, name)
        who = admission.identity
        data = arguments[1] if len(arguments) > 1 else None
        told = {"room": room, "from": who.subject if who is not None else "", "data": data}
        await self._teardown.port.emit(admission, room, name, told)

    def _room_name(self, admission: Admission, kind: str, arguments: Sequence[object]) -> str:
        room = arguments[0] if arguments else None
        if not is_name(room):
            raise self._rights.denied(admission, kind, room)
        return str(room)
