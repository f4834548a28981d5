"""The handlers of events, each found once."""

from __future__ import annotations

from roomkey.core.policy import Policy
from roomkey.guard.events import Events
from roomkey.hub.handlers import BoundHandler, Handlers


def _ignore(*_arguments: object) -> None: ...


UNHANDLED = BoundHandler(_ignore, is_coroutine=False)
"""Stands for the handler of an event that has none."""


class Routes:
    """Finds the handlers of the events about which nobody has to be asked.

    The policy, the events that the guard handles itself and the application's handlers can change while clients are
    connected. Each of them counts its changes, and a new one makes all that was found obsolete.

    Args:
        handlers: the application's.
        events: decides whether somebody has to be asked.
    """

    __slots__ = ("_at", "_events", "_found", "_handlers", "_is_fixed", "_policy")

    def __init__(self, handlers: Handlers, events: Events) -> None:
        self._handlers = handlers
        self._events = events
        self._policy = events.policy
        self._found: dict[tuple[str, str], BoundHandler] = {}
        self._at = -1
        # A policy of another class may decide differently each time, without a change that is counted.
        self._is_fixed = type(events.policy).rules_for_event is Policy.rules_for_event

    def find(self, namespace: str, event: str) -> BoundHandler | None:
        """Return the handler of an event; :data:`UNHANDLED` if there is none, and None if the guard must decide."""
        at = self._handlers.changes + self._events.changes + self._policy.changes  # each of them only grows
        if at != self._at:
            self._found, self._at = {}, at
        return self._found.get((namespace, event)) or self._find(namespace, event)

    def _find(self, namespace: str, event: str) -> BoundHandler | None:
        if not self._events.is_open(event, namespace):
            return None
        found = self._handlers.of_event(event, namespace)
        if found is None:
            return self._handlers.find(event, namespace) or UNHANDLED
        if self._is_fixed:  # a client cannot choose this name, and so cannot fill the table
            self._found[namespace, event] = found
        return found
