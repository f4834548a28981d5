"""Ready-made rules for :class:`roomkey.Policy`."""

from __future__ import annotations

from roomkey.core.identity import Identity


def rooms_claim(who: Identity, room: str) -> bool:
    """Allow the rooms that the token names in its ``rooms`` claim, and every room to the role ``admin``.

    Use it for every room: ``policy.room("*")(rooms_claim)``.
    """
    return who.has_role("admin") or room in who.rooms


def own_rooms(who: Identity, sub: str) -> bool:
    """Allow a person's own room: ``policy.room("user:{sub}")(own_rooms)``."""
    return who.subject == sub
