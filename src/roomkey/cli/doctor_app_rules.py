"""``roomkey doctor --app``: rules that cannot do what was meant, and rooms that the application joins itself."""

from __future__ import annotations

import ast
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from roomkey.cli.doctor_app_guard import Inspected
from roomkey.core.names import ANY_EVENT
from roomkey.core.policy import Policy, WrittenRule

__all__ = ["join_findings", "rule_findings"]

Finding = tuple[str, str]

JOINS = ("enter_room", "join_room")
GUARDS = ("guard", "roomkey")
"""Names of objects whose ``enter_room`` always asks the policy."""


def rule_findings(inspected: Inspected) -> Iterator[Finding]:
    """Check each rule of the policy against the server's namespaces and handlers."""
    rules = list(inspected.guard.policy.written_rules())
    for rule in rules:
        if rule.namespace is not None and not _knows(inspected, rule.namespace):
            yield (
                "warn",
                f"the rule for {rule} never applies: clients cannot connect to {rule.namespace}; register a handler "
                "there, or correct the name",
            )
        elif rule.kind == "event" and rule.name != ANY_EVENT and not _is_handled(inspected, rule.name, rule.namespace):
            yield (
                "warn",
                f"the rule for {rule} never applies: no handler is registered for the event; register one, or correct "
                "the name",
            )
    yield from _overlaps(rules)


def _overlaps(rules: list[WrittenRule]) -> Iterator[Finding]:
    """Find rules about rooms that cannot deny, because another rule decides about the same rooms."""
    for rule, times in Counter(rules).items():
        if times > 1:
            yield "warn", f"{times} rules for {rule}: one that allows is enough; combine them in one"
    about_rooms = [rule for rule in dict.fromkeys(rules) if rule.kind in ("room", "emit")]
    for rule in about_rooms:
        wider = [other for other in about_rooms if other is not rule and _includes(other, rule)]
        if wider:
            yield (
                "warn",
                f"the rule for {rule} cannot deny alone: the rule for {wider[0]} is about the same rooms, and one that "
                "allows is enough",
            )


def _includes(wide: WrittenRule, narrow: WrittenRule) -> bool:
    """Return True if a rule is about each room that another rule is about."""
    if wide.kind != narrow.kind or wide.namespace not in (None, narrow.namespace):
        return False
    if wide.event not in (None, narrow.event) or narrow.name == "*":
        return False
    if narrow.name.startswith("user:") and not wide.name.startswith("user:"):
        return False
    policy = Policy()
    (policy.room if wide.kind == "room" else policy.emit)(wide.name)(lambda who, room="", **fields: True)
    example = narrow.name.replace("{", "x").replace("}", "x")
    same_form = wide.name != "*" and "{" not in wide.name
    return (
        wide.name != narrow.name
        and not same_form
        and bool(
            policy.rules_for_room(example, "/").rules
            if wide.kind == "room"
            else policy.rules_for_emit(example, "x", "/").rules
        )
    )


def _knows(inspected: Inspected, namespace: str) -> bool:
    server = inspected.server
    if inspected.is_hub:
        return bool(server.handlers.knows(namespace))
    names = server.namespaces or ()
    known = {*server.handlers, *server.namespace_handlers, *(names if names != "*" else ())}
    return namespace in known or names == "*" or "*" in known


def _is_handled(inspected: Inspected, event: str, namespace: str | None) -> bool:
    server = inspected.server
    if inspected.guard.handles(event):
        return True
    if inspected.is_hub:
        namespaces = [namespace] if namespace is not None else ["/", *server.handlers.namespaces()]
        return any(server.handlers.find(event, one) is not None for one in namespaces)
    wanted = (namespace, "*") if namespace is not None else (*server.handlers, *server.namespace_handlers)
    functions = [server.handlers.get(one, {}) for one in wanted]
    classes = [server.namespace_handlers[one] for one in wanted if one in server.namespace_handlers]
    return any(event in found or "*" in found for found in functions) or any(
        hasattr(one, f"on_{event}") or "trigger_event" in vars(type(one)) for one in classes
    )


# Joins


def join_findings(inspected: Inspected) -> Iterator[Finding]:
    """Find the application's own joins in its source, and say what the policy makes of them."""
    guard = inspected.guard
    obeys = guard.socket_authorizer.own_joins == "policy" and any(
        rule.kind == "room" for rule in guard.policy.written_rules()
    )
    for place, room in _own_joins(inspected.module):
        if not obeys:
            yield "ok", f"{place}: the application joins {room or 'a room'} itself, and the policy does not decide"
        elif room is not None and not _has_rule(guard.policy, room):
            yield (
                "warn",
                f"{place}: the application joins {room} itself, but no rule matches, so the join fails; add a rule, or "
                "attach the guard with own_joins='allow'",
            )
        else:
            yield "ok", f"{place}: the application joins {room or 'a room'} itself, and the policy decides"


def _has_rule(policy: Policy, room: str) -> bool:
    namespaces = {rule.namespace or "/" for rule in policy.written_rules()}
    return any(policy.rules_for_room(room, namespace).rules for namespace in namespaces)


def _own_joins(module: ModuleType) -> Iterator[tuple[str, str | None]]:
    """Yield each call of a server's ``enter_room`` in the application: its place, and the room if it is written."""
    for path in _sources(module):
        try:
            tree = ast.parse(path.read_bytes())
        except (OSError, SyntaxError, ValueError):
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and (name := _called(node.func)) is not None and not _is_guarded(node.func):
                yield f"{path.name}:{node.lineno}", _room(node, name)


def _called(function: ast.expr) -> str | None:
    name = getattr(function, "attr", getattr(function, "id", None))
    return name if name in JOINS else None


def _is_guarded(function: ast.expr) -> bool:
    owner = getattr(function, "value", None)
    return any(word in str(getattr(owner, "attr", getattr(owner, "id", ""))).lower() for word in GUARDS)


def _room(call: ast.Call, name: str) -> str | None:
    position = 0 if name == "join_room" and isinstance(call.func, ast.Name) else 1
    given: Any = next((keyword.value for keyword in call.keywords if keyword.arg == "room"), None)
    if given is None and len(call.args) > position:
        given = call.args[position]
    return given.value if isinstance(given, ast.Constant) and isinstance(given.value, str) else None


def _sources(module: ModuleType) -> list[Path]:
    """Return the files of the application: those of its folder that are imported."""
    own = Path(module.__file__ or "").resolve()
    found = {own} if module.__file__ else set()
    for other in list(sys.modules.values()):
        file = getattr(other, "__file__", None)
        if isinstance(file, str) and file.endswith(".py"):
            path = Path(file).resolve()
            if own.parent in path.parents and not {"site-packages", ".venv"} & {*path.parts}:
                found.add(path)
    return sorted(found)
