"""The policy: rules for namespaces, rooms, emits to rooms, and events.

The defaults, each of which is a setting:

- A namespace without a rule admits all identities.
- Nobody can join a room without a matching rule.
- A client in a room can emit to the room, if no rule is about that emit.
- An admitted client can send an event without a rule.

A rule allows by returning ``True``. Any other value and any exception deny.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, TypeVar

from roomkey.core.callables import accepts
from roomkey.core.identity import Identity
from roomkey.core.names import ANY_EVENT, check_event, is_namespace_name, is_room_name, looks_like_sid
from roomkey.core.roles import RoleHierarchy
from roomkey.errors import ConfigError

Answer = bool | Awaitable[bool]
Rule = Callable[..., Answer]
RuleT = TypeVar("RuleT", bound=Rule)

OWN_ROOM = "user:"
"""Prefix of the name of a subject's own room, followed by the subject."""

RuleKind = Literal["namespace", "room", "emit", "presence", "event"]
"""What a rule decides: about a namespace, joining a room, emitting to it, asking who is in it, or an event."""

_FIELD = re.compile(r"\{([a-z_][a-z0-9_]*)\}")
_EXTRAS = ("room", "event")  # a rule about rooms also gets these, if it has a parameter of that name


@dataclass(frozen=True, slots=True)
class BoundRule:
    """A rule with the arguments for one decision.

    Attributes:
        name: the name of the rule, from the policy.
        rule: the function.
        arguments: positional arguments after the identity.
        fields: keyword arguments.
        max_auth_age: the longest time since the user logged in, in seconds, or None.
    """

    name: str
    rule: Rule
    arguments: tuple[object, ...] = ()
    fields: tuple[tuple[str, str], ...] = ()
    max_auth_age: float | None = None

    def ask(self, who: Identity) -> object:
        """Call the rule with an identity; return its answer, or an awaitable."""
        return self.rule(who, *self.arguments, **dict(self.fields))


