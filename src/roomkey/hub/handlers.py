"""The application's handlers, by namespace and event."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from roomkey.core.callables import accepts
from roomkey.errors import ConfigError

Handler = Callable[..., Any]
LIFECYCLE = frozenset({"connect", "disconnect"})
ANY = "*"


@dataclass(frozen=True, slots=True)
class BoundHandler:
    """A handler, with the arguments that come before those of the event.

    Attributes:
        handler: the function.
        prefix_args: the event's name and the namespace, for a catch-all handler.
        arity: the number of arguments that it accepts after those; None for any number.
        is_coroutine: it is a coroutine function.
    """

    handler: Handler
    prefix_args: tuple[str, ...] = ()
    arity: int | None = None
    is_coroutine: bool = True


class MethodHandlers:
    """Handlers as methods: ``on_connect``, ``on_disconnect``, and ``on_<event>`` for each event.

    Args:
        namespace: the namespace of the events.

    Raises:
        ConfigError: a name that does not begin with ``/``.
    """

    def __init__(self, namespace: str = "/") -> None:
        if not namespace.startswith("/") and namespace != ANY:
            raise ConfigError(f"invalid namespace {namespace!r}; it must begin with '/'")
        self.namespace = namespace

    def handler(self, event: str) -> Callable[..., Any] | None:
        """Return the method for an event, or None."""
        method = getattr(type(self), f"on_{event}", None) if event.isidentifier() else None
        return getattr(self, f"on_{event}") if callable(method) else None


class Handlers:
    """The functions of an application.

    Args:
        namespaces: namespaces that clients can connect to without a handler; ``"*"`` allows every name.

    Attributes:
        changes: counts the changes.
    """

    def __init__(self, namespaces: Iterable[str] = ("/",)) -> None:
        named = (namespaces,) if isinstance(namespaces, str) else namespaces
        self._open = ANY if namespaces == ANY else frozenset(named)
        self._functions: dict[tuple[str, str], BoundHandler] = {}
        self._classes: dict[str, MethodHandlers] = {}
        self._known: set[str] = set()
        self._cache: dict[tuple[str, str], BoundHandler | None] = {}
        self.changes = 0

    def add(self, event: str, handler: Handler, namespace: str = "/") -> None:
        """Register a function.

        Raises:
            ConfigError: the function is not callable, or does not accept the arguments of ``connect`` or
                ``disconnect``.
        """
        if not callable(handler):
            raise ConfigError(f"the handler for {event!r} is not callable; pass a function")
        arity = lifecycle_arity(event, handler, has_prefix=namespace == ANY) if event in LIFECYCLE else None
        self._functions[namespace, event] = BoundHandler(handler, (), arity, inspect.iscoroutinefunction(handler))
        self._changed(namespace)

    def add_class(self, owner: MethodHandlers) -> None:
        """Register a class-based namespace.

        Raises:
            ConfigError: not an instance of :class:`roomkey.hub.Namespace`.
        """
        if not isinstance(owner, MethodHandlers):
            raise ConfigError("register_namespace requires an instance of a roomkey.hub.Namespace subclass")
        for event in LIFECYCLE:
            if hasattr(owner, f"on_{event}"):
                lifecycle_arity(event, getattr(owner, f"on_{event}"), has_prefix=owner.namespace == ANY)
        self._classes[owner.namespace] = owner
        self._changed(owner.namespace)

    def _changed(self, namespace: str) -> None:
        self._cache.clear()
        self.changes += 1
        if namespace != ANY:
            self._known.add(namespace)

    def knows(self, namespace: str) -> bool:
        """Return True if clients can ask for the namespace."""
        return namespace in self._known or self._open == ANY or namespace in self._open

    def namespaces(self) -> frozenset[str]:
        """Return the namespaces that have handlers or that clients can connect to without one."""
        return frozenset(self._known) | (self._open if isinstance(self._open, frozenset) else frozenset())

    def of_event(self, event: str, namespace: str) -> BoundHandler | None:
        """Return the function that was registered for just this event and namespace, or None."""
        return self._functions.get((namespace, event))

    def find(self, event: str, namespace: str) -> BoundHandler | None:
        """Return the most specific handler for an event of a client, or for ``connect`` and ``disconnect``."""
        key = (namespace, event)
        if key in self._functions:
            return self._functions[key]
        if event in LIFECYCLE and namespace in self._known:
            if key not in self._cache:
                self._cache[key] = self._find(event, namespace)
            return self._cache[key]
        # Not cached: a client chooses these names, and can choose any number of them.
        return self._find(event, namespace)

    def _find(self, event: str, namespace: str) -> BoundHandler | None:
        lifecycle = event in LIFECYCLE
        candidates: tuple[tuple[str, str, tuple[str, ...]], ...] = (
            (namespace, ANY, (event,)),
            (ANY, event, (namespace,)),
            (ANY, ANY, (event, namespace)),
        )
        for where, what, prefix in candidates:
            found = self._functions.get((where, what))
            if found is not None and not (lifecycle and what == ANY):
                return BoundHandler(found.handler, prefix, found.arity, found.is_coroutine)
        for where, prefix in ((namespace, ()), (ANY, (namespace,))):
            method = self._classes[where].handler(event) if where in self._classes else None
            if method is not None:
                arity = lifecycle_arity(event, method, has_prefix=bool(prefix)) if lifecycle else None
                return BoundHandler(method, prefix, arity, inspect.iscoroutinefunction(method))
        return None


def lifecycle_arity(event: str, handler: Handler, *, has_prefix: bool = False) -> int:
    """Return how many of ``(sid, environ, auth)`` or ``(sid, reason)`` the signature of a handler accepts.

    Args:
        event: ``connect`` or ``disconnect``.
        handler: the handler.
        has_prefix: the name of the namespace comes first.

    Raises:
        ConfigError: it cannot be called with these arguments.
    """
    most, least = (3, 2) if event == "connect" else (2, 1)
    for number in (most, least):
        if accepts(handler, *range(number + has_prefix)):
            return number
    written = "connect(sid, environ) or connect(sid, environ, auth)"
    if event == "disconnect":
        written = "disconnect(sid) or disconnect(sid, reason)"
    first = ", with the namespace as first argument" if has_prefix else ""
    raise ConfigError(f"the {event} handler has the wrong arguments; define it as {written}{first}")
