"""The part of a guard that never waits, with every host: its settings, its objects, and some of its verbs.

A host calls :meth:`BaseGuard.accept` for each connection, and then the :class:`GuardedConnection` that it returns.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Self

from roomkey.bus.node import Node
from roomkey.core.admission import AdmissionState
from roomkey.core.credentials import Request
from roomkey.core.identity import Identity
from roomkey.core.policy import OWN_ROOM, Policy
from roomkey.core.revocations import FOREVER, Revocations, check_string
from roomkey.core.subject_limits import SubjectUsage
from roomkey.errors import ConfigError, PermissionDenied
from roomkey.guard.authenticator import Authenticator
from roomkey.guard.authorizer import Authorizer
from roomkey.guard.bad_tokens import BadTokenLimit
from roomkey.guard.clock import Clock, SystemClock
from roomkey.guard.connection import Deciders, GuardedConnection
from roomkey.guard.events import Events
from roomkey.guard.expiry_watch import ExpiryWatch
from roomkey.guard.host import HostConnection
from roomkey.guard.index import SocketIndex
from roomkey.guard.live_sockets import LiveSocket
from roomkey.guard.refusals import OnRefused, Refusals
from roomkey.guard.revocation_sync import RevocationSync
from roomkey.guard.revocation_writer import Follower
from roomkey.guard.session_binding import SessionBinding
from roomkey.guard.settings import GuardSettings, takes_settings
from roomkey.guard.socket import ConnectionState, GuardContext, GuardedSocket
from roomkey.guard.socket_authorizer import SocketAuthorizer
from roomkey.guard.statistics import Statistics
from roomkey.guard.waiting import Waiting


class BaseGuard(ABC):
    """The common part of all guards: the settings, and the verbs that never wait.

    Its arguments are the fields of :class:`roomkey.guard.settings.GuardSettings`: the verifier, and the rest by name.

    Raises:
        ConfigError: a setting is invalid, or settings contradict each other.
    """

    background: Waiting
    _is_attached = True  # a guard that is made before its server is not

    @takes_settings(GuardSettings)
    def __init__(self, settings: GuardSettings) -> None:
        self._assemble(settings)

    @classmethod
    def of(cls, settings: GuardSettings) -> Self:
        """Create a guard from settings that a host has checked together with its own."""
        guard = cls.__new__(cls)
        guard._assemble(settings)
        return guard

    def _assemble(self, settings: GuardSettings) -> None:
        self.settings = settings
        self.clock: Clock = settings.clock if settings.clock is not None else SystemClock()
        self.policy = settings.policy if settings.policy is not None else Policy()
        self.background = self._make_background()
        self.index: SocketIndex[ConnectionState, GuardedSocket] = SocketIndex()
        limits, later = settings.subject_limits, settings.authenticate
        context = self._context = GuardContext(
            settings=settings,
            clock=self.clock,
            background=self.background,
            index=self.index,
            expiry=ExpiryWatch(self.background.timers, self.clock, settings),
            usage=SubjectUsage(limits) if limits is not None else None,
            authenticate_timeout=later.timeout if later is not None else None,
            refusals=Refusals(self.background),
            bad_tokens=BadTokenLimit(settings.max_bad_tokens, self.clock, self.background.timers),
        )
        self._revocation_sync = RevocationSync(Revocations(), context)
        self._authorizer = Authorizer(settings, self.policy, self._revocation_sync, self.clock, self.background)
        self.socket_authorizer = SocketAuthorizer(self._authorizer, context, user_rooms=settings.user_rooms)
        self._revocation_sync.on_rights = self.socket_authorizer.follow
        self._revocation_sync.rights = self._authorizer.changed
        authenticator = Authenticator(self._authorizer, self.socket_authorizer, context)
        counts_events = limits is not None and limits.events is not None
        self.events = Events(self.policy, self.socket_authorizer, authenticator, self.clock, counted=counts_events)
        self._deciders = Deciders(authenticator, self.events, SessionBinding(settings.handshake, self._authorizer))

    @abstractmethod
    def _make_background(self) -> Waiting:
        """Return what the guard waits with."""

    # What a host calls

    def accept(self, request: Request, address: str, host: HostConnection) -> GuardedConnection:
        """Guard a connection that has opened.

        Args:
            request: the parts of its HTTP request that can contain tokens.
            address: the client's address.
            host: the host's side.

        Raises:
            TooManyAttempts: the address has too many connections without an admitted socket. The guard has reported
                this; the host only refuses the connection.
        """
        return GuardedConnection(self._context, self._deciders, request, address, host)

    def join_cluster(self, node: Node, node_of: Callable[[str], str | None]) -> None:
        """Let the host be one node of a cluster. Call this before the first connection opens.

        All nodes count the connections of each subject, and the rejected tokens of each address, together.

        Args:
            node: this node.
            node_of: returns the node that made a socket ID, or None if none did.
        """
        self._context.node_of = node_of
        self._deciders.authenticator.limit.share(node)
        self._context.bad_tokens.share(node)

    # What an application calls

    def identity(self, sid: str, namespace: str | None = None) -> Identity:
        """Return the identity of a socket.

        Args:
            sid: the Socket.IO ID that handlers receive.
            namespace: the socket's namespace; by default, any.

        Raises:
            PermissionDenied: there is no such socket, or its identity is not known yet.
            ConfigError: the guard is not attached to a server.
        """
        self._check_attached()
        socket = self.index.sockets.get(sid)
        if socket is None or socket.identity is None or namespace not in (None, socket.namespace):
            raise PermissionDenied(self._missing(sid, "this socket has no identity"))
        return socket.identity

    def sockets(self, subject: str | None = None) -> list[LiveSocket]:
        """Return the admitted sockets of this process, all of them or those of one subject."""
        found = self.index if subject is None else self.index.named("subject", subject)
        return [live for socket in found if (live := self.live_socket(socket)) is not None]

    @staticmethod
    def live_socket(socket: GuardedSocket) -> LiveSocket | None:
        """Return the current state of a socket; None if it is not admitted."""
        if not socket.admitted or socket.identity is None:
            return None
        address = socket.connection.address
        return LiveSocket(socket.sid, socket.namespace, socket.identity, socket.all_rooms, address)

    @staticmethod
    def subject_room(subject: str) -> str:
        """Return the room of all sockets of a subject: ``sio.emit(…, room=guard.subject_room("ada"))``."""
        check_string("subject", subject)
        return OWN_ROOM + subject

    def follow_revocations(self, follower: Follower) -> None:
        """Call ``follower(revocation)`` each time that :meth:`revoke` has saved a revocation, before it returns.

        The login server uses this to end login sessions with their refresh tokens. The follower returns the number of
        further sockets that it disconnected.
        """
        self._revocation_sync.writer.followers.append(follower)

    def read_revocations(self) -> None:
        """Start to read the store of revocations now, because another process has written to it.

        The method does not wait for the store. You can call it from any thread. Without a call, the guard reads a
        database twice per second.
        """
        self._revocation_sync.wake()

    def _latest_expiry(self, subject: str | None, expires_at: float | None, now: float) -> float:
        """Return the time at which all tokens that a revocation means have expired.

        Raises:
            ConfigError: that is not known.
        """
        if subject is None:
            return now + self._authorizer.longest_lifetime if expires_at is None else expires_at
        if expires_at is None:
            if self._authorizer.has_undated:
                raise ConfigError(
                    "cannot tell old tokens from new ones: this guard accepts tokens without iat, and the subject "
                    "would be locked out; pass expires_at, the latest exp of the tokens to revoke, or issue every "
                    "token with an iat"
                )
            expires_at = now + self._authorizer.longest_lifetime
        undated = (socket.identity for socket in self.sockets(subject) if socket.identity.issued_at is None)
        return max([expires_at, *(who.expires_at or FOREVER for who in undated)])

    @property
    def unfinished(self) -> int:
        """The number of revocations that apply here and are not saved in the store yet."""
        return len(self._revocation_sync.writer)

    @property
    def statistics(self) -> Statistics:
        """The numbers that the guard has counted."""
        context = self._context
        return Statistics(
            admitted=context.admitted,
            ended=context.ended,
            refused=context.refusals.counts,
            closing_times=context.closing_times,
            journal=self._revocation_sync.state(),
        )

    def on_refused(self, callback: OnRefused) -> OnRefused:
        """Call ``callback(error, address)`` for each token or connection that is refused. Works as a decorator.

        The callback can be a coroutine function. An exception that it raises is logged and changes nothing.
        """
        self._context.refusals.callbacks.append(callback)
        return callback

    def serve_rooms(self) -> None:
        """Let clients join and leave rooms, if the policy allows it.

        Adds the events ``join-room`` and ``leave-room``, each with a room's name. The acknowledgement is
        ``{"ok": true}`` or ``{"ok": false, "error": {…}}``; without an acknowledgement, a denial is the event
        ``error``.
        """
        self._check_attached()
        self.events.serve_rooms()

    def relay(self, *events: str) -> None:
        """Let clients emit these events to rooms, if the policy allows it.

        A client sends ``emit("say", room, data)``; the others in the room receive ``say`` with
        ``{"room", "from", "data"}``, where ``from`` is the sender's subject. The acknowledgement is as for rooms.

        Raises:
            ConfigError: a name that is not valid for an event, that is relayed already, or that is an event of the
                guard's own, such as ``unauthorized``: one client could pretend to another to be the server.
        """
        self._check_attached()
        self.events.relay(events)

    @property
    def has_store(self) -> bool:
        """True if revocations are saved in a store."""
        return self._revocation_sync.has_store

    @property
    def problem(self) -> str | None:
        """Why the store is unavailable, so that the guard refuses connections or uses old revocations; or None."""
        return self._revocation_sync.problem

    @property
    def is_attached(self) -> bool:
        """False for a guard that is made before its server, and that does not guard one yet."""
        return self._is_attached

    def handles(self, event: str) -> bool:
        """Return True for an event that the guard itself serves: a room event, or one that it relays."""
        return event in self.events.guard_handlers

    def check_deadlines(self) -> None:
        """Handle the deadlines that have passed. A timer calls this; in tests, call it after you move the clock."""
        self.background.timers.check()

    def _check_attached(self) -> None:
        if not self._is_attached:
            raise ConfigError("the server is open to everybody: this guard is not attached; call guard.attach(sio)")

    def _open_socket(self, sid: str, namespace: str | None) -> GuardedSocket:
        self._check_attached()
        socket = self.index.sockets.get(sid)
        if (
            socket is None
            or socket.state not in (AdmissionState.CONNECTING, AdmissionState.ADMITTED)
            or namespace not in (None, socket.namespace)
        ):
            raise PermissionDenied(self._missing(sid, "this socket is not admitted"))
        return socket

    def _missing(self, sid: str, why: str) -> str:
        """Return why a socket was not found."""
        is_elsewhere = sid not in self.index.sockets and self._context.node_of(sid) is not None
        return "this socket is not connected to this node; use the methods of the hub" if is_elsewhere else why
