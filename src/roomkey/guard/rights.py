"""What live sockets may do: asked at every join and emit, and again when a token or a right changes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable

from roomkey.core.admission import Admission, Input, State
from roomkey.core.identity import Identity
from roomkey.core.policy import OWN_ROOM
from roomkey.core.subject_limits import SubjectUse
from roomkey.errors import AuthError, PermissionDenied
from roomkey.guard import audit
from roomkey.guard.judge import Decision, Judge, Kind
from roomkey.guard.teardown import Teardown


class Rights:
    """The policy, on live sockets.

    Args:
        judge: decides.
        teardown: ends whoever may not stay.
        use: what each subject has and does, where that is limited.
        user_rooms: put every socket into its subject's own room, ``user:{sub}``.
    """

    def __init__(self, judge: Judge, teardown: Teardown, use: SubjectUse | None, *, user_rooms: bool) -> None:
        self._judge = judge
        self._teardown = teardown
        self._use = use
        self._user_rooms = user_rooms

    async def enter_room(self, admission: Admission, room: str) -> None:
        """Put a socket into a room, if the policy lets it in.

        Raises:
            AuthError: it does not, or the socket is not (or no longer) admitted.
        """
        who = _identity(admission)
        if self._use is not None:
            self._use.take(who, "joins", self._judge.clock.monotonic())
        if self._teardown.port.is_reserved_room(room):
            raise self.denied(admission, "room", room)
        decision = await self._judge.decide(who, "room", room, admission.namespace)
        # Renewed while a rule waited: the answer was about another token.
        if not decision or admission.identity is not who:
            raise self.denied(admission, "room", room, decision.error)
        _check_open(admission)  # it may have ended while a rule waited
        admission.rooms |= {room}
        await self._teardown.port.enter_room(admission, room)

    async def leave_room(self, admission: Admission, room: str) -> None:
        """Take a socket out of a room that :meth:`enter_room` put it into."""
        _check_open(admission)
        if room in admission.rooms:
            admission.rooms -= {room}
            await self._teardown.port.leave_room(admission, room)

    async def check_emit(self, admission: Admission, room: str, event: str) -> None:
        """Whether a client may emit an event to a room.

        Raises:
            AuthError: it may not.
        """
        who = _identity(admission)
        if self._teardown.port.is_reserved_room(room):
            raise self.denied(admission, "emit", room)
        decision = await self._judge.decide(who, "emit", room, admission.namespace, event=event)
        by_default = decision.rule is None and not self._teardown.port.is_in_room(admission, room)
        if not decision or by_default or admission.identity is not who:
            raise self.denied(admission, "emit", room, decision.error)
        _check_open(admission)

    async def check_event(self, admission: Admission, event: str) -> None:
        """Whether a client may send an event.

        Raises:
            AuthError: it may not.
        """
        who = _identity(admission)
        if self._use is not None:
            self._use.take(who, "events", self._judge.clock.monotonic())
        decision = await self._judge.decide(who, "event", event, admission.namespace)
        if not decision or admission.identity is not who:
            raise self.denied(admission, "event", event, decision.error)

    async def explain(self, admission: Admission, kind: Kind, name: str, event: str) -> Decision:
        """What would be decided now."""
        decision = await self._judge.decide(_identity(admission), kind, name, admission.namespace, event=event)
        needs_room = kind == "emit" and decision and decision.rule is None
        if needs_room and not self._teardown.port.is_in_room(admission, name):
            return Decision(kind, name, decision.who, None, PermissionDenied("it is not in the room"))
        return decision

    def denied(self, admission: Admission, kind: str, name: object, error: AuthError | None = None) -> AuthError:
        """Write down that something was denied; returns the error to raise."""
        shown = audit.without_secrets((name if isinstance(name, str) else repr(name))[: 2 * audit.MAX_VALUE])
        reason = error.reason if error is not None else None
        audit.about("denied", admission, level=logging.WARNING, kind=kind, name=shown, reason=reason)
        return error if error is not None else PermissionDenied(f"{kind} not allowed")

    # Changes on a live socket

    async def begin(self, admission: Admission, who: Identity) -> None:
        """A socket is admitted, or has become somebody: its deadlines run, and it enters its subject's own room."""
        self._teardown.lifetimes.watch(admission)
        if self._user_rooms and not who.is_guest:
            await self._teardown.port.enter_room(admission, OWN_ROOM + who.subject)

    async def renew(self, admission: Admission, new: Identity) -> bool:
        """Give a live socket another identity of the same subject, and take from it what that does not allow.

        Returns:
            False if something else happened to it meanwhile.
        """
        old = admission.identity
        asked = admission.rooms
        namespace = admission.namespace
        kept = {room for room in asked if await self._judge.decide(new, "room", room, namespace, again=True)}
        if not admission.admitted or admission.identity is not old:
            return False
        admission.identity = new
        self._teardown.lifetimes.watch(admission)
        await self._leave(admission, admission.rooms - kept)  # what was not asked about counts as lost
        return True

    async def _leave(self, admission: Admission, rooms: frozenset[str]) -> None:
        admission.rooms -= rooms
        for room in rooms:
            await self._teardown.port.leave_room(admission, room)
        if rooms:
            await self._teardown.port.send_event(admission, "permissions_changed", {"left": sorted(rooms)})

    async def update(self, subject: str, roles: Iterable[str] | None, rooms: Iterable[str] | None) -> int:
        """Change what a subject may do, on its live sockets and for the tokens it has."""
        self._judge.changed.change(
            subject,
            self._judge.clock.now(),
            tuple(roles) if roles is not None else None,
            tuple(rooms) if rooms is not None else None,
        )
        live = [one for one in self._teardown.registry if one.identity is not None and one.identity.subject == subject]
        changed = [self._teardown.spawn(self._apply_change(admission)) for admission in live if admission.live]
        await asyncio.shield(asyncio.gather(*changed))
        return len(changed)

    async def _apply_change(self, admission: Admission) -> None:
        """A decision that was under way about the older rights is lost; so it is made again until it counts."""
        while admission.identity is not None and admission.live:
            old = admission.identity
            new = self._judge.with_rights_of_now(old)
            decision = await self._judge.decide(new, "namespace", admission.namespace, admission.namespace)
            if decision.error is not None:
                why = Input.FORBID if admission.admitted else Input.REVOKE
                await self._teardown.end(admission, why, decision.error)
                return
            if admission.identity is old and admission.state is State.CONNECTING:  # its connect handler runs
                admission.identity = new
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
    if admission.state not in (State.CONNECTING, State.ADMITTED):
        raise PermissionDenied("this socket is not admitted")
