"""Who a connection belongs to, as a verified token says."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from roomkey.core.grants import NOTHING, Actions, granted_actions, grants, joinable
from roomkey.core.names import string_list

GUEST = "guest"

RoomsClaim = Iterable[str] | Mapping[str, Iterable[str]]
"""Rooms as the claim ``rooms`` has them: names and patterns, or for each what may be done there."""

_NOTHING: frozenset[str] = frozenset()


def copy_rooms(rooms: RoomsClaim) -> list[str] | dict[str, list[str]]:
    """The claim, made of lists; nobody changes it afterwards."""
    if isinstance(rooms, Mapping):
        return {pattern: list(actions) for pattern, actions in rooms.items()}
    return list(rooms)


@dataclass(frozen=True)
class Identity:
    """What is known of the holder of a verified token. It is a value: it never changes and can be compared.

    Attributes:
        subject: ``sub``, or the claim that the verifier takes it from.
        roles: ``roles`` (a list of strings) and ``role`` (one string), exactly as written.
        scopes: ``scope``, split at spaces (RFC 8693 section 4.2).
        rooms: the names and patterns of ``rooms`` that it grants to join; ask :meth:`grants` about one room.
        claims: all claims, read-only. ``roles`` and ``rooms`` of a wrong type are left out, so that no rule can
            take them for a list.
        expires_at: ``exp`` in seconds since the epoch, or None.
        issued_at: ``iat`` in seconds since the epoch, or None.
        token_id: ``jti``, or None.
        session_id: ``sid``: one login and all tokens that were refreshed from it, or None.
        issuer: ``iss``, or None.
        source: where the token was presented: ``auth``, ``header``, ``cookie``, ``query``, ``event``, ``guest`` or "".
        room_actions: ``rooms`` as what may be done where, by pattern.
        token_hash: what the audit log calls a token without ``jti``; None if it has one.
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
    room_actions: Actions = field(default_factory=lambda: NOTHING, repr=False, hash=False)
    token_hash: str | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.rooms and not self.room_actions:
            object.__setattr__(self, "room_actions", granted_actions(list(self.rooms)))

    @classmethod
    def guest(cls) -> Identity:
        """Somebody without a token: no subject, no roles, no rooms."""
        return cls("", source=GUEST)

    @classmethod
    def from_claims(cls, claims: dict[str, Any], source: str = "", *, subject: str | None = None) -> Identity:
        """Make an identity of claims that were already checked.

        Args:
            claims: a verified token's payload; taken over, not copied.
            source: where the token was presented.
            subject: who holds it; the claim ``sub`` if omitted.
        """
        get = claims.get
        roles: tuple[str, ...] = ()
        actions = NOTHING
        if "roles" in claims and not (roles := string_list(claims["roles"])):
            del claims["roles"]
        if "rooms" in claims and not (actions := granted_actions(claims["rooms"])):
            del claims["rooms"]
        role, scope = get("role"), get("scope")
        fields = {
            "subject": get("sub", "") if subject is None else subject,
            "roles": frozenset((*roles, role)) if isinstance(role, str) and role else frozenset(roles),
            "scopes": frozenset(scope.split(" ")) - {""} if isinstance(scope, str) else _NOTHING,
            "rooms": joinable(actions) if actions else (),
            "claims": MappingProxyType(claims),
            "expires_at": get("exp"),
            "issued_at": get("iat"),
            "token_id": get("jti"),
            "session_id": get("sid"),
            "issuer": get("iss"),
            "source": source,
            "room_actions": actions,
        }
        who = cls.__new__(cls)
        # All fields at once: a frozen dataclass's own __init__ sets them one by one, at three times the cost.
        object.__setattr__(who, "__dict__", fields)
        return who

    def with_rights(self, roles: Iterable[str] | None = None, rooms: RoomsClaim | None = None) -> Identity:
        """The same holder with other roles or rooms than the token names; None leaves them.

        The claims say the same afterwards, so that a rule may look at either.
        """
        claims = dict(self.claims)
        fields: dict[str, Any] = {}
        if roles is not None:
            fields["roles"] = frozenset(roles)
            claims.pop("role", None)
            claims["roles"] = list(roles)
        if rooms is not None:
            claims["rooms"] = copy_rooms(rooms)
            fields["room_actions"] = granted_actions(claims["rooms"])
            fields["rooms"] = joinable(fields["room_actions"])
        return replace(self, claims=MappingProxyType(claims), **fields)

    @property
    def is_guest(self) -> bool:
        """True for :meth:`guest`."""
        return self.source == GUEST

    def grants(self, room: str, event: str | None = None) -> bool:
        """True if the token's own ``rooms`` claim grants to join a room, or to emit an event to it.

        Args:
            room: its name.
            event: the event to emit; to join if absent.
        """
        return grants(self.room_actions, room, event)

    def has_role(self, role: str) -> bool:
        """True if the token names exactly this role; no folding of case, spaces or look-alikes."""
        return role in self.roles

    def has_scope(self, scope: str) -> bool:
        """True if the token names exactly this scope."""
        return scope in self.scopes

    def claim(self, name: str, default: Any = None) -> Any:
        """The claim's value, or ``default`` where it is absent (or ``roles``/``rooms`` of a wrong type)."""
        return self.claims.get(name, default)
