"""Rights that were changed after tokens were made: what an application says counts more than an older token."""

from __future__ import annotations

from dataclasses import dataclass

from roomkey.core.identity import Identity


@dataclass(frozen=True, slots=True)
class Change:
    """What a subject's older tokens are to say instead; None leaves it."""

    changed_at: float
    roles: tuple[str, ...] | None = None
    rooms: tuple[str, ...] | None = None


class ChangedRights:
    """The latest change for each subject, in memory.

    Attributes:
        epoch: rises with every change; a decision that waited for something compares it.
    """

    def __init__(self) -> None:
        self.epoch = 0
        self._changes: dict[str, Change] = {}

    def change(
        self, subject: str, now: float, roles: tuple[str, ...] | None = None, rooms: tuple[str, ...] | None = None
    ) -> None:
        """Tokens of this subject that were issued up to now are read with other roles or rooms."""
        self.epoch += 1
        before = self._changes.get(subject, Change(now))
        self._changes[subject] = Change(
            now, before.roles if roles is None else roles, before.rooms if rooms is None else rooms
        )

    def apply(self, who: Identity) -> Identity:
        """The identity with the rights it has now. A token without ``iat`` counts as issued long ago."""
        change = self._changes.get(who.subject) if self._changes else None
        # Whole seconds, as everywhere: a token of the same second as the change is an older one.
        if change is None or int(who.issued_at or 0) > int(change.changed_at):
            return who
        return who.with_rights(change.roles, change.rooms)
