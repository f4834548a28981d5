"""Roles that include others: ``admin > moderator > member``."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

from roomkey.errors import ConfigError


class RoleHierarchy:
    """Which roles a role includes.

    Args:
        chains: one or several texts such as ``"admin > moderator > member"``, the greater role first.

    Raises:
        ConfigError: a chain that cannot be read, or a role that includes itself.
    """

    def __init__(self, chains: str | Iterable[str] = ()) -> None:
        self._includes: dict[str, frozenset[str]] = {}
        direct: dict[str, set[str]] = {}
        for chain in (chains,) if isinstance(chains, str) else chains:
            roles = [role.strip() for role in chain.split(">")] if isinstance(chain, str) else []
            if len(roles) < 2 or not all(roles):
                raise ConfigError(f"roles are written as 'admin > moderator > member', not {chain!r}")
            for greater, lesser in pairwise(roles):
                direct.setdefault(greater, set()).add(lesser)
        for role in direct:
            self._includes[role] = _reached(role, direct)
            if role in self._includes[role]:
                raise ConfigError(f"role {role!r} would include itself: look at the order of roles={chains!r}")

    def __bool__(self) -> bool:
        return bool(self._includes)

    def expand(self, roles: frozenset[str]) -> frozenset[str]:
        """Roles, with all that they include."""
        return roles.union(*(self._includes[role] for role in roles if role in self._includes))


def _reached(role: str, direct: dict[str, set[str]]) -> frozenset[str]:
    found: set[str] = set()
    waiting = [role]
    while waiting:
        for lesser in direct.get(waiting.pop(), ()):
            if lesser not in found:
                found.add(lesser)
                waiting.append(lesser)
    return frozenset(found)
