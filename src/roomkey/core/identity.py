"""Who a connection belongs to, as a verified token says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

MAX_NAMES = 1000
_NOTHING: frozenset[str] = frozenset()


def names(value: object) -> tuple[str, ...]:
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


@dataclass(frozen=True)
class Identity:
    """What is known of the holder of a verified token. It is a value: it never changes and can be compared.

    Attributes:
        subject: ``sub``.
        roles: ``roles`` (a list of strings) and ``role`` (one string), exactly as written.
        scopes: ``scope``, split at spaces (RFC 8693 section 4.2).
        rooms: ``rooms``, a list of room names.
        claims: all claims, read-only. ``roles`` and ``rooms`` of a wrong type are left out, so that no rule can
            take them for a list.
        expires_at: ``exp`` in seconds since the epoch, or None.
        issued_at: ``iat`` in seconds since the epoch, or None.
        token_id: ``jti``, or None.
        session_id: ``sid``: one login and all tokens that were refreshed from it, or None.
        issuer: ``iss``, or None.
        source: where the token was presented: ``auth``, ``header``, ``cookie``, ``query``, ``event`` or "".
    """

    subject: str
    roles: frozenset[str] = frozenset()
    scopes: frozenset[str] = frozenset()
    rooms: tuple[str, ...] = ()
    claims: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}), repr=False, hash=False)
    expires_at: float | None = None
    issued_at: float | None = None
    token_id: str | None = None
    session_id: str | None = None
    issuer: str | None = None
    source: str = ""

    @classmethod
    def from_claims(cls, claims: dict[str, Any], source: str = "") -> Identity:
        """Make an identity of claims that were already checked.

        Args:
            claims: a verified token's payload; taken over, not copied.
            source: where the token was presented.
        """
        get = claims.get
        roles: tuple[str, ...] = ()
        rooms: tuple[str, ...] = ()
        if "roles" in claims and not (roles := names(claims["roles"])):
            del claims["roles"]
        if "rooms" in claims and not (rooms := names(claims["rooms"])):
            del claims["rooms"]
        role, scope = get("role"), get("scope")
        fields = {
            "subject": get("sub", ""),
            "roles": frozenset((*roles, role)) if isinstance(role, str) and role else frozenset(roles),
            "scopes": frozenset(scope.split(" ")) - {""} if isinstance(scope, str) else _NOTHING,
            "rooms": rooms,
            "claims": MappingProxyType(claims),
            "expires_at": get("exp"),
            "issued_at": get("iat"),
            "token_id": get("jti"),
            "session_id": get("sid"),
            "issuer": get("iss"),
            "source": source,
        }
        who = cls.__new__(cls)
        # All fields at once: a frozen dataclass's own __init__ sets them one by one, at three times the cost.
        object.__setattr__(who, "__dict__", fields)
        return who

    def has_role(self, role: str) -> bool:
        """True if the token names exactly this role; no folding of case, spaces or look-alikes."""
        return role in self.roles

    def has_scope(self, scope: str) -> bool:
        """True if the token names exactly this scope."""
        return scope in self.scopes

    def claim(self, name: str, default: Any = None) -> Any:
        """The claim's value, or ``default`` where it is absent (or ``roles``/``rooms`` of a wrong type)."""
        return self.claims.get(name, default)