class RuleSet(NamedTuple):
    """The rules for one decision.

    Attributes:
        rules: the rules to ask.
        require_all: True if all rules must allow; False if one rule that allows is enough.
        default: the decision if there are no rules.
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


class WrittenRule(NamedTuple):
    """What a rule is about, as it was written.

    Attributes:
        kind: ``namespace``, ``room``, ``emit``, ``presence`` or ``event``.
        name: the namespace, the pattern of rooms, or the event.
        namespace: the namespace that the rule is for; None for all.
        event: the event that a rule about emits is for; None for all.
    """

    kind: str
    name: str
    namespace: str | None
    event: str | None = None

    def __str__(self) -> str:
        """Return the rule as a decision names it, such as ``room team:{team}``."""
        return f"{self.kind} {self.name}"


class _EventRule(NamedTuple):
    rule: BoundRule
    takes_event: bool

    def bind(self, event: str) -> BoundRule:
        return replace(self.rule, fields=(("event", event),)) if self.takes_event else self.rule


class Policy:
    """Decides who can connect to namespaces, join rooms, emit to rooms and send events.

    Args:
        open_namespaces: admit all identities to a namespace without a rule.
        open_events: let all admitted clients send an event without a rule.
        open_emits: let clients emit to the rooms they are in, if no rule is about that emit.
        roles: the roles that include others, such as ``"admin > moderator > member"``; one string or several.

    Attributes:
        changes: counts the changes of the rules for events.

    Raises:
        ConfigError: invalid ``roles``.

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
        self.changes = 0
        self.open_namespaces = open_namespaces
        self.open_events = open_events
        self.open_emits = open_emits
        self.roles = RoleHierarchy(roles)
        self._namespaces: dict[str, BoundRule] = {}
        self._events: dict[tuple[str | None, str], _EventRule] = {}
        self._rooms: list[_RoomRule] = []
        self._emits: list[_RoomRule] = []
        self._presence: list[_RoomRule] = []

    @property
    def open_events(self) -> bool:
        """True if all admitted clients can send an event without a rule."""
        return self._open_events

    @open_events.setter
    def open_events(self, value: bool) -> None:
        self._open_events = value
        self.changes += 1

    def namespace(self, name: str) -> Callable[[RuleT], RuleT]:
        """Decorate a rule for connecting to a namespace: ``rule(who) -> bool``.

        Raises:
            ConfigError: the name does not begin with ``/``, or the namespace already has a rule.
        """
        _check_namespace(name)

        def add(rule: RuleT) -> RuleT:
            _check_rule(rule, f"namespace {name}")
            if name in self._namespaces:
                raise ConfigError(f"namespace {name} already has a rule; combine both in one")
            self._namespaces[name] = BoundRule(f"namespace {name}", rule)
            return rule

        return add

    def event(
        self, name: str, *, namespace: str | None = None, max_auth_age: float | None = None
    ) -> Callable[[RuleT], RuleT]:
        """Decorate a rule for sending an event: ``rule(who) -> bool``.

        Args:
            name: the event; or ``*`` for all events without a rule of their own. If the rule has a parameter ``event``,
                it gets the event's name.
            namespace: the namespace that the rule is for. Default: all namespaces.
            max_auth_age: the longest time in seconds since the user logged in (``auth_time``, or ``iat`` without it).
                With an older login, the client must authenticate again (RFC 9470); the socket stays connected.

        Raises:
            ConfigError: the event already has a rule there, or rules do not apply to it (such as ``connect`` and
                ``disconnect``); or ``max_auth_age`` is not more than 0 seconds.
        """
        if name != ANY_EVENT:
            check_event(name)
        if max_auth_age is not None and not 0 < max_auth_age < float("inf"):
            raise ConfigError("max_auth_age must be more than 0 seconds")
        _check_namespace(namespace)

        def add(rule: RuleT) -> RuleT:
            takes_event = _has_parameter(rule, "event")
            _check_rule(rule, f"event {name}", **({"event": ""} if takes_event else {}))
            if (namespace, name) in self._events:
                raise ConfigError(f"event {name} already has a rule; combine both in one")
            bound = BoundRule(f"event {name}", rule, max_auth_age=max_auth_age)
            self._events[namespace, name] = _EventRule(bound, takes_event)
            self.changes += 1
            return rule

        return add

    def room(self, pattern: str, *, namespace: str | None = None) -> Callable[[RuleT], RuleT]:
        """Decorate a rule for joining rooms. If several rules match a room, one that allows is enough.

        Args:
            pattern: one of three forms:

                - the name of a room: ``rule(who)``;
                - a name with fields, such as ``team:{team}``: ``rule(who, team)``. A field matches one or more
                  characters except ``:`` and ``/``. Two fields must have ``:`` or ``/`` between them.
                - ``*`` for all rooms: ``rule(who, room)``.

                If a rule has a parameter ``room``, it gets the name of the room. Only a pattern that begins with
                ``user:`` matches a user's own room.
            namespace: the namespace that the rule is for. Default: all namespaces.

        Raises:
            ConfigError: an invalid pattern, or a rule with other parameters.
        """
        return self._rule_for_rooms(self._rooms, "room", pattern, namespace, None)

    def emit(self, pattern: str, *, event: str | None = None, namespace: str | None = None) -> Callable[[RuleT], RuleT]:
        """Decorate a rule for emits of clients to rooms through the server. One rule that allows is enough.

        Args:
            pattern: the rooms, as for :meth:`room`.
            event: the event that the rule is for. Default: all events. If the rule has a parameter ``event``, it gets
                the event's name.
            namespace: the namespace that the rule is for. Default: all namespaces.

        Raises:
            ConfigError: an invalid pattern, or an event that clients cannot send.
        """
        if event is not None:
            check_event(event)
        return self._rule_for_rooms(self._emits, "emit", pattern, namespace, event)

    def presence(self, pattern: str, *, namespace: str | None = None) -> Callable[[RuleT], RuleT]:
        """Decorate a rule that lets clients in a room ask who else is in it. One rule that allows is enough.

        Without a matching rule, no client can ask. To serve these questions, call
        :meth:`roomkey.hub.Hub.serve_members`.

        Args:
            pattern: the rooms, as for :meth:`room`.
            namespace: the namespace that the rule is for. Default: all namespaces.

        Raises:
            ConfigError: an invalid pattern, or a rule with other parameters.
        """
        return self._rule_for_rooms(self._presence, "presence", pattern, namespace, None)

    def _rule_for_rooms(
        self, rules: list[_RoomRule], kind: str, pattern: str, namespace: str | None, event: str | None
    ) -> Callable[[RuleT], RuleT]:
        if not isinstance(pattern, str):
            raise ConfigError(f'a rule requires a pattern, such as @policy.{kind}("team:{{team}}")')
        _check_namespace(namespace)
        match = None if pattern == "*" else _compile(pattern)
        fields = tuple(match.groupindex) if match is not None else ()

        def add(rule: RuleT) -> RuleT:
            arguments = ("room",) if match is None else ()
            extras = tuple(name for name in _EXTRAS if name not in (*arguments, *fields) and _has_parameter(rule, name))
            _check_rule(rule, f"{kind} {pattern}", *arguments, **dict.fromkeys((*fields, *extras), ""))
            rules.append(_RoomRule(pattern, namespace, match, rule, extras, event))
            return rule

        return add

    def written_rules(self) -> Iterator[WrittenRule]:
        """Yield what each rule is about, for tools that inspect a policy."""
        for name in self._namespaces:
            yield WrittenRule("namespace", name, name)
        for namespace, event in self._events:
            yield WrittenRule("event", event, namespace)
        for kind, rules in (("room", self._rooms), ("emit", self._emits), ("presence", self._presence)):
            for rule in rules:
                yield WrittenRule(kind, rule.pattern, rule.namespace, rule.event)

    def rules_for_namespace(self, namespace: str) -> RuleSet:
        """Return the rules for connecting to a namespace."""
        rule = self._namespaces.get(namespace)
        return RuleSet((rule,)) if rule is not None else OPEN if self.open_namespaces else CLOSED

    def rules_for_event(self, event: str, namespace: str) -> RuleSet:
        """Return the rules for sending an event; :data:`OPEN` itself if all clients can send it."""
        if not self._events:
            return OPEN if self._open_events else CLOSED
        rules = self._event_rules(event, namespace) or self._event_rules(ANY_EVENT, namespace)
        bound = tuple(rule.bind(event) for rule in rules)
        return RuleSet(bound, require_all=True) if bound else OPEN if self._open_events else CLOSED

    def _event_rules(self, name: str, namespace: str) -> list[_EventRule]:
        return [self._events[key] for key in ((namespace, name), (None, name)) if key in self._events]

    def rules_for_room(self, room: object, namespace: str) -> RuleSet:
        """Return the rules for joining a room."""
        if not is_room_name(room):
            return CLOSED
        return RuleSet(tuple(self._matching(self._rooms, "room", str(room), namespace, None)))

    def has_room_rules(self, namespace: str) -> bool:
        """Return True if the policy has rules for the rooms of a namespace."""
        return any(rule.namespace in (None, namespace) for rule in self._rooms)

    def rules_for_emit(self, room: object, event: str, namespace: str) -> RuleSet:
        """Return the rules for a client's emit to a room that it is in."""
        if not is_room_name(room):
            return CLOSED
        rules = tuple(self._matching(self._emits, "emit", str(room), namespace, event))
        return RuleSet(rules, default=self.open_emits and not rules)

    def rules_for_presence(self, room: object, namespace: str) -> RuleSet:
        """Return the rules for asking who is in a room."""
        if not is_room_name(room):
            return CLOSED
        return RuleSet(tuple(self._matching(self._presence, "presence", str(room), namespace, None)))

    def expand_roles(self, who: Identity) -> Identity:
        """Return the identity with the roles that its roles include."""
        return replace(who, roles=self.roles.expand(who.roles)) if self.roles.includes else who

    @staticmethod
    def _matching(
        rules: list[_RoomRule], kind: str, room: str, namespace: str, event: str | None
    ) -> Iterator[BoundRule]:
        extras = {"room": room, "event": event or ""}
        for rule in rules:
            if rule.namespace not in (None, namespace) or rule.event not in (None, event):
                continue
            if room.startswith(OWN_ROOM) and not rule.pattern.startswith(OWN_ROOM):
                continue  # "{kind}:{name}" was not written for users' own rooms
            named = tuple((name, extras[name]) for name in rule.extras)
            if rule.match is None:
                yield BoundRule(f"{kind} {rule.pattern}", rule.rule, (room,), named)
            elif found := rule.match.fullmatch(room):
                yield BoundRule(f"{kind} {rule.pattern}", rule.rule, (), (*found.groupdict().items(), *named))


