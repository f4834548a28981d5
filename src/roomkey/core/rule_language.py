"""Rules as text: ``role:admin or claim:rooms has team and not guest``.

::

    rule      = both { "or" both }
    both      = one { "and" one }
    one       = "not" one | "(" rule ")" | condition
    condition = "everyone" | "nobody" | "guest" | "granted"
              | "role:" NAME | "scope:" NAME
              | "claim:" NAME [ ("is" | "has") value ]
              | "sub" "is" value | FIELD "is" value
    value     = FIELD | "sub" | QUOTED | NUMBER | "true" | "false"

A NAME runs to the next white space, parenthesis or quote, or is QUOTED; a QUOTED text stands in ``"`` or ``'`` and has
no escapes; a FIELD is one of the pattern's. The language is total: a rule that compiles answers every identity with
True or False, whatever its claims are, in time proportional to the rule and the claims it names. What is of another
type is not equal: 1 is not true, "1" is not 1, and only a list has something.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from math import isfinite
from typing import Literal, NamedTuple

from roomkey.core.identity import Identity
from roomkey.errors import ConfigError

MAX_TEXT = 1000  # characters
MAX_DEPTH = 50  # parentheses and ``not`` inside each other

About = Literal["namespace", "room", "emit", "event"]


class RuleError(ConfigError):
    """A rule that cannot be read.

    Args:
        text: what was expected.
        offset: where, in characters from the rule's beginning.
    """

    def __init__(self, text: str, offset: int) -> None:
        super().__init__(text)
        self.offset = offset


class _Asked(NamedTuple):
    """What a rule is asked about."""

    who: Identity
    room: str
    event: str
    fields: Mapping[str, str]


_Check = Callable[[_Asked], bool]
_Value = Callable[[_Asked], object]


@dataclass(frozen=True, slots=True)
class DeclaredRule:
    """A rule to register with a :class:`roomkey.Policy`; made by :func:`compile_rule`.

    Attributes:
        text: as it was written.
    """

    text: str
    _check: _Check = field(repr=False, compare=False)

    def __call__(self, who: Identity, /, *star: str, room: str = "", event: str = "", **fields: str) -> bool:
        """True if the rule allows. It never raises.

        Args:
            who: the identity.
            star: the room, as a rule for ``*`` gets it.
            room: the room, as other rules get it.
            event: what is emitted to it.
            fields: what the pattern matched.
        """
        return self._check(_Asked(who, star[0] if star else room, event, fields))


_CONSTANTS: dict[str, _Check] = {
    "everyone": lambda asked: True,
    "nobody": lambda asked: False,
    "guest": lambda asked: asked.who.is_guest,
}
_GRANTED: dict[str, _Check] = {
    "room": lambda asked: asked.who.grants(asked.room),
    "emit": lambda asked: asked.who.grants(asked.room, asked.event),
}
_LITERALS: dict[str, bool] = {"true": True, "false": False}
_PREFIXES = ("role:", "scope:", "claim:")
_CONDITIONS = (*_CONSTANTS, "granted", "sub is …", *(f"{prefix}…" for prefix in _PREFIXES))

RESERVED = frozenset(
    {*_CONSTANTS, "granted", "sub", "role", "scope", "claim", "room", "event"}
    | {*_LITERALS, "or", "and", "not", "is", "has"}
)
"""Words that mean something in a rule, so that no field of a pattern may be named so."""


def compile_rule(text: str, fields: Collection[str] = (), about: About = "room") -> DeclaredRule:
    """Read a rule.

    Args:
        text: the rule, at most 1000 characters.
        fields: the fields of the pattern that it belongs to.
        about: what it decides. ``granted`` asks the token whether it may join a room or emit to it, and has no meaning
            elsewhere.

    Raises:
        RuleError: the text cannot be read; it says where and what was expected.
        ConfigError: a field is named like a word of the language.
    """
    taken = sorted(RESERVED.intersection(fields))
    if taken:
        raise ConfigError(f"a field named {taken[0]!r} cannot be told from the word of the rules; name it otherwise")
    if len(text) > MAX_TEXT:
        raise RuleError(f"a rule has at most {MAX_TEXT} characters; this one has {len(text)}", MAX_TEXT)
    return DeclaredRule(text, _Parser(text, tuple(fields), about).whole())


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The known word that is nearest to a mistyped one, or an empty string."""
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
    """The words of a rule; every text has some, and the last is the end."""
    found: list[_Token] = []
    for match in _TOKEN.finditer(text):
        kind = str(match.lastgroup)
        token = _Token(kind, match[kind], match.start(kind))
        if kind == "unclosed":
            raise RuleError(f"expected a closing {token.text} for this one", token.offset)
        found.append(token)
        if kind == "end":
            break
    return found


