"""The policy in ``roomkey.toml``. Errors name the line and the column."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import pairwise
from math import inf
from pathlib import Path
from string import Formatter
from typing import Any, NamedTuple

from roomkey import Policy
from roomkey.core.names import is_namespace_name, is_room_name
from roomkey.core.policy import RuleKind
from roomkey.core.rule_language import RuleError, compile_rule, did_you_mean
from roomkey.errors import ConfigError
from roomkey.server.config_file import POLICY_KEYS, ConfigFile, read_config

__all__ = ["load_policy"]


def load_policy(file: ConfigFile | None = None) -> Policy | None:
    """Return the policy that a configuration file declares.

    Args:
        file: the configuration file. By default, it is read from the current folder. Keys that are not about the
            policy are ignored.

    Returns:
        The policy, or None if the file has none of ``roles``, ``[[namespace]]``, ``[[room]]``, ``[[emit]]``,
        ``[[presence]]`` and ``[[event]]``.

    Raises:
        ConfigError: the file cannot be read, or a key, a value or a rule is invalid; the text names file, line and
            column.
    """
    file = file if file is not None else read_config()
    values = file.values
    if POLICY_KEYS.isdisjoint(values):
        return None
    document = _Document(file.source, file.path)
    policy = _with_roles(values.get("roles", []), document.top)
    for kind, table in _TABLES.items():
        entries = values.get(kind, [])
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise document.first(kind).error(f"write [[{kind}]], once for every rule", kind)
        for section, entry in zip(document.sections(kind, len(entries)), entries, strict=True):
            _check_keys(kind, table, entry, section)
            _add_rule(policy, kind, table, entry, section)
    return policy


class _Table(NamedTuple):
    """A kind of table: the key that names the subject of its rule, and the optional keys."""

    subject: str
    optional: tuple[str, ...] = ()


class _Key(NamedTuple):
    """The values that a key accepts, in words and as a check."""

    words: str
    accepts: Callable[[object], bool]


def _is_text(value: object) -> bool:
    return isinstance(value, str) and value != ""


def _is_seconds(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < inf


# Impossible names are rejected: such a rule would never apply, and events and emits without a rule are allowed.
_KEYS = {
    "name": _Key("a name", _is_text),
    "pattern": _Key('the pattern of rooms, such as "team:{team}"', is_room_name),
    "allow": _Key('a rule, such as "role:admin"', lambda value: isinstance(value, str)),
    "event": _Key("the name of an event", _is_text),
    "namespace": _Key('a namespace, such as "/chat"', is_namespace_name),
    "max_auth_age": _Key("a number of seconds above 0", _is_seconds),
}
_TABLES: dict[RuleKind, _Table] = {
    "namespace": _Table("name"),
    "room": _Table("pattern", ("namespace",)),
    "emit": _Table("pattern", ("event", "namespace")),
    "presence": _Table("pattern", ("namespace",)),
    "event": _Table("name", ("max_auth_age", "namespace")),
}


class _Section:
    """The lines of one table, to locate errors.

    Args:
        where: the file's name.
        title: text that replaces the position if the lines are unknown.
        first: the number of the first line, from 1.
        lines: the table's header and its keys; empty if they were not found.
    """

    def __init__(self, where: str, title: str, first: int, lines: list[str]) -> None:
        self._where, self._title, self._first, self._lines = where, title, first, lines

    def error(self, text: str, key: str = "", *, at_value: bool = False) -> ConfigError:
        """Return an error at a key or at its value. If the key is not found, the error is at the table's header."""
        if not self._lines:
            return ConfigError(f"{self._where}: {self._title}{text}")
        line, match = self._find(key)
        column = 0 if match is None else match.end() if at_value else match.start("key")
        return ConfigError(f"{self._where}:{self._first + line}:{column + 1}: {text}")

    def rule_error(self, error: RuleError, key: str, rule: str) -> ConfigError:
        """Return an error inside a rule: at its column if the rule is written on one line, else at its character."""
        line, match = self._find(key)
        before = rule[: error.offset]
        if match is not None:
            written = self._lines[line]
            quote, begin = written[match.end() : match.end() + 1], match.end() + 1
            is_plain = written[match.end() :][:3] not in ('"""', "'''") and not (quote == '"' and "\\" in before)
            if is_plain and written.startswith(before, begin):
                column = begin + error.offset
                return ConfigError(f"{self._where}:{self._first + line}:{column + 1}: {error}")
        return self.error(f"character {error.offset + 1} of the rule: {error}", key, at_value=True)

    def _find(self, key: str) -> tuple[int, re.Match[str] | None]:
        pattern = re.compile(rf"\s*(?P<key>[\"']?{re.escape(key)}[\"']?)\s*[.=]\s*")
        for number, line in enumerate(self._lines):
            if match := pattern.match(line):
                return number, match
        return 0, None


