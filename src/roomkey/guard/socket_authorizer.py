"""Decisions about connected sockets: at every join, emit and event, and again when a token or a right changes."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Literal, get_args

from roomkey.audit import MAX_VALUE, without_secrets
from roomkey.core.admission import AdmissionEvent, AdmissionState
from roomkey.core.identity import Identity
from roomkey.core.names import looks_like_sid
from roomkey.core.policy import OWN_ROOM, RuleKind
from roomkey.core.revocations import Revocation
from roomkey.core.rights_overrides import MAX_CHANGES
from roomkey.errors import AuthError, ConfigError, LimitExceeded, PermissionDenied
from roomkey.guard import audit
from roomkey.guard.authorizer import Authorizer, Decision
from roomkey.guard.socket import GuardContext, GuardedSocket
from roomkey.guard.waiting import Task

_OPEN = (AdmissionState.CONNECTING, AdmissionState.ADMITTED)  # its identity is known, and it can join rooms


OwnJoins = Literal["policy", "allow"]
"""What an application's own ``enter_room`` needs: the policy's consent if it has rules for rooms, or nothing."""

LOG = logging.getLogger("roomkey.guard")
MAX_ROOMS = 1000
"""The number of rooms that one socket can join."""


class SocketAuthorizer:
    """Applies the policy to connected sockets.

    Args:
        authorizer: decides.
        context: what all sockets share.
        user_rooms: add every socket to its subject's own room, ``user:{sub}``.
    """

    def __init__(self, authorizer: Authorizer, context: GuardContext, *, user_rooms: bool) -> None:
        self._authorizer = authorizer
        self._context = context
        self._usage = context.usage
        self._user_rooms = user_rooms
        self._own_joins: OwnJoins = "policy"

    @property
    def own_joins(self) -> OwnJoins:
        """Whether the policy applies to the application's own joins."""
        return self._own_joins

    def set_own_joins(self, own_joins: OwnJoins) -> None:
        """Set whether the policy applies to the application's own ``enter_room``.

        Raises:
            ConfigError: a value other than ``"policy"`` and ``"allow"``.
        """
        if own_joins not in get_args(OwnJoins):
            raise ConfigError(f"own_joins must be 'policy' or 'allow', not {own_joins!r}")
        self._own_joins = own_joins

    def _asks_about(self, socket: GuardedSocket) -> bool:
        """Return True if the policy also decides about the application's own joins."""
        return self._own_joins == "policy" and self._authorizer.policy.has_room_rules(socket.namespace)

    async def check_own_join(self, socket: GuardedSocket, room: object) -> None:
        """Decide about a room to which the application itself is about to add a socket.

        Raises:
            AuthError: the policy has rules for rooms, and none allows this one; or it is the room of another subject.
        """
        if room == self.own_room(socket):
            return
        if self._asks_about(socket):
            if not isinstance(room, str):
                raise self.denied(socket, "room", room)
            await self._demand(socket, "room", room)
            socket.own_rooms |= {room}
        elif self._is_foreign(room):
            raise self.denied(socket, "room", room)

    def may_be_in(self, socket: GuardedSocket, room: object) -> bool:
        """Return True if a socket can be added to a room, after that was decided."""
        if room == self.own_room(socket) or room in socket.all_rooms:
            return True
        return not self._asks_about(socket) and not self._is_foreign(room)

    def _is_foreign(self, room: object) -> bool:
        """Return True for the room of a subject, or of one socket."""
        if not isinstance(room, str):
            return False
        context = self._context
        is_sid = room in context.index.sockets or context.node_of(room) is not None
        return is_sid or (self._user_rooms and room.startswith(OWN_ROOM))

    async def enter_room(self, socket: GuardedSocket, room: str) -> None:
        """Add a socket to a room, if the policy allows it.

        Raises:
            AuthError: the policy denies it, or the socket is not admitted any more.
        """
        if self._usage is not None:
            self._usage.take(_identity(socket), "joins", self._authorizer.clock.monotonic())
        await self._demand(socket, "room", room)
        if room == self.own_room(socket):  # it is in it, and stays in it whatever rule is removed
            return
        if len(socket.rooms) >= MAX_ROOMS:
            raise self.denied(socket, "room", room, LimitExceeded("rooms", f"{MAX_ROOMS} rooms on one socket"))
        await socket.enter(room)

    async def leave_room(self, socket: GuardedSocket, room: str) -> None:
        """Remove a socket from a room that :meth:`enter_room` added it to."""
        _check_open(socket)
        if isinstance(room, str):  # applications pass on what clients send, of any type
            await socket.leave_room(room)

    def own_room(self, socket: GuardedSocket) -> str | None:
        """Return the room of a socket's subject; None without these rooms, and for a guest."""
        who = socket.identity
        return OWN_ROOM + who.subject if self._user_rooms and who is not None and not who.is_guest else None

    async def check_emit(self, socket: GuardedSocket, room: str, event: str) -> None:
        """Check that a client can emit an event to a room.

        Raises:
            AuthError: it cannot.
        """
        await self._demand(socket, "emit", room, event)

    async def check_presence(self, socket: GuardedSocket, room: str) -> None:
        """Check that a client can ask who is in a room.

        Raises:
            AuthError: it cannot, or it is not in the room.
        """
        await self._demand(socket, "presence", room)

    async def check_event(self, socket: GuardedSocket, event: str) -> None:
        """Count an event of a client, and check that it can send it.

        Raises:
            AuthError: it cannot.
        """
        self.count_event(socket)
        await self._demand(socket, "event", event)

    def count_event(self, socket: GuardedSocket) -> None:
        """Count an event of a client.

        Raises:
            LimitExceeded: its subject sends too many.
        """
        if self._usage is not None:
            self._usage.take(_identity(socket), "events", self._authorizer.clock.monotonic())

    async def _demand(self, socket: GuardedSocket, kind: RuleKind, name: str, event: str = "") -> None:
        decision = await self.decide(socket, kind, name, event)
        if not decision:
            raise self.denied(socket, kind, name, decision.error)

    async def decide(self, socket: GuardedSocket, kind: RuleKind, name: str, event: str = "") -> Decision:
        """Decide about a request of a socket, with the rights that it has when this returns.

        Raises:
            PermissionDenied: the socket is not admitted any more.
        """
        while True:
            who = _identity(socket)
            if kind in ("room", "emit", "presence") and (problem := _problem_of_room(name)) is not None:
                return Decision(kind, name, who, None, PermissionDenied(problem))
            decision = await self._authorizer.decide(who, kind, name, socket.namespace, event=event)
            must_be_in = kind == "presence" or (kind == "emit" and decision.rule is None)
            if must_be_in and decision and not socket.host.is_in(name):
                decision = Decision(kind, name, who, None, PermissionDenied("the client is not in the room"))
            _check_open(socket)  # it may have ended while a rule waited
            if socket.identity is who:
                return decision
            # It was renewed or changed while a rule waited: the answer was about other rights.

    def denied(self, socket: GuardedSocket, kind: str, name: object, error: AuthError | None = None) -> AuthError:
        """Log a denial, and return the error to raise."""
        shown = without_secrets((name if isinstance(name, str) else repr(name))[: 2 * MAX_VALUE])
        if error is None:
            error = PermissionDenied(f"{kind} not allowed")
        audit.about("denied", socket, level=logging.WARNING, kind=kind, name=shown, reason=error.reason)
        return error

    # Changes of a connected socket

    async def begin(self, socket: GuardedSocket, who: Identity) -> None:
        """Start the deadlines of a socket that is admitted, or no longer a guest, and add it to its subject's room."""
        self._context.expiry.watch(who, socket.deadline_passed)
        if who.is_guest:  # it stays one of those that an address can have only so many of
            return
        self._context.index.mark_admitted(socket.connection)
        if self._user_rooms:
            await socket.host.enter(OWN_ROOM + who.subject)

    async def renew(self, socket: GuardedSocket, new: Identity) -> bool:
        """Give a socket a newer identity of the same subject, and remove it from rooms that this does not allow.

        Returns:
            False if something else happened meanwhile to the socket, the token or the subject's rights. Nothing was
            changed then.
        """
        old, latest = socket.identity, self._authorizer.changed.latest(new.subject)
        asked = socket.all_rooms
        namespace = socket.namespace
        kept = {room for room in asked if await self._authorizer.decide(new, "room", room, namespace, again=True)}
        if socket.state not in _OPEN or socket.identity is not old:
            return False
        if self._authorizer.changed.latest(new.subject) is not latest or self._authorizer.revocations.is_revoked(new):
            return False
        await socket.renew(new, kept)  # a room that was not asked about counts as lost
        return True

    async def update(self, change: Revocation, keep: Callable[[Revocation], Awaitable[object]] | None) -> int:
        """Change what a subject can do, on its connected sockets and for the tokens it has.

        Args:
            change: the change.
            keep: writes the change to the store; None if there is none.

        Returns:
            The number of connected sockets that changed.

        Raises:
            Unavailable: the store did not save it.
        """
        changed = self._change(change)
        try:
            if keep is not None:
                await keep(change)
        finally:
            if changed:  # they go on, even if the caller stops waiting
                await self._context.background.wait(changed)
        return len(changed)

    def follow(self, change: Revocation) -> None:
        """Apply a change from the store.

        If there are several, the one with the latest version counts in every process; without versions, the last one.
        """
        self._change(change)

    def _change(self, change: Revocation) -> list[Task]:
        """Apply a change, and return the tasks that change the connected sockets."""
        subject, known = change.name, self._authorizer.changed
        before = known.latest(subject)
        if lost := known.follow(change, self._authorizer.horizon()):
            LOG.error("dropped %d changed rights before they expired: more than %d are in memory", lost, MAX_CHANGES)
        if known.latest(subject) == before:
            return []
        spawn = self._context.background.spawn
        sockets = self._context.index.named("subject", subject)
        return [spawn(self._apply_change(socket)) for socket in sockets if socket.live]

    async def _apply_change(self, socket: GuardedSocket) -> None:
        """Apply changed rights to a socket; repeat it while a decision about older rights comes first."""
        while socket.identity is not None and socket.live:
            old = socket.identity
            new = self._authorizer.with_rights_of_now(old)
            decision = await self._authorizer.decide(new, "namespace", socket.namespace, socket.namespace)
            if socket.identity is not old:
                continue
            if decision.error is not None:
                socket.end(AdmissionEvent.FORBID, decision.error)
                return
            if await self.renew(socket, new):
                audit.about("updated", socket)
                return


def _problem_of_room(name: object) -> str | None:
    """Return why no rule is asked about a room, or None. Applications pass on what clients send, of any type."""
    if not isinstance(name, str):
        return "the name of the room is not a string"
    return "the room is the ID of another socket" if looks_like_sid(name) else None


def _identity(socket: GuardedSocket) -> Identity:
    """Return the identity of a socket.

    Raises:
        PermissionDenied: the socket is not admitted any more.
    """
    _check_open(socket)
    assert socket.identity is not None  # it is known from CONNECTING on
    return socket.identity


def _check_open(socket: GuardedSocket) -> None:
    if socket.state not in _OPEN:
        raise PermissionDenied("this socket is not admitted")
