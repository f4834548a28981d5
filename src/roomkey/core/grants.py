"""The rights that a token grants in its ``rooms`` claim: a list of room patterns, or an object that names actions.

::

    "rooms": ["lobby", "team-*"]
    "rooms": {"lobby": ["join"], "team-*": ["join", "emit:message"]}

A list grants joining and emitting all events. In an object, the actions are ``join``, ``emit`` (all events) and
``emit:EVENT``; other actions grant nothing. In a pattern, ``*`` matches one or more characters except ``:`` and ``/``;
``*`` alone matches all rooms. A pattern with two ``*`` in one part matches only its own text. A claim in any other form
grants nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType

from roomkey.core.names import is_name

MAX_NAMES = 1000
"""The longest list of names in a claim."""

Actions = Mapping[str, frozenset[str]]
"""Room patterns, each with the actions that it grants."""

JOIN, EMIT = "join", "emit"
_ALL = frozenset({JOIN, EMIT})
NOTHING: Actions = MappingProxyType({})


def string_list(value: object) -> tuple[str, ...]:
    """Return the list of names in a claim, or an empty tuple if it is not one.

    A claim of another type (a string, an object, a list that contains a number or a text that is not a name, more than
    1000 entries) grants nothing: ``"red" in "redteam"`` must never open a room.
    """
    if not isinstance(value, list) or len(value) > MAX_NAMES:
        return ()
    for name in value:
        if not is_name(name):
            return ()
    return tuple(value)


def granted_actions(claim: object) -> Actions:
    """Return the actions of a ``rooms`` claim by pattern; none if any part of it is malformed."""
    if not isinstance(claim, dict):
        return MappingProxyType(dict.fromkeys(string_list(claim), _ALL))
    if len(claim) > MAX_NAMES:
        return NOTHING
    found: dict[str, frozenset[str]] = {}
    for pattern, actions in claim.items():
        listed = string_list(actions)
        if not is_name(pattern) or (not listed and actions != []):
            return NOTHING
        found[pattern] = frozenset(listed)
    return MappingProxyType(found)


def joinable(actions: Actions) -> tuple[str, ...]:
    """Return the patterns that grant joining."""
    return tuple(pattern for pattern, given in actions.items() if JOIN in given)


def grants(actions: Actions, room: str, event: str | None = None) -> bool:
    """Return True if a pattern that matches the room grants joining it, or emitting an event to it.

    Args:
        actions: the rights, from :func:`granted_actions`.
        event: the event to emit; None asks about joining.
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
    """Return a ``rooms`` claim with the actions that are in both.

    Args:
        actions: the rights to narrow, from :func:`granted_actions`.
        allowed: the rights to keep, also from :func:`granted_actions`.
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
    if any(part.count("*") > 1 for part in re.split("[:/]", pattern)):  # it could match in many ways, slowly
        return re.compile("(?!)")
    return re.compile("[^:/]+".join(re.escape(part) for part in pattern.split("*")))
