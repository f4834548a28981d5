"""How much one subject may have and do, whatever the number of its devices."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Literal

from roomkey.core.identity import Identity
from roomkey.core.rate import TokenBucket
from roomkey.errors import ConfigError, LimitExceeded

Subject = tuple[str | None, str]


@dataclass(frozen=True, slots=True)
class SubjectLimits:
    """What one subject may have at once, and do in a second. None is no limit.

    Args:
        sockets: connections at once.
        when_full: what a connection over that brings: ``"refuse"`` refuses it, ``"end_oldest"`` ends the oldest one.
        joins: rooms entered per second.
        events: events sent per second.

    Raises:
        ConfigError: a limit under 1, or another ``when_full``.
    """

    sockets: int | None = None
    when_full: Literal["refuse", "end_oldest"] = "refuse"
    joins: float | None = None
    events: float | None = None

    def __post_init__(self) -> None:
        for name in ("sockets", "joins", "events"):
            limit = getattr(self, name)
            if limit is not None and not 1 <= limit < float("inf"):
                raise ConfigError(f"{name} takes a number from 1, or None for no limit")
        if self.when_full not in ("refuse", "end_oldest"):
            raise ConfigError("when_full takes 'refuse' or 'end_oldest'")


class SubjectUsage:
    """What every subject has and does, against the limits.

    Args:
        limits: for each subject.
    """

    def __init__(self, limits: SubjectLimits) -> None:
        self.limits = limits
        # Of each subject its connections, the oldest first, with the number of namespaces on each.
        self._connections: dict[Subject, dict[str, int]] = {}
        # Apart from those: whoever disconnects and comes back has no new second. The one used last stands last.
        self._buckets: dict[str, OrderedDict[Subject, TokenBucket]] = {"joins": OrderedDict(), "events": OrderedDict()}

    def connect(self, who: Identity, connection_id: str) -> str | None:
        """A subject joins a namespace on a connection.

        Returns:
            The connection that has to make room for it, if any.

        Raises:
            LimitExceeded: it has too many connections, and nothing was changed.
        """
        if who.is_guest:
            return None
        connections = self._connections.setdefault(_subject(who), {})
        oldest = None
        full = self.limits.sockets is not None and len(connections) >= self.limits.sockets
        if full and connection_id not in connections:
            if self.limits.when_full == "refuse":
                raise LimitExceeded("sockets", f"{len(connections)} connections already")
            oldest = next(iter(connections))
        connections[connection_id] = connections.get(connection_id, 0) + 1
        return oldest

    def connections(self, who: Identity) -> tuple[str, ...]:
        """The connections of a subject, the oldest first."""
        return tuple(self._connections.get(_subject(who), ()))

    def leave(self, who: Identity, connection_id: str) -> None:
        """A namespace connection that :meth:`connect` let in is gone."""
        connections = self._connections.get(_subject(who), {})
        if connection_id not in connections:
            return
        connections[connection_id] -= 1
        if not connections[connection_id]:
            del connections[connection_id]
        if not connections:
            del self._connections[_subject(who)]

    def take(self, who: Identity, what: Literal["joins", "events"], now: float) -> None:
        """Count a join or an event.

        Args:
            now: seconds on a monotonic clock.

        Raises:
            LimitExceeded: too many in this second.
        """
        rate = self.limits.joins if what == "joins" else self.limits.events
        if rate is None or who.is_guest:
            return
        buckets, subject = self._buckets[what], _subject(who)
        bucket = buckets.setdefault(subject, TokenBucket(rate, now))
        buckets.move_to_end(subject)
        allowed = bucket.take_if_any(now)
        while buckets and next(iter(buckets.values())).is_full(now):  # at a huge rate even the one just used is full
            buckets.popitem(last=False)
        if not allowed:
            raise LimitExceeded(what, f"more than {rate:g} {what} per second")


def _subject(who: Identity) -> Subject:
    return who.issuer, who.subject
