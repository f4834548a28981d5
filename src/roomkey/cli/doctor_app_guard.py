"""``roomkey doctor --app``: find the guard in an application of the user."""

from __future__ import annotations

import asyncio
import importlib
import inspect
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

from roomkey.audit import without_secrets
from roomkey.errors import ConfigError
from roomkey.guard.base import BaseGuard

__all__ = ["Inspected", "NotFoundError", "inspect_app"]

MAX_LOOKED_AT = 5000
"""Objects to look at; an application has a few dozen between its ASGI application and the guard."""

# Where servers, and the applications and middlewares around them, keep what they serve.
_ATTRIBUTES = (
    *("roomkey_guard", "guard", "server", "engineio_server", "engineio_app", "sio", "socketio", "hub", "app"),
    *("wsgi_app", "asgi", "other_asgi_app", "application", "router", "routes", "resources", "handlers", "extensions"),
    *("handler", "_handler", "endpoint", "__self__", "func", "__wrapped__"),
)

_NAME_ONE = (
    "name a guard, a hub, a Socket.IO server, an ASGI or WSGI application, or a function that returns one of these"
)


class NotFoundError(Exception):
    """Raised when there is no guard; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Inspected:
    """A guard in an application.

    Attributes:
        guard: the guard.
        server: its server: a hub, or a server of python-socketio; None if it was not found.
        module: the module of the application.
    """

    guard: BaseGuard
    server: Any
    module: ModuleType

    @property
    def is_hub(self) -> bool:
        """True if the server is roomkey's own."""
        return type(self.server).__module__.startswith("roomkey.hub")


def inspect_app(target: str) -> Inspected:
    """Import an application and find its guard.

    Args:
        target: ``module:name``. The name is of a guard, a hub, a Socket.IO server, an ASGI or WSGI application, an
            object that has one of these, or a function without arguments that returns one.

    Raises:
        NotFoundError: the import fails, or there is no guard.
    """
    module, named = _load(target)
    found = next((one for one in (*_reachable(named), *_reachable(module)) if isinstance(one, BaseGuard)), None)
    if found is None:
        server = next((one for one in _reachable(named) if _is_server(one)), None)
        if server is not None:
            raise NotFoundError(
                f"{target}: this {type(server).__name__} has no guard, so it is open to everybody; create a guard, and "
                "call guard.attach(sio)"
            )
        raise NotFoundError(f"no guard found at {target}; {_NAME_ONE}")
    servers = (one for one in (*_reachable(named), *_reachable(module)) if _guard_of(one) is found)
    return Inspected(found, next(servers, None), module)


def _load(target: str) -> tuple[ModuleType, Any]:
    name, _, path = target.partition(":")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        module = importlib.import_module(name)
        found: Any = module
        for part in path.split("."):
            if not hasattr(found, part):
                raise NotFoundError(f"cannot load {target}: there is no {part}; {_NAME_ONE}")
            found = getattr(found, part)
        if isinstance(found, FunctionType) and not inspect.signature(found).parameters:
            made = found()
            found = asyncio.run(made) if inspect.iscoroutine(made) else made
    except NotFoundError:
        raise
    except (Exception, SystemExit) as error:  # whatever the application raises
        raise NotFoundError(f"cannot load {target}: {_why(error, name)}") from None
    return module, found


def _why(error: BaseException, module: str) -> str:
    """Return why an application cannot be loaded, and what to do, without the values of its settings."""
    if isinstance(error, ConfigError):  # says what to do
        return without_secrets(str(error))
    if isinstance(error, ModuleNotFoundError) and error.name == module.partition(".")[0]:
        return f"there is no module {error.name} here; run the command in the directory that contains it"
    if isinstance(error, KeyError) and _raised_by_environ(error):
        return f"the environment variable {error.args[0]} is not set; set it as for the application"
    text = without_secrets(str(error)) if isinstance(error, (ImportError, AttributeError)) else ""
    return f"{type(error).__name__}{text and f': {text}'}; start the application yourself to see the whole error"


def _raised_by_environ(error: KeyError) -> bool:
    """Return True for a missing environment variable, whose name is no secret; other keys could be one."""
    at = error.__traceback__
    while at is not None and at.tb_next is not None:
        at = at.tb_next
    return at is not None and at.tb_frame.f_code is type(os.environ).__getitem__.__code__


def _reachable(start: Any) -> Iterator[Any]:
    """Yield an object and those that it refers to as servers and applications do, the nearest first."""
    todo, seen = [start], {id(start)}
    for looked_at, one in enumerate(todo):
        if looked_at >= MAX_LOOKED_AT:
            return
        yield one
        for inner in _inner(one):
            if id(inner) not in seen:
                seen.add(id(inner))
                todo.append(inner)


def _inner(one: Any) -> Iterator[Any]:
    if isinstance(one, ModuleType):
        # Only what is in the module: other modules are other parts of the program.
        yield from (value for name, value in vars(one).items() if not name.startswith("__") and not _is_foreign(value))
    elif isinstance(one, dict):
        yield from (value for value in one.values() if not _is_plain(value))
    elif isinstance(one, (list, tuple, set, frozenset)):
        yield from (value for value in one if not _is_plain(value))
    elif not isinstance(one, type):
        for name in _ATTRIBUTES:
            value = _attribute(one, name)
            if not _is_plain(value) and not isinstance(value, ModuleType):
                yield value


def _attribute(one: Any, name: str) -> Any:
    """Return an attribute, or None; of a function that lists routes, the list."""
    try:
        value = getattr(one, name, None)
        return list(value()) if name in ("routes", "resources") and callable(value) else value
    except Exception:  # a proxy outside of a request, for example
        return None


def _is_foreign(value: object) -> bool:
    return isinstance(value, (ModuleType, type)) or _is_plain(value)


def _is_plain(value: object) -> bool:
    return value is None or isinstance(value, (str, bytes, int, float))


def _is_server(one: object) -> bool:
    return type(one).__name__ in ("AsyncServer", "Server") and type(one).__module__.startswith("socketio")


def _guard_of(one: Any) -> BaseGuard | None:
    """Return the guard of a server, or None for another object."""
    if type(one).__module__.startswith("roomkey.hub") and type(one).__name__ == "Hub":
        guard = one.guard
    else:
        own = _attribute(one, "__dict__")  # a proxy, such as Flask's request, raises an error
        guard = own.get("roomkey_guard") if isinstance(own, dict) else None
    return guard if isinstance(guard, BaseGuard) else None