def _check_rule(rule: Rule, about: str, *arguments: str, **fields: str) -> None:
    """Check the parameters of a rule when it is registered, and not at the first join."""
    if not accepts(rule, object(), *arguments, **fields):
        written = ", ".join(("who", *arguments, *fields))
        raise ConfigError(f"the rule for {about} has the wrong parameters; define it as rule({written})")


def _check_namespace(name: str | None) -> None:
    """Reject a namespace that clients cannot connect to: its rule would have no effect."""
    if name is not None and not is_namespace_name(name):
        raise ConfigError(f"invalid namespace {name!r}; begin it with '/', and do not use ',' or '?'")


def _has_parameter(rule: Rule, name: str) -> bool:
    try:
        parameter = inspect.signature(rule).parameters.get(name)
    except (TypeError, ValueError):  # some builtins have no signature
        return False
    return parameter is not None and parameter.kind is not parameter.POSITIONAL_ONLY


def _compile(pattern: str) -> re.Pattern[str]:
    """Compile a name with fields to a pattern for whole names."""
    parts = _FIELD.split(pattern)
    literal = "".join(parts[::2])
    if not pattern or "{" in literal or "}" in literal or "*" in literal:
        raise ConfigError(f"room pattern {pattern!r}: use a name, fields such as 'team:{{team}}', or '*' alone")
    if len(set(parts[1::2])) != len(parts[1::2]):
        raise ConfigError(f"room pattern {pattern!r}: two fields have the same name; rename one")
    if any(":" not in between and "/" not in between for between in parts[2:-1:2]):
        raise ConfigError(f"room pattern {pattern!r}: two fields have no separator; put ':' or '/' between them")
    if not is_room_name(_FIELD.sub("x", pattern)) or (len(parts) == 1 and looks_like_sid(pattern)):
        raise ConfigError(f"room pattern {pattern!r}: no room can have such a name; use another name")
    written = (f"(?P<{part}>[^:/]+)" if index % 2 else re.escape(part) for index, part in enumerate(parts))
    return re.compile("".join(written))
