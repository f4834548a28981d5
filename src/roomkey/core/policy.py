"""May, or may not: rules for namespaces, rooms and events.

Defaults: a namespace without a rule admits every authenticated identity, a room without a matching rule admits
nobody, an event without a rule is open to whoever is admitted. A rule allows by returning ``True`` itself; any other
value, and any exception, denies.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar
from unicodedata import is_normalized

from roomkey.core.callables import takes
from roomkey.core.claims import is_name
from roomkey.core.identity import Identity
from roomkey.errors import ConfigError

Answer = bool | Awaitable[bool]
Rule = Callable[..., Answer]
RuleT = TypeVar("RuleT", bound=Rule)

_FIELD = re.compile(r"\{([a-z_][a-z0-9_]*)\}")


@dataclass(frozen=True, slots=True)
class Question:
    """One rule to ask, with the arguments it takes; :meth:`ask` gives its answer or something to await."""

    name: str
    rule: Rule
    arguments: tuple[object, ...] = ()
    fields: tuple[tuple[str, str], ...] = ()

    def ask(self, who: Identity) -> object:
        """Ask the rule about an identity."""
        return self.rule(who, *self.arguments, **dict(self.fields))


@dataclass(frozen=True, slots=True)
class _RoomRule:
    pattern: str
    namespace: str | None
    match: re.Pattern[str] | None
    rule: Rule


class Policy:
    """Rules, by what they are about.

    Args:
        open_namespaces: admit every identity to a namespace without a rule.
        open_events: let every admitted identity send an event without a rule.

    Example::

        policy = Policy()

        @policy.room("team:{team}")
        def member(who, team):
            return who.has_role("admin") or team in who.rooms
    """

    def __init__(self, *, open_namespaces: bool = True, open_events: bool = True) -> None:
        self.open_namespaces = open_namespaces
        self.open_events = open_events
        self._namespaces: dict[str, Rule] = {}
        self._events: dict[tuple[str | None, str], Rule] = {}
        self._rooms: list[_RoomRule] = []

    def namespace(self, name: str) -> Callable[[RuleT], RuleT]:
        """Decorate ``rule(who) -> bool``: who may connect to this namespace.

        Raises:
            ConfigError: the name does not begin with ``/``, or has a rule already.
        """
        if not name.startswith("/"):
            raise ConfigError(f"a namespace begins with '/': {name!r}")

        def add(rule: RuleT) -> RuleT:
            _check_rule(rule, f"namespace {name}")
            if name in self._namespaces:
                raise ConfigError(f"namespace {name} has a rule already")
            self._namespaces[name] = rule
            return rule

        return add

    def event(self, name: str, *, namespace: str | None = None) -> Callable[[RuleT], RuleT]:
        """Decorate ``rule(who) -> bool``: who may send this event.

        Args:
            namespace: only there; everywhere if absent.

        Raises:
            ConfigError: the event has a rule there already.
        """

        def add(rule: RuleT) -> RuleT:
            _check_rule(rule, f"event {name}")
            if (namespace, name) in self._events:
                raise ConfigError(f"event {name} has a rule already")
            self._events[namespace, name] = rule
            return rule

        return add

    def room(self, pattern: str, *, namespace: str | None = None) -> Callable[[RuleT], RuleT]:
        """Decorate a rule for the rooms that match a pattern. Where several match, one that allows is enough.

        Args:
            pattern: a name; or a template such as ``team:{team}``, whose fields match one or more characters other
                than ``:`` and ``/`` and are passed by name: ``rule(who, team)``; or ``*`` for every room, whose rule
                takes the room's name: ``rule(who, room)``. Between two fields stands a ``:`` or ``/``, so that a
                name can be read in one way only.
            namespace: only there; everywhere if absent.

        Raises:
            ConfigError: a template that cannot be read.
        """
        if not isinstance(pattern, str):
            raise ConfigError('a room rule begins with its pattern: @policy.room("team:{team}")')
        match = None if pattern == "*" else _compile(pattern)

        def add(rule: RuleT) -> RuleT:
            if match is None:
                _check_rule(rule, "room *", "room")
            else:
                _check_rule(rule, f"room {pattern}", **dict.fromkeys(match.groupindex, ""))
            self._rooms.append(_RoomRule(pattern, namespace, match, rule))
            return rule

        return add

    def about_namespace(self, namespace: str) -> list[Question] | None:
        """The rules to ask before an identity may connect; None if everybody may."""
        if namespace in self._namespaces:
            return [Question(f"namespace {namespace}", self._namespaces[namespace])]
        return None if self.open_namespaces else []

    def about_event(self, event: str, namespace: str) -> list[Question] | None:
        """The rules to ask before an event is handled; None if everybody may send it. All of them must allow."""
        if not self._events:
            return None if self.open_events else []
        rules = [
            Question(f"event {event}", self._events[key])
            for key in ((namespace, event), (None, event))
            if key in self._events
        ]
        return rules or (None if self.open_events else [])

    def about_room(self, room: object, namespace: str) -> list[Question]:
        """The rules to ask before a room may be entered; none if the name is no proper room name."""
        return list(self._room_questions(room, namespace)) if is_room_name(room) else []

    def _room_questions(self, room: object, namespace: str) -> Iterator[Question]:
        name = str(room)
        for known in self._rooms:
            if known.namespace not in (None, namespace):
                continue
            if known.match is None:
                yield Question(f"room {known.pattern}", known.rule, arguments=(name,))
            elif found := known.match.fullmatch(name):
                yield Question(f"room {known.pattern}", known.rule, fields=tuple(found.groupdict().items()))


def _check_rule(rule: Rule, about: str, *arguments: str, **fields: str) -> None:
    """Find out now, and not at the first join, whether a rule can be called."""
    if not takes(rule, object(), *arguments, **fields):
        written = ", ".join(("who", *arguments, *fields))
        raise ConfigError(f"the rule for {about} is called as rule({written}); write it so")


def is_room_name(room: object) -> bool:
    """True for a string of 1 to 255 characters in normal form C, without control characters or outer white space.

    One name in two spellings (composed and decomposed, with and without a trailing space) must never be two rooms,
    one of them guarded.
    """
    return isinstance(room, str) and is_name(room) and room == room.strip() and is_normalized("NFC", room)


def _compile(pattern: str) -> re.Pattern[str]:
    """Turn a template into a pattern that only whole names match."""
    parts = _FIELD.split(pattern)
    literal = "".join(parts[::2])
    if not pattern or "{" in literal or "}" in literal or "*" in literal:
        raise ConfigError(f"room pattern {pattern!r}: write a name, fields as {{name}}, or '*' alone")
    if len(set(parts[1::2])) != len(parts[1::2]):
        raise ConfigError(f"room pattern {pattern!r}: a field is named twice")
    if any(":" not in between and "/" not in between for between in parts[2:-1:2]):
        raise ConfigError(f"room pattern {pattern!r}: put ':' or '/' between two fields, or they run into each other")
    written = (f"(?P<{part}>[^:/]+)" if index % 2 else re.escape(part) for index, part in enumerate(parts))
    return re.compile("".join(written))
