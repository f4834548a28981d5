"""What live sockets may do: asked at every join and emit, and again when a token or a right changes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Literal, get_args

from roomkey.audit import MAX_VALUE, without_secrets
from roomkey.core.admission import Admission, Input, State
from roomkey.core.identity import Identity
from roomkey.core.policy import OWN_ROOM
from roomkey.core.revocations import Revocation
from roomkey.core.rights_overrides import MAX_CHANGES
from roomkey.core.subject_limits import SubjectUsage
from roomkey.errors import AuthError, ConfigError, LimitExceeded, PermissionDenied
from roomkey.guard import audit, contract
from roomkey.guard.authorizer import Authorizer, Decision, Kind
from roomkey.guard.teardown import Teardown

_OPEN = (State.CONNECTING, State.ADMITTED)  # it is known who it is, and it may enter rooms


OwnJoins = Literal["policy", "allow"]
"""What an application's own ``enter_room`` needs: the policy's consent where it has rules about rooms, or nothing."""

LOG = logging.getLogger("roomkey.guard")
MAX_ROOMS = 1000
"""Rooms that one socket may be in by the policy."""


class SocketAuthorizer:
    """The policy, on live sockets.

    Args:
        judge: decides.
        teardown: ends whoever may not stay.
        use: what each subject has and does, where that is limited.
        user_rooms: put every socket into its subject's own room, ``user:{sub}``.
    """

    def __init__(self, judge: Authorizer, teardown: Teardown, use: SubjectUsage | None, *, user_rooms: bool) -> None:
        self._judge = judge
        self._teardown = teardown
        self._use = use
        self._user_rooms = user_rooms
        self._unread: dict[str, list[Revocation]] = {}  # changes of ours that were not read from the store yet
        self._own_joins: OwnJoins = "policy"

    def set_own_joins(self, own_joins: OwnJoins) -> None:
        """Choose what the application's own ``enter_room`` needs.

        Raises:
            ConfigError: a value other than ``"policy"`` and ``"allow"``.
        """
        if own_joins not in get_args(OwnJoins):
            raise ConfigError(f"own_joins must be 'policy' or 'allow', not {own_joins!r}")
        self._own_joins = own_joins

    def _asks_about(self, admission: Admission) -> bool:
        """True if the policy decides about the application's own joins, too."""
        return self._own_joins == "policy" and self._judge.policy.has_room_rules(admission.namespace)

    async def check_own_join(self, admission: Admission, room: object) -> None:
        """Decide about a room that the application itself is about to put a socket into.

        Raises:
            AuthError: the policy has rules about rooms, and none allows this one; or the room is the guard's, and
                somebody else's.
        """
        if room == self._own_room(admission):
            return
        if self._asks_about(admission):
            if not isinstance(room, str):
                raise self.denied(admission, "room", room)
            await self._demand(admission, "room", room)
            admission.own_rooms |= {room}
        elif self._is_foreign(room):
            raise self.denied(admission, "room", room)

    def may_be_in(self, admission: Admission, room: object) -> bool:
        """Return True if nothing speaks against a socket being put into a room, once that was decided."""
        if room == self._own_room(admission) or room in admission.all_rooms:
            return True
        return not self._asks_about(admission) and not self._is_foreign(room)

    def _is_foreign(self, room: object) -> bool:
        """True for a room that is one subject's, or one socket's."""
        if not isinstance(room, str):
            return False
        return (self._user_rooms and room.startswith(OWN_ROOM)) or room in self._teardown.registry.admissions

    async def enter_room(self, admission: Admission, room: str) -> None:
        """Put a socket into a room, if the policy lets it in.

        Raises:
            AuthError: it does not, or the socket is not (or no longer) admitted.
        """
        if self._use is not None:
            self._use.take(_identity(admission), "joins", self._judge.clock.monotonic())
        await self._demand(admission, "room", room)
        if room == self._own_room(admission):  # it is there, and stays there whatever rule is taken back
            return
        if len(admission.rooms) >= MAX_ROOMS:
            raise self.denied(admission, "room", room, LimitExceeded("rooms", f"{MAX_ROOMS} rooms on one socket"))
        admission.rooms |= {room}
        await self._teardown.port.enter_room(admission, room)

    async def leave_room(self, admission: Admission, room: str) -> None:
        """Take a socket out of a room that :meth:`enter_room` put it into."""
        _check_open(admission)
        if room in admission.rooms:
            admission.rooms -= {room}
            if room not in admission.own_rooms:  # else the application wants it there
                await self._teardown.port.leave_room(admission, room)

    def _own_room(self, admission: Admission) -> str | None:
        who = admission.identity
        return OWN_ROOM + who.subject if self._user_rooms and who is not None and not who.is_guest else None

    async def check_emit(self, admission: Admission, room: str, event: str) -> None:
        """Whether a client may emit an event to a room.

        Raises:
            AuthError: it may not.
        """
        await self._demand(admission, "emit", room, event)

    async def check_event(self, admission: Admission, event: str) -> None:
        """Whether a client may send an event.

        Raises:
            AuthError: it may not.
        """
        self.count_event(admission)
        await self._demand(admission, "event", event)

    def count_event(self, admission: Admission) -> None:
        """A client sends an event.

        Raises:
            LimitExceeded: its subject sends too many.
        """
        if self._use is not None:
            self._use.take(_identity(admission), "events", self._judge.clock.monotonic())

    async def _demand(self, admission: Admission, kind: Kind, name: str, event: str = "") -> None:
        decision = await self.decide(admission, kind, name, event)
        if not decision:
            raise self.denied(admission, kind, name, decision.error)

    async def decide(self, admission: Admission, kind: Kind, name: str, event: str = "") -> Decision:
        """What may be done by whom the socket belongs to, when this returns.

        Raises:
            PermissionDenied: it is not (or no longer) admitted.
        """
        port = self._teardown.port
        while True:
            who = _identity(admission)
            if kind in ("room", "emit") and port.is_reserved_room(name):
                return Decision(kind, name, who, None, PermissionDenied("a socket's id is no room for others"))
            decision = await self._judge.decide(who, kind, name, admission.namespace, event=event)
            if kind == "emit" and decision and decision.rule is None and not port.is_in_room(admission, name):
                decision = Decision(kind, name, who, None, PermissionDenied("it is not in the room"))
            _check_open(admission)  # it may have ended while a rule waited
            if admission.identity is who:
                return decision
            # Renewed or changed while a rule waited: the answer was about other rights.

    def denied(self, admission: Admission, kind: str, name: object, error: AuthError | None = None) -> AuthError:
        """Write down that something was denied; returns the error to raise."""
        shown = without_secrets((name if isinstance(name, str) else repr(name))[: 2 * MAX_VALUE])
        if error is None:
            error = PermissionDenied(f"{kind} not allowed")
        audit.about("denied", admission, level=logging.WARNING, kind=kind, name=shown, reason=error.reason)
        return error

    # Changes on a live socket

    async def begin(self, admission: Admission, who: Identity) -> None:
        """A socket is admitted, or has become somebody: its deadlines run, and it enters its subject's own room."""
        self._teardown.lifetimes.watch(admission)
        if self._user_rooms and not who.is_guest:
            await self._teardown.port.enter_room(admission, OWN_ROOM + who.subject)

    async def renew(self, admission: Admission, new: Identity) -> bool:
        """Give a live socket another identity of the same subject, and take from it what that does not allow.

        Returns:
            False, and nothing was changed: something else happened to it, to the token or to its subject's rights
            meanwhile.
        """
        old, latest = admission.identity, self._judge.changed.latest(new.subject)
        asked = admission.all_rooms
        namespace = admission.namespace
        kept = {room for room in asked if await self._judge.decide(new, "room", room, namespace, again=True)}
        if admission.state not in _OPEN or admission.identity is not old:
            return False
        if self._judge.changed.latest(new.subject) is not latest or self._judge.revocations.is_revoked(new):
            return False
        admission.identity = new
        if old is None or new.expires_at != old.expires_at:  # else its client would be warned a second time
            self._teardown.lifetimes.watch(admission)
        await self._leave(admission, admission.all_rooms - kept)  # what was not asked about counts as lost
        return True

    async def _leave(self, admission: Admission, rooms: frozenset[str]) -> None:
        admission.lose_rooms(rooms)
        for room in rooms:
            await self._teardown.port.leave_room(admission, room)
        if rooms and admission.answered:
            await self._teardown.port.send_event(admission, contract.PERMISSIONS_CHANGED, {"left": sorted(rooms)})

    async def update(self, change: Revocation, keep: Callable[[Revocation], Awaitable[object]] | None) -> int:
        """Change what a subject may do, on its live sockets and for the tokens it has.

        Args:
            keep: writes the change to the store; None if there is none.

        Returns:
            How many live sockets it changed.

        Raises:
            Unavailable: the store did not take it.
        """
        changed = self._change(change)
        try:
            if keep is not None:
                await self._keep(change, keep)
        finally:
            await asyncio.shield(asyncio.gather(*changed))
        return len(changed)

    async def _keep(self, change: Revocation, keep: Callable[[Revocation], Awaitable[object]]) -> None:
        self._unread.setdefault(change.name, []).append(change)
        try:
            await keep(change)
        except BaseException:
            self._read(change)
            raise

    def follow(self, change: Revocation) -> None:
        """Know a change that the store has; of several, the one that stands last in it counts, on every process."""
        self._read(change)
        if change.name not in self._unread:  # else one of ours stands behind it
            self._change(change)

    def _read(self, change: Revocation) -> None:
        unread = self._unread.get(change.name, [])
        if change in unread:
            unread.remove(change)
        if not unread:
            self._unread.pop(change.name, None)

    def _change(self, change: Revocation) -> list[asyncio.Task[None]]:
        """Know a change at once, and change the live sockets in the tasks that are returned."""
        subject, known = change.name, self._judge.changed
        before = known.latest(subject)
        if lost := known.follow(change, self._judge.horizon()):
            LOG.error("dropped %d changed rights before they expired: more than %d are in memory", lost, MAX_CHANGES)
        if known.latest(subject) == before:
            return []
        live = [one for one in self._teardown.registry if one.identity is not None and one.identity.subject == subject]
        return [self._teardown.spawn(self._apply_change(admission)) for admission in live if admission.live]

    async def _apply_change(self, admission: Admission) -> None:
        """A decision that was under way about the older rights is lost; so it is made again until it counts."""
        while admission.identity is not None and admission.live:
            old = admission.identity
            new = self._judge.with_rights_of_now(old)
            decision = await self._judge.decide(new, "namespace", admission.namespace, admission.namespace)
            if admission.identity is not old:
                continue
            if decision.error is not None:
                await self._teardown.end(admission, Input.FORBID, decision.error)
                return
            if await self.renew(admission, new):
                audit.about("updated", admission)
                return


def _identity(admission: Admission) -> Identity:
    """Who it is.

    Raises:
        PermissionDenied: it is not (or no longer) admitted.
    """
    _check_open(admission)
    assert admission.identity is not None  # it is known from CONNECTING on
    return admission.identity


def _check_open(admission: Admission) -> None:
    if admission.state not in _OPEN:
        raise PermissionDenied("this socket is not admitted")
