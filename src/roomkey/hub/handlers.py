"""Which function handles which event of which namespace."""

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
    """A handler, with the arguments that stand before the event's own.

    Attributes:
        handler: the function.
        before: the event's name and the namespace, where a catch-all handler wants to know them.
        takes: so many arguments it accepts beside those; None for any number.
        waits: it is a coroutine function.
    """

    handler: Handler
    before: tuple[str, ...] = ()
    takes: int | None = None
    waits: bool = True


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
        namespaces: names that clients may connect to without a handler; ``"*"`` for every name.
    """

    def __init__(self, namespaces: Iterable[str] = ("/",)) -> None:
        named = (namespaces,) if isinstance(namespaces, str) else namespaces
        self._open = ANY if namespaces == ANY else frozenset(named)
        self._functions: dict[tuple[str, str], BoundHandler] = {}
        self._classes: dict[str, MethodHandlers] = {}
        self._known: set[str] = set()
        self._cache: dict[tuple[str, str], BoundHandler | None] = {}

    def add(self, event: str, handler: Handler, namespace: str = "/") -> None:
        """Register a function.

        Raises:
            ConfigError: no function, or a ``connect`` or ``disconnect`` that cannot be called.
        """
        if not callable(handler):
            raise ConfigError(f"the handler of {event!r} is no function")
        number = lifecycle_arguments(event, handler, before=namespace == ANY) if event in LIFECYCLE else None
        self._functions[namespace, event] = BoundHandler(handler, (), number, _waits(handler))
        self._changed(namespace)

    def add_class(self, owner: MethodHandlers) -> None:
        """Register a class-based namespace.

        Raises:
            ConfigError: not an instance of :class:`roomkey.hub.Namespace`.
        """
        if not isinstance(owner, MethodHandlers):
            raise ConfigError("register_namespace takes an instance of a roomkey.hub.Namespace subclass")
        for event in LIFECYCLE:
            if hasattr(owner, f"on_{event}"):
                lifecycle_arguments(event, getattr(owner, f"on_{event}"), before=owner.namespace == ANY)
        self._classes[owner.namespace] = owner
        self._changed(owner.namespace)

    def _changed(self, namespace: str) -> None:
        self._cache.clear()
        if namespace != ANY:
            self._known.add(namespace)

    def knows(self, namespace: str) -> bool:
        """True if clients may ask for the namespace."""
        return namespace in self._known or self._open == ANY or namespace in self._open

    def find(self, event: str, namespace: str) -> BoundHandler | None:
        """The handler of an event that a client sent, or of ``connect`` and ``disconnect``; the most special wins."""
        key = (namespace, event)
        if key in self._functions:
            return self._functions[key]
        if event in LIFECYCLE and namespace in self._known:
            if key not in self._cache:
                self._cache[key] = self._find(event, namespace)
            return self._cache[key]
        # Not remembered: these names are the client's choice, and there is no end of names.
        return self._find(event, namespace)

    def _find(self, event: str, namespace: str) -> BoundHandler | None:
        lifecycle = event in LIFECYCLE
        candidates: tuple[tuple[str, str, tuple[str, ...]], ...] = (
            (namespace, ANY, (event,)),
            (ANY, event, (namespace,)),
            (ANY, ANY, (event, namespace)),
        )
        for where, what, before in candidates:
            found = self._functions.get((where, what))
            if found is not None and not (lifecycle and what == ANY):
                return BoundHandler(found.handler, before, found.takes, found.waits)
        for where, before in ((namespace, ()), (ANY, (namespace,))):
            method = self._classes[where].handler(event) if where in self._classes else None
            if method is not None:
                number = lifecycle_arguments(event, method, before=bool(before)) if lifecycle else None
                return BoundHandler(method, before, number, _waits(method))
        return None


def _waits(handler: Handler) -> bool:
    """True for a coroutine function; others are asked for what they return."""
    return inspect.iscoroutinefunction(handler)


def lifecycle_arguments(event: str, handler: Handler, *, before: bool = False) -> int:
    """How many of ``(sid, environ, auth)`` or ``(sid, reason)`` a handler takes, seen once from its signature.

    Args:
        before: the namespace's name stands in front of them.

    Raises:
        ConfigError: it cannot be called so.
    """
    most, least = (3, 2) if event == "connect" else (2, 1)
    for number in (most, least):
        if accepts(handler, *range(number + before)):
            return number
    written = "connect(sid, environ) or connect(sid, environ, auth)"
    if event == "disconnect":
        written = "disconnect(sid) or disconnect(sid, reason)"
    raise ConfigError(f"the {event} handler is written {written}{', with the namespace in front' if before else ''}")
