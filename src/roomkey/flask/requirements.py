"""``@requires``: what an event or a route requires of the user."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import partial, wraps
from types import FunctionType, MethodType
from typing import Any, ParamSpec, TypeVar, cast
from weakref import WeakSet

from flask import Request as FlaskRequest
from flask import current_app, has_request_context, request
from werkzeug.local import LocalProxy

from roomkey.audit import record, token_name
from roomkey.core.requirements import Requirement
from roomkey.errors import ConfigError
from roomkey.flask.identity import protection, socket_id

P = ParamSpec("P")
T = TypeVar("T")

_CHECKED: WeakSet[Any] = WeakSet()
"""The functions that are called only after a check. None of these may be registered itself."""


def requires(
    *wrong: object,
    role: str | Iterable[str] | None = None,
    scope: str | Iterable[str] | None = None,
    max_auth_age: float | None = None,
) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Decorate a Socket.IO handler, a route, or a method of a class-based one. Write it below ``socketio.on(…)``.

    Without arguments, any user is enough, but not a guest. In a connect handler, it refuses the client.

    Args:
        role: a role, or several of which one is enough.
        scope: one or several scopes, which are all required.
        max_auth_age: the longest time in seconds since the user logged in (``auth_time``, or ``iat`` without it).

    Raises:
        ConfigError: an argument is invalid.
    """
    if wrong:
        raise ConfigError("requires takes its arguments by name; use @requires() or @requires(role='admin')")
    requirement = Requirement.of(role, scope, max_auth_age)

    def decorate(function: Callable[P, T]) -> Callable[P, T]:
        @wraps(function)
        def checked(*arguments: P.args, **named: P.kwargs) -> T:
            _check(requirement)
            return cast(T, current_app.ensure_sync(function)(*arguments, **named))

        _CHECKED.update(_with_inner(function))
        return checked

    return decorate


def _with_inner(function: Callable[..., Any]) -> Iterator[Callable[..., Any]]:
    """Yield a function and those that it wraps: a decorator below ``@requires`` may have registered one of these."""
    todo, seen = [function], set()
    while todo:
        one = todo.pop()
        if id(one) not in seen:
            seen.add(id(one))
            todo += filter(_is_known_by_identity, _wrapped(one))
            yield one


def _is_known_by_identity(value: object) -> bool:
    """Return True for functions and other callable objects, but not for proxies such as ``flask.current_app``."""
    return callable(value) and bool(type(value).__weakrefoffset__) and type(value).__hash__ is not None


def _wrapped(function: Any) -> Iterable[Any]:
    """Return what a decorator has wrapped: what it declares, or else the functions in its closure or its attributes."""
    attributes = {} if isinstance(function, MethodType | type) else getattr(function, "__dict__", {})
    if "__wrapped__" in attributes:
        return (attributes["__wrapped__"],)
    if isinstance(function, partial):
        return (function.func,)
    if isinstance(function, FunctionType):
        return _closure(function)
    return [value for value in attributes.values() if isinstance(value, FunctionType)]


def _closure(function: FunctionType) -> Iterator[Any]:
    """Yield what a function has from around it, but not the functions that it calls by their own names."""
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        with suppress(ValueError):  # it has no value yet
            if name != getattr(cell.cell_contents, "__name__", None):
                yield cell.cell_contents


def check_order(function: Callable[..., Any] | None) -> None:
    """Check that a function was not registered in place of the one that ``@requires`` made of it.

    Raises:
        ConfigError: it was, and would run without the check.
    """
    if function in _CHECKED:
        name = getattr(function, "__name__", "a handler")
        raise ConfigError(f"{name} would run without its @requires; write @requires below the line that registers it")


def _check(requirement: Requirement) -> None:
    """Check the user of the current handler or request.

    Raises:
        AuthError: the user does not meet the requirement.
    """
    if not has_request_context():
        raise RuntimeError("@requires works only in a Socket.IO handler or a request")
    asked = cast(LocalProxy[FlaskRequest], request)._get_current_object()
    protected = protection()
    asked.roomkey_requirement = requirement  # type: ignore[attr-defined]  # for the response
    who = protected.identity(asked)
    problem = requirement.problem(who, protected.guard.clock.now())
    if problem is None:
        return
    sid = socket_id(asked)
    socket = protected.guard.index.sockets.get(sid) if sid is not None else None
    if socket is not None:
        raise protected.guard.socket_authorizer.denied(socket, "event", asked.event["message"], problem)  # type: ignore[attr-defined]
    record(
        "denied",
        level=logging.WARNING,
        kind="route",
        name=asked.endpoint,
        reason=problem.reason or problem.code,
        sub=who.subject,
        token=token_name(who),
    )
    raise problem
