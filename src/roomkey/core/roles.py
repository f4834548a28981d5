"""Roles that include other roles: ``admin > moderator > member``."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

from roomkey.errors import ConfigError


class RoleHierarchy:
    """The roles that each role includes.

    Args:
        chains: one or several strings such as ``"admin > moderator > member"``, the highest role first.

    Attributes:
        includes: the roles that a role includes, directly and indirectly; empty if no role includes another.

    Raises:
        ConfigError: an invalid chain, or a role that includes itself.
    """

    def __init__(self, chains: str | Iterable[str] = ()) -> None:
        self.includes: dict[str, frozenset[str]] = {}
        direct: dict[str, set[str]] = {}
        for chain in (chains,) if isinstance(chains, str) else chains:
            roles = [role.strip() for role in chain.split(">")] if isinstance(chain, str) else []
            if len(roles) < 2 or not all(roles):
                raise ConfigError(f"invalid roles {chain!r}; write them as 'admin > moderator > member'")
            for greater, lesser in pairwise(roles):
                direct.setdefault(greater, set()).add(lesser)
        for role in direct:
            self.includes[role] = _reachable(role, direct)
            if role in self.includes[role]:
                raise ConfigError(f"role {role!r} would include itself; check the order of roles={chains!r}")

    def expand(self, roles: frozenset[str]) -> frozenset[str]:
        """Return the roles and all roles that they include."""
        return roles.union(*(self.includes[role] for role in roles if role in self.includes))


def _reachable(role: str, direct: dict[str, set[str]]) -> frozenset[str]:
    found: set[str] = set()
    waiting = [role]
    while waiting:
        for lesser in direct.get(waiting.pop(), ()):
            if lesser not in found:
                found.add(lesser)
                waiting.append(lesser)
    return frozenset(found)
