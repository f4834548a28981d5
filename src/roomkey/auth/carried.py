"""What a person's token carries: all their rights for their own login, and for an application what its scopes release.

Applications get scopes, people have roles and rooms (RFC 6749 section 3.3, RFC 9700 section 2.3). A scope therefore
never gives a person a right. It only releases rights that the person has.
"""

from __future__ import annotations

from dataclasses import dataclass

from roomkey.core.grants import granted_actions, grants
from roomkey.core.names import is_reserved
from roomkey.stores.accounts import Account

__all__ = ["Carried", "carried", "held"]

_ROLES, _ROOMS = "roles", "rooms"
_ROLE, _ROOM = "role:", "room:"


@dataclass(frozen=True, slots=True)
class Carried:
    """The roles, rooms and scopes of one token."""

    roles: tuple[str, ...]
    rooms: tuple[str, ...]
    scopes: tuple[str, ...]


def held(scopes: tuple[str, ...]) -> tuple[str, ...]:
    """Return the scopes that a person's token may carry: the server's own (``roomkey:…``) are nobody's to pass on."""
    return tuple(scope for scope in scopes if not is_reserved(scope))


def carried(account: Account, scopes: tuple[str, ...], *, is_own: bool, is_first_party: bool) -> Carried:
    """Decide what a person's token carries.

    The scope ``roles`` releases all roles, ``role:NAME`` one of them; ``rooms`` and ``room:NAME`` likewise.

    Args:
        account: whose token it is, with the rights it has now.
        scopes: what the token was asked for and its application may have.
        is_own: True for a login with a password at this server, without an application.
        is_first_party: True for an application of the same operator: it gets every role and room.
    """
    allowed = held(scopes)
    if is_own:
        return Carried(account.roles, account.rooms, allowed)
    roles = tuple(role for role in account.roles if not is_reserved(role))
    if is_first_party:
        return Carried(roles, account.rooms, allowed)
    wanted = frozenset(allowed)
    return Carried(
        tuple(role for role in roles if _ROLES in wanted or _ROLE + role in wanted),
        account.rooms if _ROOMS in wanted else _released_rooms(account, allowed),
        allowed,
    )


def _released_rooms(account: Account, scopes: tuple[str, ...]) -> tuple[str, ...]:
    actions = granted_actions(list(account.rooms))
    named = (scope.removeprefix(_ROOM) for scope in scopes if scope.startswith(_ROOM))
    return tuple(room for room in named if grants(actions, room))
