"""May, or may not: rules for namespaces, rooms, emits to rooms, and events.

Defaults, each a setting: a namespace without a rule admits every identity, a room without a matching rule admits
nobody, whoever is in a room may emit to it where no rule is about that, an event without a rule is open to whoever is
admitted. A rule allows by returning ``True`` itself; any other value, and any exception, denies.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple, TypeVar
from unicodedata import is_normalized

from roomkey.core.callables import accepts
from roomkey.core.claims import is_name
from roomkey.core.event_names import ANY_EVENT, check_event
from roomkey.core.identity import Identity
from roomkey.core.names import looks_like_sid
from roomkey.core.roles import RoleHierarchy
from roomkey.errors import ConfigError

Answer = bool | Awaitable[bool]
Rule = Callable[..., Answer]
RuleT = TypeVar("RuleT", bound=Rule)

OWN_ROOM = "user:"
"""What the name of a subject's own room begins with; the subject follows."""

_FIELD = re.compile(r"\{([a-z_][a-z0-9_]*)\}")
_EXTRAS = ("room", "event")  # what a rule about rooms is told besides, where it has a parameter of that name


@dataclass(frozen=True, slots=True)
class BoundRule:
    """One rule to ask, with the arguments it takes; :meth:`ask` gives its answer or something to await.

    Attributes:
        name: of the rule, as the policy's author wrote it.
        max_auth_age: the longest time since the holder logged in, in seconds, or None.
    """

    name: str
    rule: Rule
    arguments: tuple[object, ...] = ()
    fields: tuple[tuple[str, str], ...] = ()
    max_auth_age: float | None = None

    def ask(self, who: Identity) -> object:
        """Ask the rule about an identity."""
        return self.rule(who, *self.arguments, **dict(self.fields))


class RuleSet(NamedTuple):
    """The rules about one thing.

    Attributes:
        rules: the rules to ask.
        require_all: all of them must allow; otherwise one that allows is enough.
        default: the answer if there are no rules.
    """

    rules: tuple[BoundRule, ...] = ()
    require_all: bool = False
    default: bool = False


OPEN, CLOSED = RuleSet(default=True), RuleSet()


@dataclass(frozen=True, slots=True)
class _RoomRule:
    pattern: str
    namespace: str | None
    match: re.Pattern[str] | None
    rule: Rule
    extras: tuple[str, ...]
    event: str | None = None


class _EventRule(NamedTuple):
    rule: BoundRule
    takes_event: bool

    def about(self, event: str) -> BoundRule:
        return replace(self.rule, fields=(("event", event),)) if self.takes_event else self.rule


