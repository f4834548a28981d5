"""A guarded socket, and the state of the connection that carries it: how each of them ends.

A socket is one client in one namespace, with its state, its identity, its rooms and the host's socket. It ends itself.
Its state changes first and synchronously, so that a socket that is refused or ended is in quarantine at that moment, no
matter what must still be sent or closed.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from roomkey.core.admission import LIVE, Admission, AdmissionAction, AdmissionEvent, AdmissionState
from roomkey.core.credentials import Credential, Request
from roomkey.core.histogram import Histogram
from roomkey.core.identity import Identity
from roomkey.core.rate import TokenBucket
from roomkey.core.subject_limits import SubjectUsage
from roomkey.errors import AuthenticationTimeout, AuthError, ExpiredToken, ProtocolViolation
from roomkey.guard import audit, contract
from roomkey.guard.bad_tokens import BadTokenLimit
from roomkey.guard.clock import Clock
from roomkey.guard.expiry_watch import ExpiryWatch
from roomkey.guard.host import GONE, HostConnection, HostSocket
from roomkey.guard.index import SocketIndex
from roomkey.guard.payloads import KeptPayloads
from roomkey.guard.refusals import Refusals
from roomkey.guard.settings import GuardSettings
from roomkey.guard.waiting import Deadline, Lock, Task, Waiting

LOG = logging.getLogger("roomkey.guard")

TOKENS_PER_SECOND = 100.0
"""Tokens that one connection can present, in CONNECT packets and on its connected sockets: each of them is verified."""

_CLOSE, _REPORT, _DISCONNECT = AdmissionAction.CLOSE, AdmissionAction.REPORT, AdmissionAction.DISCONNECT
_ADMITTED, _ENDED, _GONE = AdmissionState.ADMITTED, AdmissionState.ENDED, AdmissionEvent.GONE

_NO_ROOMS: frozenset[str] = frozenset()
"""The rooms of every socket that is in none: an empty set for each would take 216 bytes."""


@dataclass(slots=True, eq=False)
class GuardContext:
    """The objects that all connections and sockets of a guard share.

    Attributes:
        settings: those of the guard.
        clock: where to read the time.
        background: runs tasks and deadlines.
        index: who is connected.
        expiry: sets the deadlines of connected sockets.
        usage: the counts of each subject; None without limits.
        authenticate_timeout: seconds in which a client must send ``authenticate``; None if it is not accepted.
        refusals: reports refused tokens and connections.
        bad_tokens: limits the rejected tokens of each address.
        node_of: returns the node of a cluster that made a socket ID, or None.
        admitted: the number of sockets that were admitted.
        ended: the number of those that the guard ended later, by reason.
        closing_times: how long after revocations their sockets were closed.
    """

    settings: GuardSettings
    clock: Clock
    background: Waiting
    index: SocketIndex[ConnectionState, GuardedSocket]
    expiry: ExpiryWatch
    usage: SubjectUsage[ConnectionState] | None
    authenticate_timeout: float | None
    refusals: Refusals
    bad_tokens: BadTokenLimit
    node_of: Callable[[str], str | None] = lambda sid: None
    admitted: int = 0
    ended: Counter[str] = field(default_factory=Counter)
    closing_times: Histogram = field(default_factory=Histogram)


@dataclass(slots=True, eq=False, repr=False)
class ConnectionState:
    """The state of a connection, and the methods that end it.

    :class:`roomkey.guard.connection.GuardedConnection` adds one method for each kind of packet or event.

    Attributes:
        address: the client's address, for the log and the bounds.
        request: the parts of its HTTP request that can contain tokens.
        host: the host's side.
        opened_at: when it opened, on the monotonic clock in seconds.
        sockets: by namespace.
        closing: True while it is being closed; later packets are dropped.
        is_lost: its transport is gone.
        anonymous: True until one of its sockets is admitted.
        refusals: the number of namespace connections that were refused on it.
        bad_tokens: the number of tokens that were rejected before its first socket was admitted.
        kept_auth: the CONNECT payloads that wait for a connect handler, if there are any.
        has_presented: a token was presented, or a CONNECT packet arrived.
        tokens: counts the CONNECT packets, and the tokens that are presented on its connected sockets, from the second
            on.
        unexpected: counts unexpected acknowledgements; None until the first one.
        credential: the token of its HTTP request, to which the session is bound.
        repeats_credential: a later HTTP request has carried the credential, too.
        verifying: the requests that wait until it is known whether they come from its owner.
    """

    context: GuardContext
    address: str
    request: Request
    host: HostConnection
    opened_at: float = 0.0
    sockets: dict[str, GuardedSocket] = field(default_factory=dict)
    closing: bool = False
    is_lost: bool = False
    anonymous: bool = True
    refusals: int = 0
    bad_tokens: int = 0
    kept_auth: KeptPayloads | None = None
    has_presented: bool = False
    tokens: TokenBucket | None = None
    unexpected: TokenBucket | None = None
    credential: Credential | None = None
    repeats_credential: bool = False
    verifying: list[Deadline] | None = None

    @property
    def in_use(self) -> bool:
        """True if a socket on it is neither refused nor ended."""
        return any(socket.state in LIVE for socket in self.sockets.values())

    @property
    def admitted(self) -> bool:
        """True while a socket of the connection is admitted, including a guest's."""
        return any(socket.state is _ADMITTED for socket in self.sockets.values())

    def keep_auth(self, namespace: str, payload: object) -> bool:
        """Keep a CONNECT payload until the connect handler runs; return False if there are too many."""
        if self.kept_auth is None:
            self.kept_auth = KeptPayloads()
        return self.kept_auth.keep(namespace, payload)

    def take_auth(self, namespace: str) -> object:
        """Return the CONNECT payload that was kept for a namespace, or None, and keep it no longer."""
        payload = self.kept_auth.take(namespace) if self.kept_auth is not None else None
        self.kept_auth = self.kept_auth or None  # a dictionary that was filled once stays large
        return payload

    def accepts_token(self) -> bool:
        """Count a token that is about to be verified. A flood of them closes the connection."""
        if not self.has_presented:  # most connections present one
            self.has_presented = True
            return True
        now = self.context.clock.monotonic()
        if self.tokens is None:
            self.tokens = TokenBucket(max(TOKENS_PER_SECOND, 2.0 * self.context.settings.max_namespaces), now)
            self.tokens.take(now)  # the first one
        if self.tokens.take(now) >= 0:
            return True
        self.violation("one token after the other")
        return False

    # How it ends

    def violation(self, detail: str, code: int | None = None) -> None:
        """Close the connection, because it sent a packet that honest clients do not send.

        Args:
            detail: the violation, for the audit log.
            code: the close code of a WebSocket, if it is not the usual one.
        """
        if not self.closing:
            self.context.refusals.report(ProtocolViolation(detail), self.address)
            self.shut(code)

    def close(self) -> None:
        """Close the connection, unless that has begun."""
        if not self.closing:
            self.shut()

    def shut(self, code: int | None = None) -> None:
        """Close the connection now, and ignore later packets."""
        self.end_sockets()
        self.host.close(code)

    def end_sockets(self) -> None:
        """Put every socket into quarantine, and cancel the requests that wait for a verification."""
        self.closing = True
        for waiting in self.verifying or ():
            self.context.background.expire(waiting)
        for socket in self.sockets.values():
            if socket.state in LIVE:
                socket.handle(_GONE)

    def count_refusal(self) -> None:
        """Count a refused CONNECT, and close a connection with too many of them, or without any socket."""
        self.refusals += 1
        if self.refusals >= self.context.settings.max_refusals or not self.in_use:
            self.close()

    def expect_connect(self, seconds: float) -> None:
        """Close the connection after this time, unless it is in use then."""
        self.context.background.timers.after(self.nothing_joined, seconds)

    def nothing_joined(self) -> None:
        """Close the connection, because it joined no namespace in time."""
        if not self.in_use:
            self.context.refusals.report(AuthenticationTimeout("no namespace was joined in time"), self.address)
            self.close()

    def namespace_closed(self, socket: GuardedSocket, *, by_client: bool) -> None:
        """Close a connection whose last socket has ended.

        A client that left by itself can join another namespace within ``connect_timeout``. If it was never admitted,
        the time counts from the opening: short visits do not extend it.
        """
        if self.closing or self.in_use:
            return
        if by_client:
            waited = self.context.clock.monotonic() - self.opened_at if socket.identity is None else 0.0
            self.expect_connect(max(0.0, self.context.settings.connect_timeout - waited))
        else:
            self.close()

    def forget(self, socket: GuardedSocket) -> None:
        """Forget an ended socket and, after the last one, the connection if its transport is gone."""
        if self.sockets.get(socket.namespace) is socket:
            del self.sockets[socket.namespace]
            if self.kept_auth is not None:
                self.kept_auth.pop(socket.namespace, None)
        self.forget_if_lost()

    def forget_if_lost(self) -> None:
        """Forget the connection if its transport is gone, and all its sockets are forgotten."""
        if self.is_lost and not self.sockets:
            self.context.index.close(self)
            self.host = GONE


