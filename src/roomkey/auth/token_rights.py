"""The rights in a user's token: all of them at the user's own login, for an OAuth client those that the scopes release.

OAuth clients have scopes; users have roles and rooms (RFC 6749 section 3.3, RFC 9700 section 2.3). So a scope never
gives a user a right. It only releases rights that the user has. (Internal.)
"""

from __future__ import annotations

from dataclasses import dataclass

from roomkey.core.grants import Actions, granted_actions, grants
from roomkey.core.names import is_reserved
from roomkey.stores import Account

__all__ = ["TokenRights", "rights_for", "without_reserved"]

_ROLES, _ROOMS = "roles", "rooms"
_ROLE, _ROOM = "role:", "room:"


@dataclass(frozen=True, slots=True)
class TokenRights:
    """The roles, rooms and scopes of one token."""

    roles: tuple[str, ...]
    rooms: tuple[str, ...]
    scopes: tuple[str, ...]


def without_reserved(scopes: tuple[str, ...]) -> tuple[str, ...]:
    """Return the scopes that a user's token can contain: those of the server itself (``roomkey:…``) are left out."""
    return tuple(scope for scope in scopes if not is_reserved(scope))


def rights_for(account: Account, scopes: tuple[str, ...], *, is_own: bool, is_first_party: bool) -> TokenRights:
    """Return the rights of a user's token.

    The scope ``roles`` releases all roles, ``role:NAME`` one of them; ``rooms`` and ``room:NAME`` likewise. Scopes that
    name a role or a room that the user does not have are left out.

    Args:
        account: the user, with the current roles and rooms.
        scopes: the scopes that were requested and that the OAuth client can have.
        is_own: True for a login with a password at this server, without an OAuth client.
        is_first_party: True for a client of the same operator: its tokens contain every role and room.
    """
    allowed = without_reserved(scopes)
    if is_own:
        return TokenRights(account.roles, account.rooms, allowed)
    roles = tuple(role for role in account.roles if not is_reserved(role))
    actions = granted_actions(list(account.rooms))
    allowed = tuple(scope for scope in allowed if _user_has(scope, roles, actions))
    if is_first_party:
        return TokenRights(roles, account.rooms, allowed)
    released = tuple(role for role in roles if _ROLES in allowed or _ROLE + role in allowed)
    named = tuple(scope.removeprefix(_ROOM) for scope in allowed if scope.startswith(_ROOM))
    return TokenRights(released, account.rooms if _ROOMS in allowed else named, allowed)


def _user_has(scope: str, roles: tuple[str, ...], actions: Actions) -> bool:
    """Return False for a scope that names a role or a room that the user does not have."""
    if scope.startswith(_ROLE):
        return scope.removeprefix(_ROLE) in roles
    return not scope.startswith(_ROOM) or grants(actions, scope.removeprefix(_ROOM))
