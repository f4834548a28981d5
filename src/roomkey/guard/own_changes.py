"""Changes of rights by this server that it has not read from the store yet."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

from roomkey.core.revocations import Revocation


@dataclass(eq=False, slots=True)
class Own:
    """A change of this server. While its write is under way, ``has_ended`` is False."""

    change: Revocation
    has_ended: bool = False


class OwnChanges:
    """Keeps a server's own changes in force until it has read the store past them.

    In a store without versions, the last change applies. A server applies its own change immediately, and then reads
    earlier ones of other servers, which must not replace it. They are held until a read that began after the write has
    reached the end of the store: then the last of them applies. Entries are not compared with the change, because a
    store can lose it, or return it in another form.

    Args:
        must_repeat: returns True if the write of a change has failed and is not repeated yet.
    """

    def __init__(self, must_repeat: Callable[[Revocation], bool]) -> None:
        self._must_repeat = must_repeat
        self._unread: dict[str, list[Own]] = {}  # by subject
        # By subject and claim: the last entry without a version, and those with one that follow it.
        self._held: dict[tuple[str, str], list[Revocation]] = {}

    async def write(self, change: Revocation, write: Callable[[Revocation], Awaitable[object]]) -> None:
        """Write a change, which the server has just applied."""
        own = Own(change)
        self._unread.setdefault(change.name, []).append(own)
        try:
            await write(change)
        finally:
            own.has_ended = True

    def written(self) -> Sequence[Own]:
        """Return the changes that a read which begins now finds, unless the store has lost them."""
        unread = (own for changes in self._unread.values() for own in changes)
        return [own for own in unread if own.has_ended and not self._must_repeat(own.change)]

    def applicable(self, entry: Revocation) -> Revocation | None:
        """Return what applies now of an entry that was read; None for nothing. The rest is held."""
        if entry.name not in self._unread:
            return entry
        rest = {}
        for claim, value in (entry.rights or {}).items():
            key = (entry.name, claim)
            if not self._overrides(key):
                rest[claim] = value
            elif entry.version is None:
                self._held[key] = [replace(entry, rights={claim: value})]
            elif key in self._held:
                self._held[key].append(replace(entry, rights={claim: value}))
        if entry.version is not None:  # its version decides whether it replaces a change
            return entry
        return replace(entry, rights=rest) if rest else None

    def read_past(self, changes: Sequence[Own]) -> list[Revocation]:
        """Note that the store was read to its end after some changes; return the held entries that apply now."""
        applicable: list[Revocation] = []
        for own in changes:
            subject, rights = own.change.name, own.change.rights or {}
            self._unread[subject].remove(own)
            if not self._unread[subject]:
                del self._unread[subject]
            for key in [(subject, claim) for claim in rights]:
                if not self._overrides(key):
                    applicable += self._held.pop(key, [])
        return applicable

    def _overrides(self, key: tuple[str, str]) -> bool:
        """Return True if an unread change sets a claim of a subject."""
        subject, claim = key
        return any(claim in (own.change.rights or {}) for own in self._unread.get(subject, ()))
