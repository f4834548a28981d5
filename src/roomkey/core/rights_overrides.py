"""Rights that changed after tokens were issued: they override those in older tokens."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from roomkey.core.grants import granted_actions, narrowed
from roomkey.core.identity import Identity, RoomsClaim, copy_rooms
from roomkey.core.names import DELEGATED
from roomkey.core.revocations import LONGEST_LIFETIME, MARGIN, Revocation, Version

MAX_CHANGES = 1_000_000
"""The most subjects with changed rights; beyond that, the oldest change is dropped."""


@dataclass(frozen=True, slots=True)
class Change:
    """The rights that a subject's older tokens have instead of their own; None keeps those of the token.

    Attributes:
        roles: the roles of tokens issued up to ``roles_at``.
        roles_at: when the roles changed, in seconds since the epoch.
        rooms: the rooms of tokens issued up to ``rooms_at``.
        rooms_at: when the rooms changed, in seconds since the epoch.
        roles_version: of the change of the roles; None if the order in the store counts.
        rooms_version: likewise for the rooms.
    """

    roles: tuple[str, ...] | None = None
    roles_at: float = 0.0
    rooms: RoomsClaim | None = None
    rooms_at: float = 0.0
    roles_version: Version | None = field(default=None, compare=False)
    rooms_version: Version | None = field(default=None, compare=False)


_NONE = Change()


class RightsOverrides:
    """The latest change of each subject's rights, in memory.

    Args:
        lifetime: the longest lifetime of a token in seconds. After that time no token is older than a change, and the
            change is dropped.

    Attributes:
        changes: the latest change by subject, oldest first; empty if nobody's rights changed.
    """

    def __init__(self, lifetime: float = LONGEST_LIFETIME) -> None:
        self._kept = lifetime + MARGIN
        self.changes: OrderedDict[str, Change] = OrderedDict()

    def __len__(self) -> int:
        return len(self.changes)

    def follow(self, change: Revocation, horizon: float) -> int:
        """Apply an entry of the journal, as :meth:`change` does.

        A change with a version does not replace one with a later version, however late it arrives.
        """
        rights, version = change.rights or {}, change.version
        known = self.changes.get(change.name, _NONE)
        roles = None if _is_older(version, known.roles_version) else rights.get("roles")
        rooms = None if _is_older(version, known.rooms_version) else rights.get("rooms")
        if roles is None and rooms is None:
            return 0
        return self.change(change.name, change.issued_before, roles, rooms, horizon=horizon, version=version)

    def covers(self, change: Revocation) -> bool:
        """Return True if an entry of the journal would change nothing, because of its version."""
        known = self.changes.get(change.name, _NONE)
        versions = {"roles": known.roles_version, "rooms": known.rooms_version}
        return change.version is not None and all(
            (version := versions.get(name)) is not None and version >= change.version for name in change.rights or {}
        )

    def entries(self) -> Iterator[Revocation]:
        """Return all changes as entries of a journal. Changes that are made meanwhile may be missing."""
        lifetime = self._kept - MARGIN
        for subject, change in list(self.changes.items()):
            given: tuple[tuple[str, Any, float, Version | None], ...] = (
                ("roles", change.roles, change.roles_at, change.roles_version),
                ("rooms", change.rooms, change.rooms_at, change.rooms_version),
            )
            for name, value, at, version in given:
                if value is not None:
                    kept = {name: list(value) if name == "roles" else value}
                    ordered = Version.of_time(at) if version is None else version
                    yield Revocation("rights", subject, None, at, at + lifetime, kept, ordered)

    def change(
        self,
        subject: str,
        now: float,
        roles: Iterable[str] | None = None,
        rooms: RoomsClaim | None = None,
        *,
        horizon: float | None = None,
        version: Version | None = None,
    ) -> int:
        """Override the roles or rooms of the tokens issued to a subject up to now.

        Args:
            subject: the subject of the tokens.
            now: seconds since the epoch.
            roles: the roles; None keeps those of each token.
            rooms: the rooms; None keeps those of each token.
            horizon: time up to which expired changes may be dropped. Default: ``now``.
            version: of the change.

        Returns:
            The number of changes that were dropped too early, because there are more than :data:`MAX_CHANGES`.
        """
        before = self.changes.pop(subject, _NONE)
        self.changes[subject] = Change(
            *((before.roles, before.roles_at) if roles is None else (tuple(roles), now)),
            *((before.rooms, before.rooms_at) if rooms is None else (copy_rooms(rooms), now)),
            before.roles_version if roles is None else version,
            before.rooms_version if rooms is None else version,
        )
        over = (now if horizon is None else horizon) - self._kept
        while len(self.changes) > 1 and max(self._oldest.roles_at, self._oldest.rooms_at) <= over:
            self.changes.popitem(last=False)
        lost = max(0, len(self.changes) - MAX_CHANGES)
        for _ in range(lost):
            self.changes.popitem(last=False)
        return lost

    @property
    def _oldest(self) -> Change:
        return next(iter(self.changes.values()))

    def latest(self, subject: str) -> Change | None:
        """Return the latest change of a subject. A decision that has waited compares it with the one from before."""
        return self.changes.get(subject)

    def apply(self, who: Identity, now: float) -> Identity:
        """Return the identity with its current rights. A token without ``iat`` counts as older than all changes.

        Args:
            who: the identity that a token states.
            now: seconds since the epoch; a token counts as issued by then, whatever its ``iat`` is.
        """
        change = self.changes.get(who.subject) if self.changes else None
        if change is None or who.is_guest:
            return who
        # Whole seconds: a token issued in the same second as the change counts as older.
        issued_at = min(int(who.issued_at or 0), int(now))
        roles = change.roles if issued_at <= int(change.roles_at) else None
        rooms = change.rooms if issued_at <= int(change.rooms_at) else None
        if roles is None and rooms is None:
            return who
        return who.with_rights(*(_narrowed(who, roles, rooms) if who.claim(DELEGATED) is True else (roles, rooms)))


def _is_older(version: Version | None, known: Version | None) -> bool:
    return version is not None and known is not None and version < known


def _narrowed(
    who: Identity, roles: Iterable[str] | None, rooms: RoomsClaim | None
) -> tuple[Iterable[str] | None, RoomsClaim | None]:
    """Remove the rights that a user lost from an OAuth client's token; rights that the user gained are not added."""
    return (
        None if roles is None else sorted(who.roles.intersection(roles)),
        None if rooms is None else narrowed(who.room_actions, granted_actions(copy_rooms(rooms))),
    )