_HEADER = re.compile(r"\s*\[\[?\s*[\"']?(?P<name>[^\"'\[\].\s]*)")


class _Document:
    """The lines of a TOML document by table, because tomllib does not return positions."""

    def __init__(self, source: str, path: Path | str) -> None:
        self._where = str(path)
        self._sections: dict[str, list[_Section]] = {}
        lines = source.split("\n")
        headers = [(number, match["name"]) for number, line in enumerate(lines) if (match := _HEADER.match(line))]
        self.top = _Section(self._where, "", 1, lines[: headers[0][0] if headers else None])
        for (start, name), (end, _) in pairwise([*headers, (len(lines), "")]):
            section = _Section(self._where, "", start + 1, lines[start:end])
            self._sections.setdefault(name, []).append(section)

    def first(self, kind: str) -> _Section:
        """Return the first table of a kind; without one, the lines before all tables."""
        return self._sections.get(kind, [self.top])[0]

    def sections(self, kind: str, count: int) -> list[_Section]:
        """Return the tables of a kind in order. If not all of them are found, they have no lines."""
        found = self._sections.get(kind, [])
        if len(found) == count:
            return found
        return [_Section(self._where, f"[[{kind}]] number {number}: ", 0, []) for number in range(1, count + 1)]


def _with_roles(roles: object, top: _Section) -> Policy:
    try:
        if not isinstance(roles, list):
            raise ConfigError('roles must be a list, such as ["admin > moderator > member"]')
        return Policy(roles=roles)
    except ConfigError as error:
        raise top.error(str(error), "roles", at_value=True) from None


def _check_keys(kind: RuleKind, table: _Table, entry: dict[str, Any], section: _Section) -> None:
    """Check that every key is known and has a valid value, and that the required keys are present."""
    known = (table.subject, "allow", *table.optional)
    for key, value in entry.items():
        if key not in known:
            near = did_you_mean(key, known)
            hint = f"did you mean {near}?" if near else f"its keys are {', '.join(known)}"
            raise section.error(f"[[{kind}]] has no key {key!r}; {hint}", key)
        if not _KEYS[key].accepts(value):
            raise section.error(f"{key} must be {_KEYS[key].words}", key, at_value=True)
    for key in known[:2]:
        if key not in entry:
            raise section.error(f"[[{kind}]] requires {key}, {_KEYS[key].words}")


def _add_rule(policy: Policy, kind: RuleKind, table: _Table, entry: dict[str, Any], section: _Section) -> None:
    subject = entry[table.subject]
    chosen = {key: entry[key] for key in table.optional if key in entry}
    try:
        register = getattr(policy, kind)(subject, **chosen)
        fields = [name for _, name, _, _ in Formatter().parse(subject) if name] if table.subject == "pattern" else ()
        register(compile_rule(entry["allow"], fields, kind))
    except RuleError as error:
        raise section.rule_error(error, "allow", entry["allow"]) from None
    except ConfigError as error:
        raise section.error(str(error), table.subject, at_value=True) from None