class GuardedSocket(Admission):
    """One client in one namespace.

    Args:
        connection: what carries it.
        namespace: ``/`` or another.
        max_attempts: the number of rejected tokens that ends it.

    Attributes:
        host: the host's side, once it is opened.
        sid: its Socket.IO id, which the host gives it; it belongs in no log.
        identity: whose it is, from CONNECTING on; kept after the end, for the disconnect handler.
        handler_runs: its connect handler runs, or has declined and its disconnect handler runs.
        handler_accepted: the connect handler accepted it, so its disconnect handler must be called.
        rooms: the rooms that the policy let it join.
        own_rooms: the rooms that the application added it to by the host's ``enter_room`` and that the policy allowed.
        counted_for: the subject whose limit it counts for, if there is one.
        renewing: held while a newer token is verified.
    """

    __slots__ = (
        "connection",
        "counted_for",
        "handler_accepted",
        "handler_runs",
        "host",
        "identity",
        "namespace",
        "own_rooms",
        "renewing",
        "rooms",
        "sid",
    )

    host: HostSocket

    def __init__(self, connection: ConnectionState, namespace: str, max_attempts: int) -> None:
        super().__init__(max_attempts)
        self.connection = connection
        self.namespace = namespace
        self.sid = ""
        self.identity: Identity | None = None
        self.handler_runs = self.handler_accepted = False
        self.rooms = self.own_rooms = _NO_ROOMS
        self.counted_for: Identity | None = None
        self.renewing: Lock | None = None

    def open(self, host: HostSocket) -> None:
        """Begin, in quarantine.

        The time to send ``authenticate`` counts from the opening of the connection: a second namespace does not
        extend it.
        """
        self.host = host
        self.sid = host.sid
        connection, context = self.connection, self.connection.context
        context.index.sockets[self.sid] = self
        seconds = context.settings.connect_timeout
        if context.authenticate_timeout is not None:
            waited = context.clock.monotonic() - connection.opened_at if connection.anonymous else 0.0
            seconds = max(0.0, context.authenticate_timeout - waited)
        context.background.timers.cancel(connection.nothing_joined)
        context.background.timers.after(self.deadline_passed, seconds)

    # Rooms: the host's table of who receives what is changed only together with these

    @property
    def all_rooms(self) -> frozenset[str]:
        """The rooms that the policy allowed, no matter who added the socket."""
        return self.rooms | self.own_rooms if self.own_rooms else self.rooms

    async def enter(self, room: str) -> None:
        """Add the socket to a room that the policy allows."""
        self.rooms |= {room}
        await self.host.enter(room)

    async def leave_room(self, room: str) -> None:
        """Remove the socket from a room that the client joined, unless the application also added it to the room."""
        if room in self.rooms:
            self.rooms -= {room}
            if room not in self.own_rooms:
                await self.host.leave(room)

    def lose_rooms(self, rooms: Iterable[object]) -> None:
        """Forget rooms that the host has removed the socket from, or is about to."""
        self.rooms = self.rooms.difference(rooms)
        self.own_rooms = self.own_rooms.difference(rooms)

    async def renew(self, who: Identity, allowed: set[str]) -> None:
        """Set the identity of a newer token or of changed rights, and remove the socket from the rooms that it lost.

        Args:
            who: the identity from now on.
            allowed: the rooms that it may stay in.
        """
        context, before = self.connection.context, self.identity
        context.index.identify(self, who)
        if before is None or who.expires_at != before.expires_at:  # otherwise its client would be warned twice
            context.expiry.watch(who, self.deadline_passed)
        lost = self.all_rooms - allowed
        self.lose_rooms(lost)
        for room in lost:
            await self.host.leave(room)
        if lost and self.connect_sent:
            await self.host.send_event(contract.PERMISSIONS_CHANGED, {"left": sorted(lost)})

    # How it ends

    def end(self, why: AdmissionEvent, error: AuthError) -> Task:
        """End the socket: change its state now, and start a task that notifies the client and closes the connection.

        Returns:
            The task, which the caller does not have to await.
        """
        actions, connection = self.handle(why, error), self.connection
        if actions:
            if self.state is _ENDED:
                connection.context.ended[error.reason or error.code] += 1
                audit.about("ended", self, reason=error.reason, check=str(error), address=connection.address)
            else:
                connection.context.refusals.report(error, connection.address, self)
            if _CLOSE in actions and self.connect_sent:
                connection.closing = True  # nothing that still arrives counts, however long the next steps take
        return connection.context.background.spawn(self.carry_out(actions, error, was_asked=False))

    def disconnect(self) -> Task:
        """Disconnect the socket: its client does not return automatically, and its token stays valid.

        Returns:
            The task that sends the packet, which the caller does not have to await.
        """
        self.handle(_GONE)
        audit.about("ended", self, reason="disconnected", address=self.connection.address)
        return self.connection.context.background.spawn(self.host.leave_namespace())

    async def carry_out(
        self, actions: tuple[AdmissionAction, ...], error: AuthError, *, was_asked: bool = True
    ) -> None:
        """Report, disconnect, close: each is tried even if the one before failed.

        Before the CONNECT reply no event can reach the client: the refusal of its CONNECT says why.

        Args:
            was_asked: this answers a packet of the client, so that its CONNECT is refused next if it is not answered.
        """
        if not self.connect_sent:
            if _CLOSE in actions and not was_asked:
                self.connection.close()
            return
        closes = _CLOSE in actions
        self.connection.closing = self.connection.closing or closes
        try:
            if _REPORT in actions:
                try:
                    await self.host.send_event(contract.UNAUTHORIZED, contract.unauthorized(error))
                except Exception:
                    LOG.exception("could not tell a client why its socket ends")
            if _DISCONNECT in actions and closes:
                await self.host.disconnect()
            elif _DISCONNECT in actions:  # its disconnect handler runs, for which nobody has to wait
                self.connection.context.background.spawn(self.host.leave_namespace())
        except Exception:
            LOG.exception("could not disconnect a socket")
        finally:  # also if the task that waited here was canceled
            if closes:
                self.connection.shut()

    def deadline_passed(self) -> None:
        """End the socket, because it did not authenticate in time or its token expired; or warn the client."""
        who = self.identity
        if self.state is not _ADMITTED or who is None:
            self.end(AdmissionEvent.TIMEOUT, AuthenticationTimeout("no valid token in time"))
            return
        context = self.connection.context
        left = context.expiry.passed(who, self.deadline_passed)
        if left is None:
            self.end(AdmissionEvent.EXPIRE, ExpiredToken("exp", "expired while connected", expired_at=who.expires_at))
        elif left > 0:
            context.background.spawn(self.host.send_event(contract.TOKEN_EXPIRING, {"expires_in": left}))

    async def leave(self, reason: str, *, by_client: bool) -> None:
        """End this socket alone, because its client or the server left the namespace.

        Args:
            reason: for the disconnect handler.
            by_client: the client left by itself.
        """
        self.handle(_GONE)  # from here on, however long the handler takes
        try:
            await self.call_disconnect(reason)
        finally:
            self.forget()
            self.connection.namespace_closed(self, by_client=by_client)

    async def transport_lost(self, reason: str) -> None:
        """Call the disconnect handler, because the connection is gone, and forget the socket."""
        try:
            await self.call_disconnect(reason)  # unless the socket has left before this task began
        finally:
            self.forget()

    async def call_disconnect(self, reason: str) -> None:
        """Call the disconnect handler once, and only if the connect handler accepted the socket."""
        accepted, self.handler_accepted = self.handler_accepted, False
        if accepted:
            await self.host.call_disconnect(reason)

    def forget(self) -> None:
        """Delete everything that is kept about a socket that has ended. A second call does nothing.

        While a handler runs, the application can still find the socket and its identity.
        """
        if self.state in LIVE:
            self.handle(_GONE)
        context = self.connection.context
        context.background.timers.cancel(self.deadline_passed)
        if self.counted_for is not None:
            self.uncount()
        if self.sid and not self.handler_runs:
            context.index.remove(self)
            self.host.forget()
            self.host = GONE
        self.connection.forget(self)

    def uncount(self) -> None:
        """Stop counting the socket for its subject."""
        usage = self.connection.context.usage
        if self.counted_for is not None and usage is not None:
            usage.leave(self.counted_for, self.connection)
            self.counted_for = None
