"""The policy that ``roomkey.toml`` declares, with mistakes named by line and column."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import pairwise
from math import inf
from pathlib import Path
from string import Formatter
from typing import Any, NamedTuple

from roomkey import Policy
from roomkey.core.policy import is_namespace_name, is_room_name
from roomkey.core.rule_language import About, RuleError, compile_rule, did_you_mean
from roomkey.errors import ConfigError
from roomkey.server.config_file import POLICY_KEYS, ConfigFile, read_config

__all__ = ["load_policy"]


def load_policy(file: ConfigFile | None = None) -> Policy | None:
    """Return the policy that a configuration file declares.

    Args:
        file: the configuration file. By default, it is read from the current folder. Keys that are not about the
            policy are ignored.

    Returns:
        The policy, or None if the file has none of ``roles``, ``[[namespace]]``, ``[[room]]``, ``[[emit]]`` and
        ``[[event]]``.

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
    """A kind of table: the key that says what its rule is about, and those that may be left out."""

    subject: str
    optional: tuple[str, ...] = ()


class _Takes(NamedTuple):
    """What a key takes, in words and as a test."""

    words: str
    accepts: Callable[[object], bool]


def _is_text(value: object) -> bool:
    return isinstance(value, str) and value != ""


def _is_seconds(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < inf


# A rule about a name that nothing can have would never be asked; where none is, events and emits are open.
_KEYS = {
    "name": _Takes("a name", _is_text),
    "pattern": _Takes('the pattern of rooms, such as "team:{team}"', is_room_name),
    "allow": _Takes('a rule, such as "role:admin"', lambda value: isinstance(value, str)),
    "event": _Takes("the name of an event", _is_text),
    "namespace": _Takes('a namespace, such as "/chat"', is_namespace_name),
    "max_auth_age": _Takes("a number of seconds above 0", _is_seconds),
}
_TABLES: dict[About, _Table] = {
    "namespace": _Table("name"),
    "room": _Table("pattern", ("namespace",)),
    "emit": _Table("pattern", ("event", "namespace")),
    "event": _Table("name", ("max_auth_age", "namespace")),
}


class _Section:
    """The lines of one table, to say where in it a mistake is.

    Args:
        where: the file's name.
        title: what stands for the position when there are no lines.
        first: the number of the first line, from 1.
        lines: the table's header and its keys; none if it was not found.
    """

    def __init__(self, where: str, title: str, first: int, lines: list[str]) -> None:
        self._where, self._title, self._first, self._lines = where, title, first, lines

    def error(self, text: str, key: str = "", *, at_value: bool = False) -> ConfigError:
        """A mistake at a key, or at its value; at the table's header if the key is not found."""
        if not self._lines:
            return ConfigError(f"{self._where}: {self._title}{text}")
        line, match = self._find(key)
        column = 0 if match is None else match.end() if at_value else match.start("key")
        return ConfigError(f"{self._where}:{self._first + line}:{column + 1}: {text}")

    def rule_error(self, error: RuleError, key: str, rule: str) -> ConfigError:
        """A mistake inside a rule: by column where the rule stands on one line as it is, else by character."""
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
    """A TOML document's lines by table; tomllib reads no positions."""

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
        """The first table of a kind, or what stands before all tables."""
        return self._sections.get(kind, [self.top])[0]

    def sections(self, kind: str, count: int) -> list[_Section]:
        """The tables of a kind in their order; without lines if as many as there are cannot be found."""
        found = self._sections.get(kind, [])
        if len(found) == count:
            return found
        return [_Section(self._where, f"[[{kind}]] number {number}: ", 0, []) for number in range(1, count + 1)]


def _with_roles(roles: object, top: _Section) -> Policy:
    try:
        if not isinstance(roles, list):
            raise ConfigError('roles takes a list, such as ["admin > moderator > member"]')
        return Policy(roles=roles)
    except ConfigError as error:
        raise top.error(str(error), "roles", at_value=True) from None


def _check_keys(kind: About, table: _Table, entry: dict[str, Any], section: _Section) -> None:
    """Every key is known and has a value that it can take, and those that must be there are."""
    known = (table.subject, "allow", *table.optional)
    for key, value in entry.items():
        if key not in known:
            near = did_you_mean(key, known)
            hint = f"did you mean {near}?" if near else f"its keys are {', '.join(known)}"
            raise section.error(f"[[{kind}]] has no key {key!r}; {hint}", key)
        if not _KEYS[key].accepts(value):
            raise section.error(f"{key} takes {_KEYS[key].words}", key, at_value=True)
    for key in known[:2]:
        if key not in entry:
            raise section.error(f"[[{kind}]] needs {key}, {_KEYS[key].words}")


def _add_rule(policy: Policy, kind: About, table: _Table, entry: dict[str, Any], section: _Section) -> None:
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
