"""Limits for each subject, independent of the number of its devices."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from hashlib import blake2b
from typing import Generic, Literal, TypeVar

from roomkey.core.identity import Identity
from roomkey.core.numbers import is_number
from roomkey.core.rate import TokenBucket
from roomkey.errors import ConfigError, LimitExceeded

C = TypeVar("C", bound=Hashable)
Subject = tuple[str | None, str]


@dataclass(frozen=True, slots=True)
class SubjectLimits:
    """Limits for each subject. None sets no limit.

    Args:
        sockets: connections at the same time.
        when_full: action at the limit of connections: ``"refuse"`` refuses a new connection, ``"end_oldest"`` closes
            the oldest.
        joins: room joins per second.
        events: events per second.

    Raises:
        ConfigError: a limit below 1, or an invalid ``when_full``.
    """

    sockets: int | None = None
    when_full: Literal["refuse", "end_oldest"] = "refuse"
    joins: float | None = None
    events: float | None = None

    def __post_init__(self) -> None:
        for name in ("sockets", "joins", "events"):
            limit = getattr(self, name)
            if limit is not None and not (is_number(limit) and 1 <= limit < float("inf")):
                raise ConfigError(f"{name} must be a number of at least 1, or None for no limit")
        if self.when_full not in ("refuse", "end_oldest"):
            raise ConfigError("when_full must be 'refuse' or 'end_oldest'")


class SubjectUsage(Generic[C]):
    """Counts the connections, joins and events of each subject.

    Args:
        limits: the limits for each subject.

    Attributes:
        name_of: returns the name under which the connections of a subject are counted.
    """

    def __init__(self, limits: SubjectLimits) -> None:
        self.limits = limits
        self.name_of: Callable[[Identity], Hashable] = _subject
        # The connections of each subject, the oldest first, with the number of its namespaces on each.
        self._connections: dict[Hashable, dict[C, int]] = {}
        # Kept after a disconnection, so that a new connection does not reset the rate. Ordered by last use.
        self._buckets: dict[str, OrderedDict[Subject, TokenBucket]] = {"joins": OrderedDict(), "events": OrderedDict()}

    def use_hashes(self) -> None:
        """Count connections by the :func:`subject_hash`, under which other nodes ask for them. Call this first."""
        assert not self._connections
        self.name_of = subject_hash

    def connect(self, who: Identity, connection: C) -> C | None:
        """Count a subject's connection to a namespace.

        Returns:
            The connection to close for it, or None.

        Raises:
            LimitExceeded: the subject has too many connections. Nothing was counted.
        """
        if who.is_guest:
            return None
        connections = self.connections(self.name_of(who))
        oldest = None
        full = self.limits.sockets is not None and len(connections) >= self.limits.sockets
        if full and connection not in connections:
            if self.limits.when_full == "refuse":
                raise LimitExceeded("sockets", f"{len(connections)} connections already")
            oldest = connections[0]
        self.add(who, connection)
        return oldest

    def add(self, who: Identity, connection: C) -> None:
        """Count a subject's connection to a namespace, whatever the limit."""
        connections = self._connections.setdefault(self.name_of(who), {})
        connections[connection] = connections.get(connection, 0) + 1

    def connections(self, name: Hashable) -> tuple[C, ...]:
        """Return the connections of the subject with this :attr:`name_of`, the oldest first."""
        return tuple(self._connections.get(name, ()))

    def leave(self, who: Identity, connection: C) -> None:
        """Remove a namespace connection that was counted."""
        name = self.name_of(who)
        connections = self._connections.get(name, {})
        if connection not in connections:
            return
        connections[connection] -= 1
        if not connections[connection]:
            del connections[connection]
        if not connections:
            del self._connections[name]

    def take(self, who: Identity, what: Literal["joins", "events"], now: float) -> None:
        """Count a join or an event.

        Args:
            who: the identity.
            what: ``joins`` or ``events``.
            now: seconds on a monotonic clock.

        Raises:
            LimitExceeded: the subject is over its rate.
        """
        rate = self.limits.joins if what == "joins" else self.limits.events
        if rate is None or who.is_guest:
            return
        buckets, subject = self._buckets[what], _subject(who)
        bucket = buckets.setdefault(subject, TokenBucket(rate, now))
        buckets.move_to_end(subject)
        allowed = bucket.take_if_any(now)
        # At a very high rate, even the bucket just used is full.
        while buckets and next(iter(buckets.values())).is_full(now):
            buckets.popitem(last=False)
        if not allowed:
            raise LimitExceeded(what, f"more than {rate:g} {what} per second")


def subject_hash(who: Identity) -> bytes:
    """Return 16 bytes that name a subject, the same on every node. They do not show the subject itself."""
    issuer = "" if who.issuer is None else who.issuer
    text = f"{who.issuer is None:d}{len(issuer)}:{issuer}{who.subject}"
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16, person=b"roomkey subject").digest()


def _subject(who: Identity) -> Subject:
    return who.issuer, who.subject
