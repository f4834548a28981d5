"""Ready-made rules for :class:`roomkey.Policy`."""

from __future__ import annotations

from roomkey.core.identity import Identity

__all__ = ["emit_claim", "own_rooms", "rooms_claim"]


def rooms_claim(who: Identity, room: str) -> bool:
    """Allow the rooms that the token's ``rooms`` claim grants to join, and every room to the role ``admin``.

    Use it for every room: ``policy.room("*")(rooms_claim)``.
    """
    return who.has_role("admin") or who.grants(room)


def emit_claim(who: Identity, room: str, event: str) -> bool:
    """Allow to emit what the token's ``rooms`` claim grants, and everything to the role ``admin``.

    Use it for every room: ``policy.emit("*")(emit_claim)``.
    """
    return who.has_role("admin") or who.grants(room, event)


def own_rooms(who: Identity, sub: str) -> bool:
    """Allow a person's own room: ``policy.room("user:{sub}")(own_rooms)``."""
    return who.subject == sub
