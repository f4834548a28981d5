"""Rights that were changed after tokens were made: what an application says counts more than an older token."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass

from roomkey.core.grants import granted_actions, narrowed
from roomkey.core.identity import Identity, RoomsClaim, copy_rooms
from roomkey.core.names import DELEGATED
from roomkey.core.revocations import LONGEST_LIFETIME, MARGIN, Revocation

MAX_CHANGES = 1_000_000
"""Subjects with changed rights; beyond that, the change that is the longest ago is forgotten."""


@dataclass(frozen=True, slots=True)
class Change:
    """What a subject's older tokens are to say instead; None leaves it.

    Attributes:
        roles_at, rooms_at: when each was changed; a token that was issued in between has its own.
    """

    roles: tuple[str, ...] | None = None
    roles_at: float = 0.0
    rooms: RoomsClaim | None = None
    rooms_at: float = 0.0


_NONE = Change()


class RightsOverrides:
    """The latest change for each subject, in memory.

    Args:
        lifetime: the longest lifetime of a token in seconds. After it, no token is older than a change, and the change
            is forgotten.
    """

    def __init__(self, lifetime: float = LONGEST_LIFETIME) -> None:
        self._kept = lifetime + MARGIN
        self._changes: OrderedDict[str, Change] = OrderedDict()  # the latest change stands last

    def __len__(self) -> int:
        return len(self._changes)

    def follow(self, change: Revocation, horizon: float) -> int:
        """As :meth:`change`, for an entry of the journal."""
        rights = change.rights or {}
        return self.change(change.name, change.issued_before, rights.get("roles"), rights.get("rooms"), horizon=horizon)

    def change(
        self,
        subject: str,
        now: float,
        roles: Iterable[str] | None = None,
        rooms: RoomsClaim | None = None,
        *,
        horizon: float | None = None,
    ) -> int:
        """Read tokens of this subject that were issued up to now with other roles or rooms.

        Args:
            horizon: up to when what has expired may be forgotten; now if absent.

        Returns:
            The number of changes that had to be forgotten although tokens may still be older: there are too many.
        """
        before = self._changes.pop(subject, _NONE)
        self._changes[subject] = Change(
            *((before.roles, before.roles_at) if roles is None else (tuple(roles), now)),
            *((before.rooms, before.rooms_at) if rooms is None else (copy_rooms(rooms), now)),
        )
        over = (now if horizon is None else horizon) - self._kept
        while len(self._changes) > 1 and max(self._oldest.roles_at, self._oldest.rooms_at) <= over:
            self._changes.popitem(last=False)
        lost = max(0, len(self._changes) - MAX_CHANGES)
        for _ in range(lost):
            self._changes.popitem(last=False)
        return lost

    @property
    def _oldest(self) -> Change:
        return next(iter(self._changes.values()))

    def latest(self, subject: str) -> Change | None:
        """The latest change of a subject; a decision about it that waited for something compares which one that is."""
        return self._changes.get(subject)

    def apply(self, who: Identity, now: float) -> Identity:
        """The identity with the rights it has now. A token without ``iat`` counts as issued long ago.

        Args:
            now: seconds since the epoch: a token that was seen by then was issued by then, whatever it says.
        """
        change = self._changes.get(who.subject) if self._changes else None
        if change is None or who.is_guest:
            return who
        # Whole seconds, as everywhere: a token of the same second as the change is an older one.
        issued_at = min(int(who.issued_at or 0), int(now))
        roles = change.roles if issued_at <= int(change.roles_at) else None
        rooms = change.rooms if issued_at <= int(change.rooms_at) else None
        if roles is None and rooms is None:
            return who
        return who.with_rights(*(_narrowed(who, roles, rooms) if who.claim(DELEGATED) is True else (roles, rooms)))


def _narrowed(
    who: Identity, roles: Iterable[str] | None, rooms: RoomsClaim | None
) -> tuple[Iterable[str] | None, RoomsClaim | None]:
    """Take from an application's token what its person lost; what the person gained is not the application's."""
    return (
        None if roles is None else sorted(who.roles.intersection(roles)),
        None if rooms is None else narrowed(who.room_actions, granted_actions(copy_rooms(rooms))),
    )
