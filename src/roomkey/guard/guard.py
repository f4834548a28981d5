"""The guard that every asyncio host shares: what an application calls, and what happens to an event.

The host calls in (a connection opened, a namespace asked for, an event arrived) and does what
:class:`roomkey.guard.port.ServerPort` says.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from roomkey.core.admission import Action, Admission, Input, State
from roomkey.core.claims import is_name
from roomkey.core.identity import Identity
from roomkey.core.policy import Policy
from roomkey.core.revocations import Revocations
from roomkey.errors import AuthError, ConfigError, CredentialsError, PermissionDenied, RevokedToken, Unavailable
from roomkey.guard import audit
from roomkey.guard.authenticator import Authenticator, RunConnect, Way
from roomkey.guard.clock import Clock, SystemClock
from roomkey.guard.judge import AnyVerifier, Judge
from roomkey.guard.registry import Connection, Registry
from roomkey.guard.teardown import OnRefused, Teardown

LOG = logging.getLogger("roomkey.guard")

_ADMITTED = State.ADMITTED  # an Enum's members are slow to look up by its name

AUTHENTICATE = "authenticate"
JOIN, LEAVE = "join-room", "leave-room"
# Names that Socket.IO's own clients and servers fire themselves, and the name of catch-all handlers, whose arguments
# would shift by one; from the wire they are an attack.
RESERVED_EVENTS = frozenset(
    {
        "connect",
        "connect_error",
        "disconnect",
        "disconnecting",
        "newListener",
        "removeListener",
        "__disconnect_final",
        "*",
    }
)


class BaseAsyncGuard:
    """What :class:`roomkey.socketio.AsyncGuard` and the hub have in common.

    Args:
        verifier: decides about tokens.
        via: how a token is presented: :class:`Handshake` (the default), :class:`Authenticate`, or a tuple of both,
            where a token in the handshake is decided there and a handshake without one must be followed by
            ``authenticate``.
        policy: who may do what; without one, every identity may connect and no room may be entered.
        revocations: what was cancelled; an own, empty one if absent.
        grace: seconds after ``exp`` in which a live socket stays, so that it can be renewed; 0 is allowed.
        connect_timeout: seconds after which a connection on which no namespace was joined is closed.
        max_refusals: so many refused namespace connections close the whole connection.
        max_namespaces: so many namespaces one connection may join.
        max_anonymous: so many connections one address may hold on which nothing is admitted.
        clock: where to read the time.

    Raises:
        ConfigError: settings that contradict each other.
    """

    def __init__(
        self,
        verifier: AnyVerifier,
        *,
        via: Way | Sequence[Way] | None = None,
        policy: Policy | None = None,
        revocations: Revocations | None = None,
        grace: float = 25.0,
        connect_timeout: float = 15.0,
        max_refusals: int = 3,
        max_namespaces: int = 32,
        max_anonymous: int = 1000,
        clock: Clock | None = None,
    ) -> None:
        if not callable(getattr(verifier, "verify", None)):
            raise ConfigError("the first argument is a verifier: AsyncGuard(Verifier.hs256(SECRET, audience='…'))")
        if policy is not None and not isinstance(policy, Policy):
            raise ConfigError("policy takes a roomkey.Policy: policy = Policy(); policy.room(…)(rule)")
        if not 0 <= grace < float("inf"):
            raise ConfigError("grace takes 0 or more seconds")
        self.clock: Clock = clock if clock is not None else SystemClock()
        self.revocations = revocations if revocations is not None else Revocations()
        self.policy = policy if policy is not None else Policy()
        self.registry = Registry()
        self._judge = Judge(verifier, self.policy, self.revocations, grace, self.clock, connect_timeout)
        self.teardown = Teardown(self.registry, self.clock)
        self.authenticator = Authenticator(
            via,
            self._judge,
            self.teardown,
            connect_timeout=connect_timeout,
            max_refusals=max_refusals,
            max_namespaces=max_namespaces,
            max_anonymous=max_anonymous,
        )
        self._own_events: tuple[object, ...] = (AUTHENTICATE,)

    # What an application calls

    def identity(self, sid: str, namespace: str | None = None) -> Identity:
        """Who a socket belongs to.

        Args:
            sid: the Socket.IO id, as handlers get it.
            namespace: checked too, where it is given.

        Raises:
            PermissionDenied: no such socket, or it is not known yet who it is.
        """
        admission = self.registry.admissions.get(sid)
        if admission is None or admission.identity is None or namespace not in (None, admission.namespace):
            raise PermissionDenied("this socket has no identity")
        return admission.identity

    async def enter_room(self, sid: str, room: str, namespace: str | None = None) -> None:
        """Put a socket into a room, if the policy lets it in.

        Raises:
            PermissionDenied: no rule allows it, or the socket is not (or no longer) admitted. Let it pass out of an
                event handler, and the guard answers the client.
        """
        admission = self._open_admission(sid, namespace)
        who = admission.identity
        if (
            who is None
            or self.teardown.port.is_reserved_room(str(room))
            or not await self._judge.may_enter(who, room, admission.namespace)
            or admission.identity is not who  # renewed while a rule waited: the answer was about another token
        ):
            raise self._denied(admission, "room", room)
        self._open_admission(sid, namespace)  # it may have ended while a rule waited
        admission.rooms.add(room)
        await self.teardown.port.enter_room(admission, room)

    async def leave_room(self, sid: str, room: str, namespace: str | None = None) -> None:
        """Take a socket out of a room that :meth:`enter_room` put it into; another room is the application's.

        Raises:
            PermissionDenied: the socket is not admitted.
        """
        admission = self._open_admission(sid, namespace)
        if room in admission.rooms:
            admission.rooms.discard(room)
            await self.teardown.port.leave_room(admission, room)

    async def revoke(
        self,
        *,
        token_id: str | None = None,
        session_id: str | None = None,
        subject: str | None = None,
        issued_before: float | None = None,
        expires_at: float = float("inf"),
    ) -> int:
        """Cancel tokens by exactly one of their names, and end the live sockets they opened.

        Args:
            token_id: the ``jti`` of one token.
            session_id: the ``sid`` claim: one login and all its refreshed tokens.
            subject: everything issued to this ``sub``.
            issued_before: with ``subject``: only what was issued up to then, in seconds since the epoch.
            expires_at: when those tokens have expired anyway, so that the entry can be forgotten.

        Returns:
            How many live sockets it ended.

        Raises:
            ConfigError: none or several names, or ``issued_before`` in the future.
        """
        self.revocations.revoke(
            token_id=token_id,
            session_id=session_id,
            subject=subject,
            issued_before=issued_before,
            expires_at=expires_at,
            now=self.clock.now(),
        )
        endings = []
        for admission in self.registry:
            who = admission.identity
            # Without issued_before it means everybody of that name, also by a clock that runs ahead.
            everything = subject is not None and issued_before is None and who is not None and who.subject == subject
            if who is not None and admission.live and (everything or self.revocations.is_revoked(who)):
                ending = self.teardown.end(admission, Input.REVOKE, RevokedToken("revoked while connected"))
                endings.append(self.teardown.spawn(ending))
        # Whoever asked may stop waiting; the sockets end all the same.
        await asyncio.shield(asyncio.gather(*endings))
        return len(endings)

    def on_refused(self, callback: OnRefused) -> OnRefused:
        """Call ``callback(error, address)`` whenever a token or a connection is refused. Works as a decorator.

        What the callback raises is logged and changes nothing; it may be a coroutine function.
        """
        self.teardown.callbacks.append(callback)
        return callback

    def serve_rooms(self) -> None:
        """Let clients join and leave rooms themselves, as far as the policy allows.

        Adds the events ``join-room`` and ``leave-room``, each with a room's name. The acknowledgement is
        ``{"ok": true}`` or ``{"ok": false, "error": {…}}``; a refusal without one is the event ``error``.
        """
        self._own_events = (AUTHENTICATE, JOIN, LEAVE)

    def check_deadlines(self) -> None:
        """End what is due now. A timer calls this; tests with a clock of their own call it after moving it."""
        self.teardown.timers.check()

    async def close(self) -> None:
        """Close every connection, because the server stops; clients come back by themselves when it is up again."""
        for connection in list(self.registry.connections.values()):
            self.teardown.close_soon(connection)
        await self.settle()

    async def settle(self) -> None:
        """Wait until everything that was begun in the background is done."""
        await self.teardown.settle()

    # What a host calls

    async def event(
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
        at_once = self.event_at_once(connection, namespace, arguments)
        if at_once is not None:
            return at_once
        if connection.closing or not isinstance(arguments, list) or not arguments or not _is_event_name(arguments[0]):
            self.teardown.violation(connection, "not an event, or one with a reserved or impossible name")
            return None
        name = arguments[0]
        admission = connection.admissions.get(namespace)
        if admission is not None and name == AUTHENTICATE and self.authenticator.takes_event(admission):
            await self.authenticator.on_event(connection, admission, tuple(arguments[1:]), ack_id, run_connect)
            return None
        if not await self.packet(connection, admission) or admission is None:
            return None
        who = admission.identity
        if not await self._judge.may_send(who, name, namespace) or admission.identity is not who:
            await self.answer_error(admission, self._denied(admission, "event", name), ack_id)
            return None
        if name in (JOIN, LEAVE) and name in self._own_events:
            await self._room_event(admission, name, arguments[1:], ack_id)
            return None
        return admission if admission.admitted else None

    def event_at_once(self, connection: Connection, namespace: str, arguments: object) -> Admission | None:
        """The same for an event about which nobody has to be asked and nothing told: most of them.

        Returns:
            The admission if the application may handle the event; None if :meth:`event` has to look at it.
        """
        admission = connection.admissions.get(namespace)
        if admission is None or admission.state is not _ADMITTED or connection.closing:
            return None
        if type(arguments) is not list or not arguments:
            return None
        name = arguments[0]
        if name in self._own_events or not _is_event_name(name) or self.policy.about_event(name, namespace) is not None:
            return None
        return admission

    async def packet(self, connection: Connection, admission: Admission | None) -> bool:
        """True if an event or an acknowledgement may be looked at; one before admission ends the socket."""
        if admission is None:
            # After a DISCONNECT of ours, packets of an honest client may still be under way.
            if not connection.in_use:
                self.teardown.violation(connection, "a packet before a namespace was joined")
            return False
        if not admission.admitted:
            await self.teardown.end(admission, Input.PACKET, CredentialsError("a packet before admission"))
        return Action.DISPATCH in admission.feed(Input.PACKET)

    async def answer_error(self, admission: Admission, error: AuthError, ack_id: int | None) -> None:
        """Tell a client that an event was refused: by its acknowledgement, else by the event ``error``."""
        if ack_id is not None:
            await self.teardown.port.send_ack(admission, ack_id, {"ok": False, "error": error.to_client()})
        else:
            await self.teardown.port.send_event(admission, "error", error.to_client())

    async def _room_event(
        self, admission: Admission, name: str, arguments: Sequence[object], ack_id: int | None
    ) -> None:
        room = arguments[0] if arguments else None
        act = self.enter_room if name == JOIN else self.leave_room
        try:
            if not is_name(room):
                raise self._denied(admission, "room", room)
            await act(admission.sid, str(room))
        except AuthError as error:
            await self.answer_error(admission, error, ack_id)
        except Exception as error:
            LOG.exception("%s failed", name)
            await self.answer_error(admission, Unavailable(type(error).__name__), ack_id)
        else:
            if ack_id is not None:
                await self.teardown.port.send_ack(admission, ack_id, {"ok": True})

    def _denied(self, admission: Admission, kind: str, name: object) -> PermissionDenied:
        shown = audit.without_secrets((name if isinstance(name, str) else repr(name))[: 2 * audit.MAX_VALUE])
        audit.about("denied", admission, level=logging.WARNING, kind=kind, name=shown)
        return PermissionDenied(f"{kind} not allowed")

    def _open_admission(self, sid: str, namespace: str | None) -> Admission:
        admission = self.registry.admissions.get(sid)
        if (
            admission is None
            or admission.state not in (State.CONNECTING, State.ADMITTED)
            or namespace not in (None, admission.namespace)
        ):
            raise PermissionDenied("this socket is not admitted")
        return admission


def _is_event_name(name: object) -> bool:
    return is_name(name) and name not in RESERVED_EVENTS
