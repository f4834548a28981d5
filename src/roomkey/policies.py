"""Ready-made rules for :class:`roomkey.Policy`."""

from __future__ import annotations

from roomkey.core.identity import Identity

__all__ = ["emit_claim", "own_rooms", "rooms_claim"]


def rooms_claim(who: Identity, room: str) -> bool:
    """Allow joining the rooms that the token's ``rooms`` claim grants, and all rooms for the role ``admin``.

    Use it for all rooms: ``policy.room("*")(rooms_claim)``.
    """
    return who.has_role("admin") or who.grants(room)


def emit_claim(who: Identity, room: str, event: str) -> bool:
    """Allow the emits that the token's ``rooms`` claim grants, and all emits for the role ``admin``.

    Use it for all rooms: ``policy.emit("*")(emit_claim)``.
    """
    return who.has_role("admin") or who.grants(room, event)


def own_rooms(who: Identity, sub: str) -> bool:
    """Allow a user's own room: ``policy.room("user:{sub}")(own_rooms)``."""
    return who.subject == sub
