"""What a person's token carries: all their rights for their own login, and for an application what its scopes release.

Applications get scopes, people have roles and rooms (RFC 6749 section 3.3, RFC 9700 section 2.3). A scope therefore
never gives a person a right. It only releases rights that the person has.
"""

from __future__ import annotations

from dataclasses import dataclass

from roomkey.core.grants import Actions, granted_actions, grants
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

    The scope ``roles`` releases all roles, ``role:NAME`` one of them; ``rooms`` and ``room:NAME`` likewise. One that
    names a role or a room that the person does not have is left out.

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
    actions = granted_actions(list(account.rooms))
    allowed = tuple(scope for scope in allowed if _is_theirs(scope, roles, actions))
    if is_first_party:
        return Carried(roles, account.rooms, allowed)
    released = tuple(role for role in roles if _ROLES in allowed or _ROLE + role in allowed)
    named = tuple(scope.removeprefix(_ROOM) for scope in allowed if scope.startswith(_ROOM))
    return Carried(released, account.rooms if _ROOMS in allowed else named, allowed)


def _is_theirs(scope: str, roles: tuple[str, ...], actions: Actions) -> bool:
    """Return False for a scope that names a role or a room that the person does not have."""
    if scope.startswith(_ROLE):
        return scope.removeprefix(_ROLE) in roles
    return not scope.startswith(_ROOM) or grants(actions, scope.removeprefix(_ROOM))
