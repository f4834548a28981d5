"""The language for rules in text: ``role:admin or claim:rooms has team and not guest``.

::

    rule      = and_expr { "or" and_expr }
    and_expr  = term { "and" term }
    term      = "not" term | "(" rule ")" | condition
    condition = "everyone" | "nobody" | "guest" | "granted"
              | "role:" NAME | "scope:" NAME
              | "claim:" NAME [ ("is" | "has") value ]
              | "sub" "is" value | FIELD "is" value
    value     = FIELD | "sub" | QUOTED | NUMBER | "true" | "false"

A NAME ends at the next white space, parenthesis or quote, or is QUOTED. A QUOTED text is in ``"`` or ``'``, without
escapes. A FIELD is a field of the pattern. The language is total: for each identity, whatever its claims, a compiled
rule returns True or False, in time proportional to the rule and the claims that it names. Values of different types are
not equal: 1 does not equal true or "1". Only lists can contain values.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from math import isfinite
from typing import NamedTuple

from roomkey.core.identity import Identity
from roomkey.core.policy import RuleKind
from roomkey.errors import ConfigError

MAX_TEXT = 1000  # characters
MAX_DEPTH = 50  # nested parentheses and ``not``


class RuleError(ConfigError):
    """Raised for an invalid rule.

    Args:
        text: what was expected.
        offset: the position of the mistake, in characters from the start of the rule.
    """

    def __init__(self, text: str, offset: int) -> None:
        super().__init__(text)
        self.offset = offset


class _Arguments(NamedTuple):
    """The arguments of a rule."""

    who: Identity
    room: str
    event: str
    fields: Mapping[str, str]


_Check = Callable[[_Arguments], bool]
_Value = Callable[[_Arguments], object]


@dataclass(frozen=True, slots=True)
class DeclaredRule:
    """A rule to register with a :class:`roomkey.Policy`, created by :func:`compile_rule`.

    Attributes:
        text: the text of the rule.
    """

    text: str
    _check: _Check = field(repr=False, compare=False)

    def __call__(self, who: Identity, /, *star: str, room: str = "", event: str = "", **fields: str) -> bool:
        """Return True if the rule allows. It never raises an exception.

        Args:
            who: the identity.
            star: the room, as the argument of a rule for ``*``.
            room: the room, as the argument of other rules.
            event: the event to emit to the room.
            fields: the fields of the pattern.
        """
        return self._check(_Arguments(who, star[0] if star else room, event, fields))


_CONSTANTS: dict[str, _Check] = {
    "everyone": lambda args: True,
    "nobody": lambda args: False,
    "guest": lambda args: args.who.is_guest,
}
_GRANTED: dict[str, _Check] = {
    "room": lambda args: args.who.grants(args.room),
    "emit": lambda args: args.who.grants(args.room, args.event),
    "presence": lambda args: args.who.grants(args.room),
}
_LITERALS: dict[str, bool] = {"true": True, "false": False}
_PREFIXES = ("role:", "scope:", "claim:")
_CONDITIONS = (*_CONSTANTS, "granted", "sub is …", *(f"{prefix}…" for prefix in _PREFIXES))

RESERVED = frozenset(
    {*_CONSTANTS, "granted", "sub", "role", "scope", "claim", "room", "event"}
    | {*_LITERALS, "or", "and", "not", "is", "has"}
)
"""The words of the language, which a field of a pattern cannot have as its name."""


def compile_rule(text: str, fields: Collection[str] = (), kind: RuleKind = "room") -> DeclaredRule:
    """Compile a rule.

    Args:
        text: the rule, at most 1000 characters.
        fields: the fields of the rule's pattern.
        kind: the kind of the rule. The condition ``granted`` is only valid for rooms, emits and presence.

    Raises:
        RuleError: the text is not a valid rule; the error has the position and what was expected.
        ConfigError: a field has the name of a word of the language.
    """
    taken = sorted(RESERVED.intersection(fields))
    if taken:
        raise ConfigError(f"a field named {taken[0]!r} conflicts with a word of the rule language; rename the field")
    if len(text) > MAX_TEXT:
        raise RuleError(f"this rule has {len(text)} characters; use at most {MAX_TEXT}", MAX_TEXT)
    return DeclaredRule(text, _Parser(text, tuple(fields), kind).whole())


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return the known word that is most similar to a mistyped one, or an empty string."""
    return next(iter(difflib.get_close_matches(word.lower(), tuple(known), 1)), "")


