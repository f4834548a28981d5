"""The identity of a client, as its verified token states it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Self

from roomkey.core.grants import NOTHING, Actions, granted_actions, grants, joinable, string_list
from roomkey.core.names import is_name

GUEST = "guest"

RoomsClaim = Iterable[str] | Mapping[str, Iterable[str]]
"""The form of the claim ``rooms``: names and patterns, or an object with the actions for each of them."""

_NOTHING: frozenset[str] = frozenset()


def copy_rooms(rooms: RoomsClaim) -> list[str] | dict[str, list[str]]:
    """Return a copy of the claim, made of lists."""
    if isinstance(rooms, Mapping):
        return {pattern: list(actions) for pattern, actions in rooms.items()}
    return list(rooms)


def _without_malformed(claims: dict[str, Any]) -> dict[str, Any]:
    """Remove ``roles`` and ``rooms`` if they have the wrong type, as :meth:`Identity.from_claims` does."""
    if not string_list(claims.get("roles")):
        claims.pop("roles", None)
    if not granted_actions(claims.get("rooms")):
        claims.pop("rooms", None)
    return claims


def _roles(roles: tuple[str, ...], role: Any) -> frozenset[str]:
    """Return the names in ``roles`` and ``role``. Tokens without any share one empty set, which has 216 bytes."""
    if role is not None and is_name(role):
        return frozenset((*roles, role))
    return frozenset(roles) if roles else _NOTHING


@dataclass(frozen=True)
class Identity:
    """The user of a verified token. Identities never change, and can be compared.

    Attributes:
        subject: ``sub``. The verifier's ``claims_map`` can name another place for it, and for the roles, scopes, rooms
            and session ID.
        roles: ``roles`` (a list of strings) and ``role`` (a string), exactly as written.
        scopes: ``scope``, split at spaces (RFC 8693 section 4.2).
        rooms: the names and patterns in ``rooms`` that grant joining; call :meth:`grants` to check a room.
        claims: all claims of the token, read-only; a ``claims_map`` changes nothing in them. ``roles`` and ``rooms``
            are left out if they have the wrong type, so that no rule can mistake them for a list.
        expires_at: ``exp`` in seconds since the epoch, or None.
        issued_at: ``iat`` in seconds since the epoch, or None.
        token_id: ``jti``, or None.
        session_id: ``sid``, which names a login session and all tokens refreshed in it; or None.
        issuer: ``iss``, or None.
        source: where the client presented the token: ``auth``, ``header``, ``cookie``, ``query``, ``event``, ``guest``
            or "".
        room_actions: the actions that ``rooms`` grants, by pattern.
        token_hash: the name of a token without ``jti`` in the audit log; None if it has one.
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
        """Return the identity of a client without a token: no subject, no roles, no rooms."""
        return cls("", source=GUEST)

    @classmethod
    def from_claims(
        cls, claims: dict[str, Any], source: str = "", *, original: dict[str, Any] | None = None
    ) -> Identity:
        """Create an identity from claims that are already checked.

        Args:
            claims: a verified token's claims in standard form.
            source: where the client presented the token.
            original: the payload, if it is not in standard form. The identity keeps the payload without a copy.
        """
        get = claims.get
        roles: tuple[str, ...] = ()
        rooms: tuple[str, ...] = ()
        actions = NOTHING
        if "roles" in claims and not (roles := string_list(claims["roles"])):
            del claims["roles"]
        if "rooms" in claims:
            if actions := granted_actions(claims["rooms"]):
                rooms = tuple(actions) if type(claims["rooms"]) is list else joinable(actions)
            else:
                del claims["rooms"]
        role, scope = get("role"), get("scope")
        who = cls.__new__(cls)
        # Filling its dictionary costs a third of the dataclass's __init__. The dictionaries of all identities share the
        # names of the fields; another one, put in its place, would take 270 bytes more.
        fields = who.__dict__
        fields["subject"] = get("sub", "")
        fields["roles"] = _roles(roles, role)
        fields["scopes"] = frozenset(scope.split(" ")) - {""} if isinstance(scope, str) else _NOTHING
        fields["rooms"] = rooms
        fields["claims"] = MappingProxyType(claims if original is None else _without_malformed(original))
        fields["expires_at"] = get("exp")
        fields["issued_at"] = get("iat")
        fields["token_id"] = get("jti")
        fields["session_id"] = get("sid")
        fields["issuer"] = get("iss")
        fields["source"] = source
        fields["room_actions"] = actions
        return who

    def with_token_hash(self, token_hash: str) -> Self:
        """Return the same identity with the name of its token."""
        cls = type(self)
        who = cls.__new__(cls)
        fields = who.__dict__
        fields.update(self.__dict__)
        fields["token_hash"] = token_hash
        return who

    def with_rights(self, roles: Iterable[str] | None = None, rooms: RoomsClaim | None = None) -> Identity:
        """Return the same user with other roles or rooms; None keeps them.

        The claims change too, so that rules can check either.
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
        """Return True if the token's ``rooms`` claim grants joining a room, or emitting an event to it.

        Args:
            room: the name of the room.
            event: the event to emit; None asks about joining.
        """
        return grants(self.room_actions, room, event)

    def has_role(self, role: str) -> bool:
        """Return True if the token has exactly this role, with the same case and spaces."""
        return role in self.roles

    def has_scope(self, scope: str) -> bool:
        """Return True if the token has exactly this scope."""
        return scope in self.scopes

    def claim(self, name: str, default: Any = None) -> Any:
        """Return a claim, or ``default`` if it is missing (or is ``roles`` or ``rooms`` with the wrong type)."""
        return self.claims.get(name, default)