class _Parser:
    """Recursive descent, one method for each line of the grammar."""

    def __init__(self, text: str, fields: tuple[str, ...], about: About) -> None:
        self._rest = _tokens(text)[::-1]
        self._fields = fields
        self._about = about
        self._depth = 0
        self._expects: tuple[str, ...] = ()  # words that could have followed what was read last

    def whole(self) -> _Check:
        check = self._rule()
        if self._next.kind != "end":
            raise self._unexpected("'and', 'or' or the end", ("and", "or", *self._expects))
        return check

    @property
    def _next(self) -> _Token:
        return self._rest[-1]

    def _takes(self, word: str) -> bool:
        """Go past a word if it comes next."""
        if self._next.text != word:
            return False
        self._rest.pop()
        return True

    def _rule(self) -> _Check:
        checks = [self._both()]
        while self._takes("or"):
            checks.append(self._both())
        return checks[0] if len(checks) == 1 else lambda asked: any(check(asked) for check in checks)

    def _both(self) -> _Check:
        checks = [self._one()]
        while self._takes("and"):
            checks.append(self._one())
        return checks[0] if len(checks) == 1 else lambda asked: all(check(asked) for check in checks)

    def _one(self) -> _Check:
        start = self._next
        if start.text not in ("not", "("):
            return self._condition()
        self._rest.pop()
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise RuleError(f"parentheses and 'not' stand at most {MAX_DEPTH} deep", start.offset)
        check = self._negated() if start.text == "not" else self._in_parentheses(start)
        self._depth -= 1
        return check

    def _negated(self) -> _Check:
        check = self._one()
        return lambda asked: not check(asked)

    def _in_parentheses(self, start: _Token) -> _Check:
        check = self._rule()
        if not self._takes(")"):
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
        if self._about not in _GRANTED:
            raise RuleError(f"'granted' asks about a room, and {_an(self._about)} is none", token.offset)
        return _GRANTED[self._about]

    def _named(self) -> _Check:
        token = self._rest.pop()
        prefix, _, name = token.text.partition(":")
        if name[:1] in ('"', "'"):
            name = name[1:-1]
        if not name:
            raise RuleError(f"expected a name after '{prefix}:'", token.offset + len(prefix) + 1)
        if prefix == "role":
            return lambda asked: asked.who.has_role(name)
        if prefix == "scope":
            return lambda asked: asked.who.has_scope(name)
        return self._claim(name)

    def _claim(self, name: str) -> _Check:
        if self._takes("is"):
            value = self._value("is")
            return lambda asked: _equal(asked.who.claim(name), value(asked))
        if self._takes("has"):
            value = self._value("has")
            return lambda asked: _has(asked.who.claim(name), value(asked))
        self._expects = ("is", "has")
        return lambda asked: asked.who.claim(name) is True

    def _text_is(self) -> _Check:
        left = self._rest.pop()
        if not self._takes("is"):
            raise self._unexpected(f"'is' after {left.text!r}", ("is",))
        token = self._next
        text, value = self._text(left.text), self._value("is")
        if token.kind == "word" and (token.text in _LITERALS or _NUMBER.fullmatch(token.text)):
            raise RuleError(f'{left.text} is text, which {token.text} never is; write "{token.text}"', token.offset)
        return lambda asked: _equal(text(asked), value(asked))

    def _text(self, name: str) -> _Value:
        """The value of a field, or the subject; somebody without a subject has none that could be equal to another."""
        if name == "sub":
            return lambda asked: asked.who.subject or None
        return lambda asked: asked.fields.get(name)

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
                raise RuleError(f"{_shown(token.text)} is too large a number", token.offset)
            return self._constant(number)
        if token.kind in ("end", "mark") or token.text in ("and", "or", "not"):
            raise self._unexpected(f"a value after '{after}', such as {(*self._fields, 'sub')[0]} or \"red\"", ())
        raise self._no_value(token)

    def _constant(self, value: object) -> _Value:
        self._rest.pop()
        return lambda asked: value

    def _no_value(self, token: _Token) -> RuleError:
        known = ("sub", *self._fields)
        near = did_you_mean(token.text, (*known, *_LITERALS))
        fields = f"the fields are {', '.join(self._fields)}" if self._fields else "there are no fields here"
        hint = f"did you mean {near}?" if near else fields
        quoted = json.dumps(_cut(token.text), ensure_ascii=False)
        return RuleError(f"{_shown(token.text)} is no value: quote it if it is text ({quoted}); {hint}", token.offset)

    def _unexpected(self, expected: str, known: Iterable[str]) -> RuleError:
        token = self._next
        if token.kind == "end":
            return RuleError(f"expected {expected}", token.offset)
        word, colon, _ = token.text.partition(":")
        near = did_you_mean(word + colon, known)
        hint = f"; did you mean {near}?" if near else ""
        return RuleError(f"expected {expected}, not {_shown(token.text)}{hint}", token.offset)


_KINDS: dict[type, str] = {bool: "truth", int: "number", float: "number", str: "text"}


def _equal(left: object, right: object) -> bool:
    """Equal as JSON has it: the same kind, and the same value."""
    kind = _KINDS.get(type(left))
    return kind is not None and kind == _KINDS.get(type(right)) and left == right


def _has(claim: object, value: object) -> bool:
    return isinstance(claim, list) and any(_equal(item, value) for item in claim)


def _an(about: str) -> str:
    return f"an {about}" if about[0] in "aeiou" else f"a {about}"


def _cut(text: str) -> str:
    return text if len(text) <= 40 else text[:39] + "…"


def _shown(text: str) -> str:
    return repr(_cut(text))