class Policy:
    """Rules, by what they are about.

    Args:
        open_namespaces: admit every identity to a namespace without a rule.
        open_events: let every admitted identity send an event without a rule.
        open_emits: let whoever is in a room emit to it, where no rule is about that.
        roles: which roles include others: ``"admin > moderator > member"``, or several such texts.

    Raises:
        ConfigError: ``roles`` that cannot be read.

    Example::

        policy = Policy()

        @policy.room("team:{team}")
        def member(who, team):
            return who.has_role("admin") or team in who.rooms
    """

    def __init__(
        self,
        *,
        open_namespaces: bool = True,
        open_events: bool = True,
        open_emits: bool = True,
        roles: str | Iterable[str] = (),
    ) -> None:
        self.open_namespaces = open_namespaces
        self.open_events = open_events
        self.open_emits = open_emits
        self.roles = RoleHierarchy(roles)
        self._namespaces: dict[str, BoundRule] = {}
        self._events: dict[tuple[str | None, str], _EventRule] = {}
        self._rooms: list[_RoomRule] = []
        self._emits: list[_RoomRule] = []

    def namespace(self, name: str) -> Callable[[RuleT], RuleT]:
        """Decorate ``rule(who) -> bool``: who may connect to this namespace.

        Raises:
            ConfigError: the name does not begin with ``/``, or has a rule already.
        """
        _check_namespace(name)

        def add(rule: RuleT) -> RuleT:
            _check_rule(rule, f"namespace {name}")
            if name in self._namespaces:
                raise ConfigError(f"namespace {name} has a rule already")
            self._namespaces[name] = BoundRule(f"namespace {name}", rule)
            return rule

        return add

    def event(
        self, name: str, *, namespace: str | None = None, max_auth_age: float | None = None
    ) -> Callable[[RuleT], RuleT]:
        """Decorate ``rule(who) -> bool``: who may send this event.

        Args:
            name: the event; or ``*`` for every event that has no rule of its own. A rule with a parameter ``event``
                gets the event's name.
            namespace: only there; everywhere if absent.
            max_auth_age: the longest time in seconds since the user logged in (``auth_time``, or ``iat`` without it).
                With an older login, the client must authenticate again (RFC 9470); the socket stays connected.

        Raises:
            ConfigError: the event has a rule there already or never reaches a rule, as ``connect`` and ``disconnect``
                do not; or ``max_auth_age`` is not a number of seconds.
        """
        if name != ANY_EVENT:
            check_event(name)
        if max_auth_age is not None and not 0 < max_auth_age < float("inf"):
            raise ConfigError("max_auth_age must be more than 0 seconds")
        _check_namespace(namespace)

        def add(rule: RuleT) -> RuleT:
            told = ("event",) if _has_parameter(rule, "event") else ()
            _check_rule(rule, f"event {name}", **dict.fromkeys(told, ""))
            if (namespace, name) in self._events:
                raise ConfigError(f"event {name} has a rule already")
            self._events[namespace, name] = _EventRule(
                BoundRule(f"event {name}", rule, max_auth_age=max_auth_age), bool(told)
            )
            return rule

        return add

    def room(self, pattern: str, *, namespace: str | None = None) -> Callable[[RuleT], RuleT]:
        """Decorate a rule for the rooms that match a pattern. Where several match, one that allows is enough.

        Args:
            pattern: a name; or a template such as ``team:{team}``, whose fields match one or more characters other
                than ``:`` and ``/`` and are passed by name: ``rule(who, team)``; or ``*`` for every room that is not
                somebody's own (``user:…``), whose rule takes the room's name: ``rule(who, room)``. Between two fields
                stands a ``:`` or ``/``, so that a name can be read in one way only. A rule with a parameter ``room``
                gets the whole name. Somebody's own room is matched only by a pattern that begins with ``user:``.
            namespace: only there; everywhere if absent.

        Raises:
            ConfigError: a template that cannot be read.
        """
        return self._about_rooms(self._rooms, "room", pattern, namespace, None)

    def emit(self, pattern: str, *, event: str | None = None, namespace: str | None = None) -> Callable[[RuleT], RuleT]:
        """Decorate a rule for what clients emit to rooms through the server. One that allows is enough.

        Args:
            pattern: of the rooms, as for :meth:`room`.
            event: only that one; every event if absent. A rule with a parameter ``event`` gets its name.
            namespace: only there; everywhere if absent.

        Raises:
            ConfigError: a template that cannot be read, or an event that no client can send.
        """
        if event is not None:
            check_event(event)
        return self._about_rooms(self._emits, "emit", pattern, namespace, event)

    def _about_rooms(
        self, rules: list[_RoomRule], kind: str, pattern: str, namespace: str | None, event: str | None
    ) -> Callable[[RuleT], RuleT]:
        if not isinstance(pattern, str):
            raise ConfigError(f'a rule begins with its pattern: @policy.{kind}("team:{{team}}")')
        _check_namespace(namespace)
        match = None if pattern == "*" else _compile(pattern)
        fields = tuple(match.groupindex) if match is not None else ()

        def add(rule: RuleT) -> RuleT:
            told = ("room",) if match is None else ()
            extras = tuple(name for name in _EXTRAS if name not in (*told, *fields) and _has_parameter(rule, name))
            _check_rule(rule, f"{kind} {pattern}", *told, **dict.fromkeys((*fields, *extras), ""))
            rules.append(_RoomRule(pattern, namespace, match, rule, extras, event))
            return rule

        return add

    def rules_for_namespace(self, namespace: str) -> RuleSet:
        """The rules to ask before an identity may connect."""
        rule = self._namespaces.get(namespace)
        return RuleSet((rule,)) if rule is not None else OPEN if self.open_namespaces else CLOSED

    def rules_for_event(self, event: str, namespace: str) -> RuleSet:
        """The rules to ask before an event is handled: :data:`OPEN` itself if everybody may send it."""
        if not self._events:
            return OPEN if self.open_events else CLOSED
        rules = self._event_rules(event, namespace) or self._event_rules(ANY_EVENT, namespace)
        bound = tuple(rule.about(event) for rule in rules)
        return RuleSet(bound, require_all=True) if bound else OPEN if self.open_events else CLOSED

    def _event_rules(self, name: str, namespace: str) -> list[_EventRule]:
        return [self._events[key] for key in ((namespace, name), (None, name)) if key in self._events]

    def rules_for_room(self, room: object, namespace: str) -> RuleSet:
        """The rules to ask before a room may be entered."""
        if not is_room_name(room):
            return CLOSED
        return RuleSet(tuple(self._matching(self._rooms, "room", str(room), namespace, None)))

    def has_room_rules(self, namespace: str) -> bool:
        """Return True if the policy says anything about the rooms of a namespace."""
        return any(rule.namespace in (None, namespace) for rule in self._rooms)

    def rules_for_emit(self, room: object, event: str, namespace: str) -> RuleSet:
        """The rules to ask before a client that is in a room may emit to it."""
        if not is_room_name(room):
            return CLOSED
        rules = tuple(self._matching(self._emits, "emit", str(room), namespace, event))
        return RuleSet(rules, default=self.open_emits and not rules)

    def expand_roles(self, who: Identity) -> Identity:
        """Return the identity with the roles that its roles include."""
        return replace(who, roles=self.roles.expand(who.roles)) if self.roles.includes else who

    @staticmethod
    def _matching(
        rules: list[_RoomRule], kind: str, room: str, namespace: str, event: str | None
    ) -> Iterator[BoundRule]:
        extras = {"room": room, "event": event or ""}
        for known in rules:
            if known.namespace not in (None, namespace) or known.event not in (None, event):
                continue
            if room.startswith(OWN_ROOM) and not known.pattern.startswith(OWN_ROOM):
                continue  # a rule about somebody's own room says so: "{kind}:{name}" was not written for it
            told = tuple((name, extras[name]) for name in known.extras)
            if known.match is None:
                yield BoundRule(f"{kind} {known.pattern}", known.rule, (room,), told)
            elif found := known.match.fullmatch(room):
                yield BoundRule(f"{kind} {known.pattern}", known.rule, (), (*found.groupdict().items(), *told))


