"""The guard of all hosts that run on an event loop, and the verbs that can wait.

:class:`roomkey.socketio.Guard` has the same verbs for threads and greenlets: it makes them from these.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Iterable

from roomkey.core.credentials import Credential, Request
from roomkey.core.identity import Identity, RoomsClaim, copy_rooms
from roomkey.core.policy import RuleKind
from roomkey.core.revocations import Revocation, check_name, check_string
from roomkey.errors import ConfigError
from roomkey.guard.authorizer import KINDS, Decision
from roomkey.guard.background import Background
from roomkey.guard.base import BaseGuard
from roomkey.guard.connection import GuardedConnection
from roomkey.guard.host import HostConnection
from roomkey.guard.live_sockets import FoundSockets
from roomkey.guard.server_loop import ServerLoop, on_server_loop
from roomkey.guard.settings import GuardSettings

FindSockets = Callable[[str | None], Awaitable[FoundSockets]]
"""Finds the sockets of a subject, or all of them, on all nodes."""


class AsyncioGuard(BaseGuard):
    """The common part of :class:`roomkey.socketio.AsyncGuard` and the hub's guard.

    Its arguments are the fields of :class:`roomkey.guard.settings.GuardSettings`: the verifier, and the rest by name.
    """

    background: Background

    def _assemble(self, settings: GuardSettings) -> None:
        self.server_loop = ServerLoop()
        self._find: FindSockets | None = None
        super()._assemble(settings)

    def _make_background(self) -> Background:
        return Background(self.clock)

    def accept(self, request: Request, address: str, host: HostConnection) -> GuardedConnection:
        """Guard a connection that has opened: see :meth:`BaseGuard.accept`."""
        self.background.use_loop(self.server_loop.use_running_loop())
        return super().accept(request, address, host)

    def check_deadlines(self) -> None:
        """Handle the deadlines that have passed. A timer calls this; in tests, call it after you move the clock."""
        self.server_loop.check_here("check_deadlines")
        super().check_deadlines()

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

    def set_presence(self, find: FindSockets) -> None:
        """Let a host whose nodes form a cluster find the sockets of all of them."""
        self._find = find

    @on_server_loop
    async def find_sockets(self, subject: str | None = None) -> FoundSockets:
        """Return the admitted sockets of all nodes of a cluster, or those of one subject.

        Its ``complete`` is False if a node did not answer. Without a cluster, these are the sockets of this process.
        """
        return FoundSockets(tuple(self.sockets(subject))) if self._find is None else await self._find(subject)

    @on_server_loop
    async def count_sockets(self, subject: str) -> tuple[Counter[str | None], bool]:
        """Return the number of a subject's admitted sockets on all nodes, by the ``sid`` claim of their tokens.

        Returns:
            The numbers, and False if a node did not answer, so that there may be more.
        """
        found = await self.find_sockets(subject)
        return Counter(live.identity.session_id for live in found), found.complete

    @on_server_loop
    async def check(self, who: Identity) -> None:
        """Check that an identity's token is still valid: neither revoked nor expired.

        Raises:
            RevokedToken, ExpiredToken: the token is not valid any more.
            Unavailable: the store of revocations is unavailable.
        """
        await self._revocation_sync.check()
        self._authorizer.check_still_valid(who)

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
        version = self._revocation_sync.versions.next(now)
        change = Revocation("rights", subject, None, now, until, rights, version)
        return await self.socket_authorizer.update(
            change, self._revocation_sync.write_rights if self.has_store else None
        )

    @on_server_loop
    async def explain(
        self, who: str | Identity, kind: RuleKind, name: str, *, event: str = "", namespace: str = "/"
    ) -> Decision:
        """Return the decision that the policy would make now, with the rule that makes it.

        Args:
            who: the ID of a socket, or an identity.
            kind: ``"namespace"``, ``"room"`` (to join it), ``"emit"`` (to a room), ``"presence"`` (who is in
                a room) or ``"event"``.
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

    @on_server_loop
    async def disconnect(self, *, subject: str) -> int:
        """Disconnect all sockets of a subject. Its tokens stay valid, and its clients do not reconnect automatically.

        With a store of revocations, this reaches the sockets that are connected to other servers now. A client that
        connects again afterwards stays connected.

        Args:
            subject: the value of ``sub``.

        Returns:
            The number of sockets that were disconnected in this process.

        Raises:
            Unavailable: the sockets of this process are disconnected, but the store has not saved the disconnect for
                other servers yet. The guard saves it when the store is available again.
            ConfigError: the subject is not a valid name.
        """
        check_name("subject", subject)
        return await self._revocation_sync.disconnect(subject)

    @on_server_loop
    async def ready(self) -> str | None:
        """Read the store if that has not happened yet, and return :attr:`problem`."""
        return await self._revocation_sync.ready()

    @on_server_loop
    async def close(self) -> None:
        """Close every connection, because the server stops. Clients reconnect automatically when it runs again."""
        for connection in list(self.index.connections):
            connection.close()
        await self.background.settle()
        await self._revocation_sync.close()

    @on_server_loop
    async def settle(self) -> None:
        """Wait until all background tasks have ended."""
        await self.background.settle()
