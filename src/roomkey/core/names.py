"""Lists of names, as claims and parameters have them."""

from __future__ import annotations

import re

MAX_NAMES = 1000
_SID = re.compile(r"[A-Za-z0-9_-]{20}")  # 15 random bytes in base64url, on either host


def string_list(value: object) -> tuple[str, ...]:
    """A list of names out of a claim, or nothing at all.

    A claim of another type (a string where a list belongs, a dict, a list with a number in it, more than 1000
    entries) grants nothing: ``"red" in "redteam"`` must never open a room.
    """
    if not isinstance(value, list) or len(value) > MAX_NAMES:
        return ()
    for name in value:
        if not isinstance(name, str) or not name:
            return ()
    return tuple(value)


def scope_names(scope: str) -> tuple[str, ...]:
    """The names in a ``scope``: between spaces, and no other white space (RFC 6749 section 3.3)."""
    return tuple(name for name in scope.split(" ") if name)


OPERATOR = "roomkey:admin"
"""The scope, and the role of an account, that opens the admin API."""


def is_reserved(name: str) -> bool:
    """Return True for scopes and roles that are about the server itself: no application gets one for a person."""
    return name.startswith("roomkey:")


DELEGATED = "delegated"
"""The claim of tokens that people give to applications: changed rights narrow what those carry, and never widen it."""


def looks_like_sid(room: str) -> bool:
    """True for a name that could be a socket's id: on another node, such a room receives that person's messages."""
    return _SID.fullmatch(room) is not None
