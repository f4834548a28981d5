"""The guard that all asyncio hosts share: what an application calls.

A host calls :meth:`Guard.accept` for each connection, and then the :class:`GuardedConnection` that it returns.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Self

from roomkey.core.admission import AdmissionState
from roomkey.core.credentials import Credential, Request
from roomkey.core.identity import Identity, RoomsClaim, copy_rooms
from roomkey.core.policy import OWN_ROOM, Policy
from roomkey.core.revocations import FOREVER, Revocation, Revocations, check_string
from roomkey.core.subject_limits import SubjectUsage
from roomkey.errors import ConfigError, PermissionDenied
from roomkey.guard.authenticator import Authenticator
from roomkey.guard.authorizer import KINDS, Authorizer, Decision, Kind
from roomkey.guard.background import Background
from roomkey.guard.clock import Clock, SystemClock
from roomkey.guard.connection import Deciders, GuardedConnection
from roomkey.guard.events import Events
from roomkey.guard.expiry_watch import ExpiryWatch
from roomkey.guard.host import HostConnection
from roomkey.guard.index import SocketIndex
from roomkey.guard.refusals import OnRefused, Refusals
from roomkey.guard.revocation_sync import RevocationSync
from roomkey.guard.revocation_writer import Follower
from roomkey.guard.server_loop import ServerLoop, on_server_loop
from roomkey.guard.session_binding import SessionBinding
from roomkey.guard.settings import GuardSettings, takes_settings
from roomkey.guard.socket import ConnectionState, GuardContext, GuardedSocket
from roomkey.guard.socket_authorizer import SocketAuthorizer


@dataclass(frozen=True, slots=True)
class LiveSocket:
    """The current state of an admitted socket.

    Attributes:
        sid: its Socket.IO ID. Do not log or return it: with it, a client could continue a polling session.
        namespace: its namespace.
        identity: the identity of its token.
        rooms: the rooms that the policy allowed.
        address: the client's address.
    """

    sid: str = field(repr=False)
    namespace: str
    identity: Identity
    rooms: frozenset[str]
    address: str


class Guard:
    """The common part of :class:`roomkey.socketio.AsyncGuard` and the hub's guard.

    Its arguments are the fields of :class:`roomkey.guard.settings.GuardSettings`: the verifier, and the rest by name.

    Raises:
        ConfigError: a setting is invalid, or settings contradict each other.
    """

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
        self.server_loop = ServerLoop()
        self.background = Background(self.clock)
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
        )
        self._revocation_sync = RevocationSync(Revocations(), context)
        self._authorizer = Authorizer(settings, self.policy, self._revocation_sync, self.clock)
        self.socket_authorizer = SocketAuthorizer(self._authorizer, context, user_rooms=settings.user_rooms)
        self._revocation_sync.on_rights = self.socket_authorizer.follow
        authenticator = Authenticator(self._authorizer, self.socket_authorizer, context)
        counts_events = limits is not None and limits.events is not None
        self._events = Events(self.policy, self.socket_authorizer, authenticator, self.clock, counted=counts_events)
        self._deciders = Deciders(authenticator, self._events, SessionBinding(settings.handshake, self._authorizer))

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
        self.server_loop.use_running_loop()
        return GuardedConnection(self._context, self._deciders, request, address, host)

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
            raise PermissionDenied("this socket has no identity")
        return socket.identity

    @on_server_loop
    async def verify(self, token: str, *, source: str = "") -> Identity:
        """Verify a token as for a socket, for example in an HTTP route of the same application.

        Args:
            token: the token.
            source: where it came from, for the log.

        Raises:
            AuthError: it is not valid, or revoked.
        """
        return self._authorizer.with_rights_of_now(await self._authorizer.verify(Credential(token, source)))

    @on_server_loop
    async def check(self, who: Identity) -> None:
        """Check that an identity's token is still valid: neither revoked nor expired.

        Raises:
            RevokedToken, ExpiredToken: the token is not valid any more.
            Unavailable: the store of revocations is unavailable.
        """
        await self._revocation_sync.check()
        self._authorizer.check_still_valid(who)

    def sockets(self, subject: str | None = None) -> list[LiveSocket]:
        """Return the admitted sockets, all of them or those of one subject."""
        found = self.index if subject is None else self.index.named("subject", subject)
        return [
            LiveSocket(
                sid=socket.sid,
                namespace=socket.namespace,
                identity=socket.identity,
                rooms=socket.all_rooms,
                address=socket.connection.address,
            )
            for socket in found
            if socket.admitted and socket.identity is not None
        ]

    def sockets_by_session(self, subject: str) -> Counter[str | None]:
        """Return the number of a subject's admitted sockets, by the ``sid`` claim of their tokens."""
        identities = (socket.identity for socket in self.index.named("subject", subject) if socket.admitted)
        return Counter(who.session_id for who in identities if who is not None)

    @on_server_loop
    async def enter_room(self, sid: str, room: str, namespace: str | None = None) -> None:
        """Add a socket to a room, if the policy allows it.

        Raises:
            PermissionDenied: no rule allows it, or the socket is not admitted. If an event handler does not catch the
                error, the guard sends it to the client.
        """
        await self.socket_authorizer.enter_room(self._open_socket(sid, namespace), room)

    @on_server_loop
    async def leave_room(self, sid: str, room: str, namespace: str | None = None) -> None:
        """Remove a socket from a room that :meth:`enter_room` added it to, and from no other.

        Raises:
            PermissionDenied: the socket is not admitted.
        """
        await self.socket_authorizer.leave_room(self._open_socket(sid, namespace), room)

    @on_server_loop
    async def check_emit(self, sid: str, room: str, event: str, namespace: str | None = None) -> None:
        """Check that a client can emit an event to a room, before a handler emits it for the client.

        Raises:
            PermissionDenied: it cannot. If an event handler does not catch the error, the guard sends it to the client.
        """
        await self.socket_authorizer.check_emit(self._open_socket(sid, namespace), room, event)

    @on_server_loop
    async def update(self, subject: str, *, roles: Iterable[str] | None = None, rooms: RoomsClaim | None = None) -> int:
        """Change what a subject can do: immediately on its connected sockets, and for its older tokens.

        A socket leaves rooms that are no longer allowed, and its client receives ``permissions_changed``. A namespace
        that is no longer allowed is disconnected. With a store of revocations, the change survives this process and
        reaches other processes.

        Args:
            subject: the value of ``sub``.
            roles: its roles from now on, whatever older tokens contain; None keeps them.
            rooms: its rooms from now on, as in the claim ``rooms``; None keeps them.

        Returns:
            The number of connected sockets that changed.

        Raises:
            ConfigError: neither ``roles`` nor ``rooms`` is given, or the subject is not a string.
            Unavailable: the change applies to this process, but the store has not saved it yet. Call again to make
                sure.
        """
        if (roles is None and rooms is None) or isinstance(roles, str) or isinstance(rooms, str):
            raise ConfigError("nothing to update; pass roles=[…], rooms=[…] or both")
        check_string("subject", subject)
        now = self.clock.now()
        rights = {
            **({} if roles is None else {"roles": list(roles)}),
            **({} if rooms is None else {"rooms": copy_rooms(rooms)}),
        }
        until = now + self._authorizer.longest_lifetime
        change = Revocation("rights", subject, issued_before=now, expires_at=until, rights=rights)
        return await self.socket_authorizer.update(
            change, self._revocation_sync.writer.write if self.has_store else None
        )

    @on_server_loop
    async def explain(
        self, who: str | Identity, kind: Kind, name: str, *, event: str = "", namespace: str = "/"
    ) -> Decision:
        """Return the decision that the policy would make now, with the rule that makes it.

        Args:
            who: the ID of a socket, or an identity.
            kind: ``"namespace"``, ``"room"`` (to join it), ``"emit"`` (to a room) or ``"event"``.
            name: of the namespace, room or event.
            event: the event that would be emitted, for ``"emit"``.
            namespace: the namespace for an identity; a socket has its own.

        Returns:
            A decision that is true if it would be allowed; print it to see the reason.

        Raises:
            PermissionDenied: there is no such socket.
            ConfigError: ``kind`` is not valid.
        """
        if kind not in KINDS:
            raise ConfigError(f"the kind of explain must be one of {', '.join(KINDS)}, not {kind!r}")
        if isinstance(who, Identity):
            return await self._authorizer.decide(
                self._authorizer.with_rights_of_now(who), kind, name, namespace, event=event
            )
        return await self.socket_authorizer.decide(self._open_socket(who, None), kind, name, event)

    @staticmethod
    def subject_room(subject: str) -> str:
        """Return the room of all sockets of a subject: ``sio.emit(…, room=guard.subject_room("ada"))``."""
        check_string("subject", subject)
        return OWN_ROOM + subject

    @on_server_loop
    async def revoke(
        self,
        *unnamed: object,
        token_id: str | None = None,
        session_id: str | None = None,
        subject: str | None = None,
        issuer: str | None = None,
        issued_before: float | None = None,
        expires_at: float | None = None,
    ) -> int:
        """Revoke tokens and disconnect the sockets that use them.

        Pass exactly one of ``token_id``, ``session_id`` and ``subject``.

        Args:
            token_id: the ``jti`` of one token.
            session_id: the ``sid`` claim: one login session with all its refreshed tokens.
            subject: all tokens issued to this ``sub``.
            issuer: only tokens of this ``iss``.
            issued_before: with ``subject``: only tokens that were issued up to then, in seconds since the epoch.
            expires_at: the latest ``exp`` of the tokens, in seconds since the epoch. The revocation is kept until then.
                Default: the verifier's ``max_lifetime`` from now, or 366 days if it has none. For tokens with a longer
                lifetime, pass their ``exp``; ``float("inf")`` keeps the revocation forever. With ``subject``, tokens
                without ``iat`` that expire later count as new and are not revoked.

        Returns:
            The number of sockets that were disconnected. When this returns, the store has saved the revocation.

        Raises:
            Unavailable: the sockets of this process are disconnected, but the store has not saved the revocation yet.
                The guard saves it when the store is available again. Call again to make sure.
            ConfigError: not exactly one of the three names; a positional argument; ``issued_before`` in the future; or
                ``subject`` without ``expires_at``, although clients use tokens without ``iat``.
        """
        if unnamed:
            raise ConfigError(
                "name what to revoke; use revoke(subject='ada'), revoke(session_id=…) or revoke(token_id=…)"
            )
        now = self.clock.now()
        revoked = Revocation.of(
            token_id=token_id,
            session_id=session_id,
            subject=subject,
            issuer=issuer,
            issued_before=issued_before,
            expires_at=self._latest_expiry(subject, expires_at, now),
            now=now,
        )
        everybody = subject is not None and issued_before is None
        return await self._revocation_sync.revoke(revoked, everybody=everybody)

    def follow_revocations(self, follower: Follower) -> None:
        """Call ``follower(revocation)`` each time that :meth:`revoke` has saved a revocation, before it returns.

        The login server uses this to end login sessions with their refresh tokens. The follower returns the number of
        further sockets that it disconnected.
        """
        self._revocation_sync.writer.followers.append(follower)

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
        self._events.serve_rooms()

    def relay(self, *events: str) -> None:
        """Let clients emit these events to rooms, if the policy allows it.

        A client sends ``emit("say", room, data)``; the others in the room receive ``say`` with
        ``{"room", "from", "data"}``, where ``from`` is the sender's subject. The acknowledgement is as for rooms.

        Raises:
            ConfigError: a name that is not valid for an event, that is relayed already, or that is an event of the
                guard's own, such as ``unauthorized``: one client could pretend to another to be the server.
        """
        self._check_attached()
        self._events.relay(events)

    @property
    def has_store(self) -> bool:
        """True if revocations are saved in a store."""
        return self._revocation_sync.has_store

    @on_server_loop
    async def ready(self) -> str | None:
        """Read the store if that has not happened yet, and return :attr:`problem`."""
        return await self._revocation_sync.ready()

    @property
    def problem(self) -> str | None:
        """Why the store is unavailable, so that the guard refuses connections or uses old revocations; or None."""
        return self._revocation_sync.problem

    def check_deadlines(self) -> None:
        """Handle the deadlines that have passed. A timer calls this; in tests, call it after you move the clock."""
        self.server_loop.check_here("check_deadlines")
        self.background.timers.check()

    @on_server_loop
    async def close(self) -> None:
        """Close every connection, because the server stops. Clients reconnect automatically when it runs again."""
        for connection in list(self.index.connections):
            connection.close()
        await self.settle()
        await self._revocation_sync.close()

    @on_server_loop
    async def settle(self) -> None:
        """Wait until all background tasks have ended."""
        await self.background.settle()

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
            raise PermissionDenied("this socket is not admitted")
        return socket
