"""What a token itself grants: its ``rooms`` claim, a list of room patterns or an object that names actions.

::

    "rooms": ["lobby", "team-*"]
    "rooms": {"lobby": ["join"], "team-*": ["join", "emit:message"]}

A list grants to join and to emit every event. In an object the actions are ``join``, ``emit`` (every event) and
``emit:EVENT``; others grant nothing. In a pattern, ``*`` matches one or more characters other than ``:`` and ``/``;
``*`` alone is every room; with two in one part a pattern matches its own text alone. A claim of any other form grants
nothing at all.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType

from roomkey.core.names import MAX_NAMES, string_list

Actions = Mapping[str, frozenset[str]]

JOIN, EMIT = "join", "emit"
_ALL = frozenset({JOIN, EMIT})
NOTHING: Actions = MappingProxyType({})


def granted_actions(claim: object) -> Actions:
    """The actions of a ``rooms`` claim by pattern; nothing if it is malformed anywhere."""
    if not isinstance(claim, dict):
        return MappingProxyType(dict.fromkeys(string_list(claim), _ALL))
    if len(claim) > MAX_NAMES:
        return NOTHING
    found: dict[str, frozenset[str]] = {}
    for pattern, actions in claim.items():
        listed = string_list(actions)
        if not pattern or (not listed and actions != []):
            return NOTHING
        found[pattern] = frozenset(listed)
    return MappingProxyType(found)


def joinable(actions: Actions) -> tuple[str, ...]:
    """The patterns that grant to join."""
    return tuple(pattern for pattern, given in actions.items() if JOIN in given)


def grants(actions: Actions, room: str, event: str | None = None) -> bool:
    """True if some pattern that matches the room grants to join it, or to emit an event to it.

    Args:
        actions: from :func:`granted_actions`.
        event: the event to emit; to join if absent.
    """
    wanted = {JOIN} if event is None else {EMIT, f"{EMIT}:{event}"}
    exact = actions.get(room)
    if exact is not None and not wanted.isdisjoint(exact):
        return True
    return any(
        "*" in pattern and not wanted.isdisjoint(given) and _matcher(pattern).fullmatch(room)
        for pattern, given in actions.items()
    )


def narrowed(actions: Actions, allowed: Actions) -> dict[str, list[str]]:
    """Return a ``rooms`` claim with those actions that other grants allow too.

    Args:
        actions: from :func:`granted_actions`.
        allowed: likewise.
    """
    return {
        pattern: sorted(
            action for action in given if grants(allowed, pattern, None if action == JOIN else action.partition(":")[2])
        )
        for pattern, given in actions.items()
    }


@lru_cache(maxsize=1024)
def _matcher(pattern: str) -> re.Pattern[str]:
    if pattern == "*":
        return re.compile(".+", re.DOTALL)
    if any(part.count("*") > 1 for part in re.split("[:/]", pattern)):  # it could be read in many ways, slowly
        return re.compile("(?!)")
    return re.compile("[^:/]+".join(re.escape(part) for part in pattern.split("*")))
