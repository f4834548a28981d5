"""Names with a meaning of their own: scopes, roles, claims and rooms."""

from __future__ import annotations

import re

_SID = re.compile(r"[A-Za-z0-9_-]{20}")  # both kinds of host use 15 random bytes in base64url


def scope_names(scope: str) -> tuple[str, ...]:
    """Return the names in a ``scope``, which only spaces separate (RFC 6749 section 3.3)."""
    return tuple(name for name in scope.split(" ") if name)


OPERATOR = "roomkey:admin"
"""The scope, and the role of an account, that the admin API requires."""


def is_reserved(name: str) -> bool:
    """Return True for scopes and roles that are about the server itself. No application can request them for a user."""
    return name.startswith("roomkey:")


DELEGATED = "delegated"
"""The claim of tokens that an OAuth client has for a user. Changed rights can narrow these tokens, never widen them."""


def looks_like_sid(room: str) -> bool:
    """Return True if the name looks like a socket ID: on another node, such a room receives that socket's messages."""
    return _SID.fullmatch(room) is not None