class _Token(NamedTuple):
    kind: str
    text: str
    offset: int


_TOKEN = re.compile(
    r"""\s*(?:
      (?P<mark>[()])
    | (?P<named>(?:role|scope|claim):(?:"[^"]*"|'[^']*'|[^\s()"']*))
    | (?P<quoted>"[^"]*"|'[^']*')
    | (?P<unclosed>["'])
    | (?P<word>[^\s()"']+)
    | (?P<end>\Z)
    )""",
    re.VERBOSE,
)
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?")


def _tokens(text: str) -> list[_Token]:
    """Return the tokens of a rule; the last one is always the end."""
    found: list[_Token] = []
    for match in _TOKEN.finditer(text):
        kind = str(match.lastgroup)
        token = _Token(kind, match[kind], match.start(kind))
        if kind == "unclosed":
            raise RuleError(f"expected a closing {token.text} for this quote", token.offset)
        found.append(token)
        if kind == "end":
            break
    return found


class _Parser:
    """A recursive descent parser with one method for each line of the grammar."""

    def __init__(self, text: str, fields: tuple[str, ...], kind: RuleKind) -> None:
        self._rest = _tokens(text)[::-1]
        self._fields = fields
        self._kind = kind
        self._depth = 0
        self._expects: tuple[str, ...] = ()  # words that could have followed the last token

    def whole(self) -> _Check:
        check = self._or_expression()
        if self._next.kind != "end":
            raise self._unexpected("'and', 'or' or the end", ("and", "or", *self._expects))
        return check

    @property
    def _next(self) -> _Token:
        return self._rest[-1]

    def _skip(self, word: str) -> bool:
        """Skip a word if it is next; return whether it was."""
        if self._next.text != word:
            return False
        self._rest.pop()
        return True

    def _or_expression(self) -> _Check:
        checks = [self._and_expression()]
        while self._skip("or"):
            checks.append(self._and_expression())
        return checks[0] if len(checks) == 1 else lambda args: any(check(args) for check in checks)

    def _and_expression(self) -> _Check:
        checks = [self._term()]
        while self._skip("and"):
            checks.append(self._term())
        return checks[0] if len(checks) == 1 else lambda args: all(check(args) for check in checks)

    def _term(self) -> _Check:
        start = self._next
        if start.text not in ("not", "("):
            return self._condition()
        self._rest.pop()
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise RuleError(f"more than {MAX_DEPTH} nested parentheses and 'not'", start.offset)
        check = self._negated() if start.text == "not" else self._in_parentheses(start)
        self._depth -= 1
        return check

    def _negated(self) -> _Check:
        check = self._term()
        return lambda args: not check(args)

    def _in_parentheses(self, start: _Token) -> _Check:
        check = self._or_expression()
        if not self._skip(")"):
            raise self._unexpected(
                f"'and', 'or' or the ')' for the '(' at character {start.offset + 1}", ("and", "or", *self._expects)
            )
        self._expects = ()
        return check

    def _condition(self) -> _Check:
        token = self._next
        self._expects = ()
        if token.kind == "named":
            return self._named()
        if token.kind == "word" and token.text in _CONSTANTS:
            self._rest.pop()
            return _CONSTANTS[token.text]
        if token.kind == "word" and token.text == "granted":
            return self._granted()
        if token.kind == "word" and token.text in ("sub", *self._fields):
            return self._text_is()
        raise self._unexpected(
            f"a condition ({', '.join((*_CONDITIONS, *(f'{name} is …' for name in self._fields)))})",
            (*_CONSTANTS, "granted", "sub", "not", *_PREFIXES, *self._fields),
        )

    def _granted(self) -> _Check:
        token = self._rest.pop()
        if self._kind not in _GRANTED:
            raise RuleError(f"'granted' is about rooms; it is not valid for {_an(self._kind)}", token.offset)
        return _GRANTED[self._kind]

    def _named(self) -> _Check:
        token = self._rest.pop()
        prefix, _, name = token.text.partition(":")
        if name[:1] in ('"', "'"):
            name = name[1:-1]
        if not name:
            raise RuleError(f"expected a name after '{prefix}:'", token.offset + len(prefix) + 1)
        if prefix == "role":
            return lambda args: args.who.has_role(name)
        if prefix == "scope":
            return lambda args: args.who.has_scope(name)
        return self._claim(name)

    def _claim(self, name: str) -> _Check:
        if self._skip("is"):
            value = self._value("is")
            return lambda args: _equal(args.who.claim(name), value(args))
        if self._skip("has"):
            value = self._value("has")
            return lambda args: _has(args.who.claim(name), value(args))
        self._expects = ("is", "has")
        return lambda args: args.who.claim(name) is True

    def _text_is(self) -> _Check:
        left = self._rest.pop()
        if not self._skip("is"):
            raise self._unexpected(f"'is' after {left.text!r}", ("is",))
        token = self._next
        text, value = self._text(left.text), self._value("is")
        if token.kind == "word" and (token.text in _LITERALS or _NUMBER.fullmatch(token.text)):
            raise RuleError(f'{left.text} is text and never equals {token.text}; write "{token.text}"', token.offset)
        return lambda args: _equal(text(args), value(args))

    def _text(self, name: str) -> _Value:
        """Return the value of a field or the subject. A missing subject is None, so that it equals nothing."""
        if name == "sub":
            return lambda args: args.who.subject or None
        return lambda args: args.fields.get(name)

    def _value(self, after: str) -> _Value:
        token = self._next
        if token.kind == "quoted":
            return self._constant(token.text[1:-1])
        if token.kind == "word" and token.text in ("sub", *self._fields):
            self._rest.pop()
            return self._text(token.text)
        if token.kind == "word" and token.text in _LITERALS:
            return self._constant(_LITERALS[token.text])
        if token.kind == "word" and _NUMBER.fullmatch(token.text):
            number = json.loads(token.text)
            if isinstance(number, float) and not isfinite(number):
                raise RuleError(f"the number {_quoted(token.text)} is too large", token.offset)
            return self._constant(number)
        if token.kind in ("end", "mark") or token.text in ("and", "or", "not"):
            raise self._unexpected(f"a value after '{after}', such as {(*self._fields, 'sub')[0]} or \"red\"", ())
        raise self._no_value(token)

    def _constant(self, value: object) -> _Value:
        self._rest.pop()
        return lambda args: value

    def _no_value(self, token: _Token) -> RuleError:
        known = ("sub", *self._fields)
        near = did_you_mean(token.text, (*known, *_LITERALS))
        fields = f"the fields are {', '.join(self._fields)}" if self._fields else "there are no fields here"
        hint = f"did you mean {near}?" if near else fields
        quoted = json.dumps(_cut(token.text), ensure_ascii=False)
        return RuleError(
            f"{_quoted(token.text)} is not a value: quote it if it is text ({quoted}); {hint}", token.offset
        )

    def _unexpected(self, expected: str, known: Iterable[str]) -> RuleError:
        token = self._next
        if token.kind == "end":
            return RuleError(f"expected {expected}", token.offset)
        word, colon, _ = token.text.partition(":")
        near = did_you_mean(word + colon, known)
        hint = f"; did you mean {near}?" if near else ""
        return RuleError(f"expected {expected}, not {_quoted(token.text)}{hint}", token.offset)


_JSON_TYPES: dict[type, str] = {bool: "boolean", int: "number", float: "number", str: "string"}


def _equal(left: object, right: object) -> bool:
    """Return True for JSON values of the same type and value."""
    kind = _JSON_TYPES.get(type(left))
    return kind is not None and kind == _JSON_TYPES.get(type(right)) and left == right


def _has(claim: object, value: object) -> bool:
    return isinstance(claim, list) and any(_equal(item, value) for item in claim)


def _an(word: str) -> str:
    return f"an {word}" if word[0] in "aeiou" else f"a {word}"


def _cut(text: str) -> str:
    return text if len(text) <= 40 else text[:39] + "…"


def _quoted(text: str) -> str:
    return repr(_cut(text))
