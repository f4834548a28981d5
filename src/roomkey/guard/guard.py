"""The guard that every asyncio host shares: it decides, keeps the live sockets, and ends them.

The host calls in (a connection opened, a namespace asked for, an event arrived) and does what :class:`ServerPort`
says. State changes are synchronous, so that a socket that is refused or ended is in quarantine at that instant,
whatever still has to be sent or closed.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import replace
from typing import Any

from roomkey.core.admission import Action, Admission, Input, State
from roomkey.core.claims import is_name
from roomkey.core.credentials import (
    Authenticate,
    Handshake,
    Presented,
    Request,
    from_event,
    from_handshake,
    has_credentials,
)
from roomkey.core.identity import Identity
from roomkey.core.policy import Policy
from roomkey.core.revocations import Revocations
from roomkey.errors import (
    AuthenticationTimeout,
    AuthError,
    ConfigError,
    CredentialsError,
    ExpiredToken,
    PermissionDenied,
    ProtocolViolation,
    RevokedToken,
    SubjectMismatch,
    TooManyAttempts,
    Unavailable,
)
from roomkey.guard import audit
from roomkey.guard.clock import Clock, SystemClock
from roomkey.guard.judge import AnyVerifier, Judge
from roomkey.guard.port import ServerPort
from roomkey.guard.registry import Connection, Registry
from roomkey.guard.timers import Timers

LOG = logging.getLogger("roomkey.guard")

Way = Handshake | Authenticate
OnRefused = Callable[[AuthError, str], object]
RunConnect = Callable[[Admission], Awaitable[bool]]

AUTHENTICATE = "authenticate"
JOIN, LEAVE = "join-room", "leave-room"
# Names that Socket.IO's own clients and servers fire themselves; from the wire they are an attack.
RESERVED_EVENTS = frozenset(
    {
        "connect",
        "connect_error",
        "disconnect",
        "disconnecting",
        "newListener",
        "removeListener",
        "__disconnect_final",
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

    port: ServerPort

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
        self.handshake, self.authenticate = _ways(via)
        if not (0 <= grace < float("inf") and 0 < connect_timeout < float("inf")):
            raise ConfigError("grace takes 0 or more seconds, connect_timeout more than 0")
        if min(max_refusals, max_namespaces, max_anonymous) < 1:
            raise ConfigError("max_refusals, max_namespaces and max_anonymous are at least 1")
        self.clock: Clock = clock if clock is not None else SystemClock()
        self.revocations = revocations if revocations is not None else Revocations()
        self.policy = policy if policy is not None else Policy()
        self.grace = grace
        self.connect_timeout = connect_timeout
        self.max_refusals = max_refusals
        self.max_namespaces = max_namespaces
        self.max_anonymous = max_anonymous
        self.registry = Registry()
        self._judge = Judge(verifier, self.policy, self.revocations, grace, self.clock)
        self._timers = Timers(self.clock, self._deadline_passed)
        self._on_refused: list[OnRefused] = []
        self._serves_rooms = False
        self._tasks: set[asyncio.Task[None]] = set()

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
            or self.port.is_reserved_room(str(room))
            or not await self._judge.may_enter(who, room, admission.namespace)
            or admission.identity is not who  # renewed while a rule waited: the answer was about another token
        ):
            raise self._denied(admission, "room", room)
        self._open_admission(sid, namespace)
        await self.port.enter_room(admission, room)

    async def leave_room(self, sid: str, room: str, namespace: str | None = None) -> None:
        """Take a socket out of a room.

        Raises:
            PermissionDenied: the socket is not admitted.
        """
        await self.port.leave_room(self._open_admission(sid, namespace), room)

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
            if who is not None and admission.live and self.revocations.is_revoked(who):
                endings.append(self._end(admission, Input.REVOKE, RevokedToken("revoked while connected")))
        await asyncio.gather(*endings)
        return len(endings)

    def on_refused(self, callback: OnRefused) -> OnRefused:
        """Call ``callback(error, address)`` whenever a token or a connection is refused. Works as a decorator.

        What the callback raises is logged and changes nothing; it may be a coroutine function.
        """
        self._on_refused.append(callback)
        return callback

    def serve_rooms(self) -> None:
        """Let clients join and leave rooms themselves, as far as the policy allows.

        Adds the events ``join-room`` and ``leave-room``, each with a room's name. The acknowledgement is
        ``{"ok": true}`` or ``{"ok": false, "error": {…}}``; a refusal without one is the event ``error``.
        """
        self._serves_rooms = True

    def check_deadlines(self) -> None:
        """End what is due now. A timer calls this; tests with a clock of their own call it after moving it."""
        self._timers.check()

    async def settle(self) -> None:
        """Wait until everything that was begun in the background is done."""
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)

    # What a host calls: connections

    def connection_opened(self, connection: Connection) -> bool:
        """A transport opened. Returns False if it must be refused."""
        if self.registry.anonymous_from(connection.address) >= self.max_anonymous:
            self._tell_refused(TooManyAttempts("too many connections without a token"), connection)
            return False
        try:
            presented = self._ambient(connection.request)
            connection.credential = presented.token if presented is not None else None
        except AuthError:
            connection.credential = None  # the CONNECT packet will be refused for it
        self.registry.open(connection)
        self._timers.after(("connection", connection.connection_id), self.connect_timeout)
        return True

    def connection_closed(self, connection_id: str) -> None:
        """A transport is gone, and everything on it."""
        self._timers.cancel(("connection", connection_id))
        connection = self.registry.close(connection_id)
        for admission in list(connection.admissions.values()) if connection is not None else ():
            self._forget(admission)

    async def is_owner(self, connection: Connection, request: Request) -> bool:
        """True if a later HTTP request of an Engine.IO session comes from whoever opened it.

        Where the opening request carried a token, a later one must carry the same, or another valid one of the same
        subject: the session's id alone is no credential.
        """
        if connection.credential is None:
            return True
        try:
            presented = self._ambient(request)
            if presented is None or presented.token == connection.credential:
                return presented is not None
            who = await self._judge.identify(presented, "/")
        except AuthError:
            return False
        known = (admission.identity for admission in connection.admissions.values())
        return any(identity is not None and identity.subject == who.subject for identity in known)

    def note_intruder(self, connection: Connection, address: str) -> None:
        """A request to a session came from somebody else: it was not answered, and its owner is not disturbed."""
        self._tell_refused(CredentialsError("a session's id without its token"), replace(connection, address=address))

    def _ambient(self, request: Request) -> Presented | None:
        """The token that the HTTP request itself carries, or None."""
        way = self.handshake
        if way is None or not has_credentials(way, None, request):
            return None
        return from_handshake(way, None, request)

    def violation(self, connection: Connection, detail: str) -> None:
        """Something arrived that no honest client sends: close the connection."""
        if not connection.closing:
            self._tell_refused(ProtocolViolation(detail), connection)
            self.close_soon(connection)

    def close_soon(self, connection: Connection) -> None:
        """Close a connection in the background; from now on nothing on it counts."""
        if connection.closing:
            return
        connection.closing = True
        for admission in connection.admissions.values():
            admission.feed(Input.GONE)
        self._spawn(self.port.close(connection.connection_id))

    # What a host calls: namespaces

    def may_ask(self, connection: Connection, namespace: str) -> bool:
        """True if the connection may ask for this namespace; a flood of requests closes it."""
        if namespace in connection.admissions:
            connection.refusals += 1
            if connection.refusals >= self.max_refusals:
                self.violation(connection, "one namespace asked for again and again")
            return False
        if len(connection.admissions) >= self.max_namespaces:
            self.violation(connection, f"more than {self.max_namespaces} namespaces")
            return False
        return True

    def ask(self, connection: Connection, namespace: str, sid: str) -> Admission:
        """A client asks for a namespace: it is in quarantine from here on."""
        later = self.authenticate
        admission = Admission(
            connection.connection_id, namespace, sid, max_attempts=later.max_attempts if later is not None else 1
        )
        self.registry.add(connection, admission)
        self._timers.cancel(("connection", connection.connection_id))
        self._timers.after(("admission", sid), later.timeout if later is not None else self.connect_timeout)
        return admission

    async def decide_handshake(
        self, connection: Connection, admission: Admission, auth: object, run_connect: RunConnect
    ) -> AuthError | None:
        """Decide about the token of a handshake, or leave it open until ``authenticate``.

        Args:
            auth: the CONNECT packet's payload.
            run_connect: calls the application's connect handler; False if that declines.

        Returns:
            Why it is refused, or None: it is admitted, or may stay in quarantine for a while.
        """
        way = self.handshake
        if way is None or (self.authenticate is not None and not has_credentials(way, auth, connection.request)):
            return None
        admission.max_attempts = 1
        return await self._decide(
            connection, admission, lambda: from_handshake(way, auth, connection.request), run_connect
        )

    def refused(self, connection: Connection) -> None:
        """The host has answered a CONNECT with a refusal: count it, and close what nobody uses."""
        connection.refusals += 1
        if connection.refusals >= self.max_refusals or not connection.in_use:
            self.close_soon(connection)

    def left(self, admission: Admission) -> None:
        """A namespace connection ended, by either side."""
        self._forget(admission)
        connection = self.registry.connections.get(admission.connection_id)
        if connection is not None and not connection.in_use:
            self.close_soon(connection)

    # What a host calls: events

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
        admission = connection.admissions.get(namespace)
        if connection.closing or not isinstance(arguments, list) or not arguments or not _is_event_name(arguments[0]):
            self.violation(connection, "not an event, or one with a reserved or impossible name")
            return None
        if admission is None:
            # After a DISCONNECT of ours, packets of an honest client may still be under way.
            if not connection.in_use:
                self.violation(connection, "an event before a namespace was joined")
            return None
        name = arguments[0]
        if name == AUTHENTICATE and (admission.admitted or (self.authenticate is not None and admission.answered)):
            await self._authenticate(connection, admission, tuple(arguments[1:]), ack_id, run_connect)
            return None
        if not await self.packet(admission):
            return None
        if self._serves_rooms and name in (JOIN, LEAVE):
            await self._room_event(admission, name, arguments[1:], ack_id)
            return None
        if not await self._judge.may_send(admission.identity, name, namespace):
            await self.answer_error(admission, self._denied(admission, "event", name), ack_id)
            return None
        return admission if admission.admitted else None

    async def packet(self, admission: Admission) -> bool:
        """True if a packet of this socket may be looked at; before admission it ends the socket."""
        if not admission.admitted:
            await self._end(admission, Input.PACKET, ProtocolViolation("a packet before admission"))
        return Action.DISPATCH in admission.feed(Input.PACKET)

    async def answer_error(self, admission: Admission, error: AuthError, ack_id: int | None) -> None:
        """Tell a client that an event was refused: by its acknowledgement, else by the event ``error``."""
        if ack_id is not None:
            await self.port.send_ack(admission, ack_id, {"ok": False, "error": error.to_client()})
        else:
            await self.port.send_event(admission, "error", error.to_client())

    # Deciding

    async def _decide(
        self, connection: Connection, admission: Admission, find: Callable[[], Presented], run_connect: RunConnect
    ) -> AuthError | None:
        """The one path from a presented token to an open namespace; returns why not, or None."""
        if Action.VERIFY not in admission.feed(Input.PRESENT):
            return None
        presented: Presented | None = None
        try:
            presented = find()
            who = await self._judge.identify(presented, admission.namespace)
        except AuthError as error:
            await self._bad_token(connection, admission, error, presented)
            return error
        if Action.RUN_CONNECT not in admission.feed(Input.IDENTIFIED):
            return admission.ended_by or Unavailable("the decision came too late")
        admission.identity = who
        declined = await self._run_connect(admission, who, run_connect)
        if declined is not None:
            self._tell_refused(declined, connection, admission)
            await self._perform(connection, admission, admission.feed(Input.DECLINED, declined), declined)
            return declined
        if Action.ANNOUNCE not in admission.feed(Input.ACCEPTED):
            return admission.ended_by or Unavailable("the connect handler came back too late")
        self._admitted(connection, admission, who)
        return None

    async def _run_connect(self, admission: Admission, who: Identity, run_connect: RunConnect) -> AuthError | None:
        try:
            if not await run_connect(admission):
                return PermissionDenied("the connect handler declined", message="Connection rejected by server")
            admission.opened = True
            self._judge.check_still_valid(who)  # the handler may have waited
        except AuthError as error:
            return error
        except Exception as error:
            LOG.exception("the connect handler failed, so the connection is refused")
            return Unavailable(f"the connect handler raised {type(error).__name__}")
        return None

    def _admitted(self, connection: Connection, admission: Admission, who: Identity) -> None:
        self.registry.admitted(connection)
        self._timers.cancel(("admission", admission.sid))
        admission.attempts = 0
        admission.max_attempts = self.authenticate.max_attempts if self.authenticate is not None else self.max_refusals
        self._watch_expiry(admission, who)
        audit.about("admitted", admission, address=connection.address, source=who.source)

    def _watch_expiry(self, admission: Admission, who: Identity) -> None:
        if who.expires_at is not None:
            self._timers.at(admission.sid, who.expires_at + self.grace)

    async def _bad_token(
        self, connection: Connection, admission: Admission, error: AuthError, presented: Presented | None
    ) -> None:
        """Count a refused token, tell whoever wants to know, and do what follows."""
        actions = admission.bad_token(error)
        self._tell_refused(error, connection, admission, presented.token if presented is not None else None)
        await self._perform(connection, admission, actions, error)

    # authenticate, and authenticate again

    async def _authenticate(
        self,
        connection: Connection,
        admission: Admission,
        arguments: tuple[object, ...],
        ack_id: int | None,
        run_connect: RunConnect,
    ) -> None:
        if admission.admitted:
            done = await self._refresh(connection, admission, arguments)
        else:
            error = await self._decide(connection, admission, lambda: from_event(arguments), run_connect)
            done = error is None and admission.admitted
        if not done:
            return
        who = admission.identity
        told: dict[str, object] = {}
        if who is not None and who.expires_at is not None:
            told["expires_in"] = max(0, int(who.expires_at - self.clock.now()))
        await self.port.send_event(admission, "authenticated", told)
        if ack_id is not None:
            await self.port.send_ack(admission, ack_id, told)

    async def _refresh(self, connection: Connection, admission: Admission, arguments: tuple[object, ...]) -> bool:
        """A live socket presents a later token of the same subject: its deadline moves, nothing else stops."""
        admission.feed(Input.PRESENT)
        old = admission.identity
        presented: Presented | None = None
        try:
            presented = from_event(arguments)
            new = await self._judge.identify(presented, admission.namespace)
            self._judge.check_refresh(old, new)
        except SubjectMismatch as error:
            await self._end(admission, Input.MISMATCH, error)
            return False
        except AuthError as error:
            await self._bad_token(connection, admission, error, presented)
            return False
        if not admission.admitted or admission.identity is not old:
            return False
        admission.identity = new
        admission.attempts = 0
        self._watch_expiry(admission, new)
        audit.about("refreshed", admission, address=connection.address, source=new.source)
        return True

    # Policy on a live socket

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
                await self.port.send_ack(admission, ack_id, {"ok": True})

    def _denied(self, admission: Admission, kind: str, name: object) -> PermissionDenied:
        shown = name if isinstance(name, str) else repr(name)
        audit.about("denied", admission, level=logging.WARNING, **{kind: shown})
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

    # Ending

    def _deadline_passed(self, what: tuple[str, str]) -> None:
        kind, name = what
        if kind == "connection":
            connection = self.registry.connections.get(name)
            if connection is not None and not connection.in_use:
                self._tell_refused(AuthenticationTimeout("no namespace was joined in time"), connection)
                self.close_soon(connection)
            return
        admission = self.registry.admissions.get(name)
        if admission is None:
            return
        if kind == "admission":
            self._spawn(self._end(admission, Input.TIMEOUT, AuthenticationTimeout("no valid token in time")))
        elif admission.identity is not None:
            expired = ExpiredToken("exp", "expired while connected", expired_at=admission.identity.expires_at)
            self._spawn(self._end(admission, Input.EXPIRE, expired))

    def _end(self, admission: Admission, why: Input, error: AuthError) -> Coroutine[Any, Any, None]:
        """End a socket from outside: its state changes now, before anything is awaited; what is returned does the rest."""
        actions = admission.feed(why, error)
        connection = self.registry.connections.get(admission.connection_id)
        if actions and connection is not None:
            if admission.state is State.ENDED:
                audit.about("ended", admission, reason=error.reason, check=str(error), address=connection.address)
            else:
                self._tell_refused(error, connection, admission)
        return self._finish(connection, admission, actions, error)

    async def _finish(
        self, connection: Connection | None, admission: Admission, actions: tuple[Action, ...], error: AuthError
    ) -> None:
        if connection is not None:
            await self._perform(connection, admission, actions, error)
            if Action.CLOSE in actions:
                self.close_soon(connection)

    async def _perform(
        self, connection: Connection, admission: Admission, actions: tuple[Action, ...], error: AuthError
    ) -> None:
        """Report, disconnect, close: each is tried whatever became of the one before.

        Before the CONNECT reply there is nobody to tell by an event: the host answers CONNECT_ERROR and then calls
        :meth:`refused`.
        """
        if not admission.answered:
            return
        if Action.REPORT in actions:
            await self._attempt(self.port.send_event(admission, "unauthorized", unauthorized(error)))
        if Action.DISCONNECT in actions:
            await self._attempt(self.port.disconnect(admission))
        if Action.CLOSE in actions:
            self.close_soon(connection)

    async def _attempt(self, step: Awaitable[None]) -> None:
        try:
            await step
        except Exception:
            LOG.exception("a step failed, the next ones follow")

    def _forget(self, admission: Admission) -> None:
        admission.feed(Input.GONE)
        self._timers.cancel(("admission", admission.sid))
        self._timers.cancel_expiry(admission.sid)
        self.registry.remove(admission)

    def _spawn(self, work: Awaitable[None]) -> None:
        task = asyncio.get_running_loop().create_task(self._attempt(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _tell_refused(
        self, error: AuthError, connection: Connection, admission: Admission | None = None, token: str | None = None
    ) -> None:
        audit.refused(error, connection.address, admission, token)
        for callback in self._on_refused:
            self._spawn(_call_back(callback, error, connection.address))


def unauthorized(error: AuthError) -> dict[str, object]:
    """The argument of the event ``unauthorized``; clients of three generations each find what they look for."""
    return {"message": error.message, "inner": {"message": error.message}, "data": error.to_client()}


def _ways(via: Way | Sequence[Way] | None) -> tuple[Handshake | None, Authenticate | None]:
    listed = [Handshake()] if via is None else [via] if isinstance(via, (Handshake, Authenticate)) else list(via)
    shakes = [way for way in listed if isinstance(way, Handshake)]
    laters = [way for way in listed if isinstance(way, Authenticate)]
    if not listed or len(shakes) > 1 or len(laters) > 1 or len(shakes) + len(laters) != len(listed):
        raise ConfigError("via takes Handshake(…), Authenticate(…), or one of each in a tuple")
    return (shakes[0] if shakes else None), (laters[0] if laters else None)


def _is_event_name(name: object) -> bool:
    return is_name(name) and name not in RESERVED_EVENTS


async def _call_back(callback: OnRefused, error: AuthError, address: str) -> None:
    result = callback(error, address)
    if inspect.isawaitable(result):
        await result