def _check_rule(rule: Rule, about: str, *arguments: str, **fields: str) -> None:
    """Find out now, and not at the first join, whether a rule can be called."""
    if not accepts(rule, object(), *arguments, **fields):
        written = ", ".join(("who", *arguments, *fields))
        raise ConfigError(f"the rule for {about} is called as rule({written}); write it so")


def _check_namespace(name: str | None) -> None:
    """A rule for a namespace that cannot be would never be asked."""
    if name is not None and not is_namespace_name(name):
        raise ConfigError(f"invalid namespace {name!r}; begin it with '/', and do not use ',' or '?'")


def _has_parameter(rule: Rule, name: str) -> bool:
    try:
        parameter = inspect.signature(rule).parameters.get(name)
    except (TypeError, ValueError):  # no signature to look at
        return False
    return parameter is not None and parameter.kind is not parameter.POSITIONAL_ONLY


def is_namespace_name(name: object) -> bool:
    """True for a name that a client can ask for: the packet ends it with a comma, or with a query."""
    return isinstance(name, str) and name.startswith("/") and not set(name) & {",", "?"}


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
        raise ConfigError(f"room pattern {pattern!r}: use a name, fields such as 'team:{{team}}', or '*' alone")
    if len(set(parts[1::2])) != len(parts[1::2]):
        raise ConfigError(f"room pattern {pattern!r}: a field is named twice")
    if any(":" not in between and "/" not in between for between in parts[2:-1:2]):
        raise ConfigError(f"room pattern {pattern!r}: put ':' or '/' between two fields, or they run into each other")
    if not is_room_name(_FIELD.sub("x", pattern)) or (len(parts) == 1 and looks_like_sid(pattern)):
        raise ConfigError(f"room pattern {pattern!r}: no room has such a name, so that its rule would never be asked")
    written = (f"(?P<{part}>[^:/]+)" if index % 2 else re.escape(part) for index, part in enumerate(parts))
    return re.compile("".join(written))
