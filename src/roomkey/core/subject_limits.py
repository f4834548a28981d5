"""How much one subject may have and do, whatever the number of its devices."""

from __future__ import annotations

from dataclasses import dataclass, field
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


@dataclass(slots=True)
class _Use:
    """What one subject has: its connections, the oldest first, with the number of namespaces on each."""

    connections: dict[str, int] = field(default_factory=dict)
    buckets: dict[str, TokenBucket] = field(default_factory=dict)


class SubjectUse:
    """What every subject has and does, against the limits.

    Args:
        limits: for each subject.
    """

    def __init__(self, limits: SubjectLimits) -> None:
        self.limits = limits
        self._subjects: dict[Subject, _Use] = {}

    def connect(self, who: Identity, connection_id: str) -> str | None:
        """A subject joins a namespace on a connection.

        Returns:
            The connection that has to make room for it, if any.

        Raises:
            LimitExceeded: it has too many connections, and nothing was changed.
        """
        if who.is_guest:
            return None
        use = self._subjects.setdefault(_subject(who), _Use())
        oldest = None
        full = self.limits.sockets is not None and len(use.connections) >= self.limits.sockets
        if full and connection_id not in use.connections:
            if self.limits.when_full == "refuse":
                raise LimitExceeded("sockets", f"{len(use.connections)} connections already")
            oldest = next(iter(use.connections))
        use.connections[connection_id] = use.connections.get(connection_id, 0) + 1
        return oldest

    def connections(self, who: Identity) -> tuple[str, ...]:
        """The connections of a subject, the oldest first."""
        use = self._subjects.get(_subject(who))
        return tuple(use.connections) if use is not None else ()

    def leave(self, who: Identity, connection_id: str) -> None:
        """A namespace connection that :meth:`connect` let in is gone."""
        use = self._subjects.get(_subject(who))
        if use is None or connection_id not in use.connections:
            return
        use.connections[connection_id] -= 1
        if not use.connections[connection_id]:
            del use.connections[connection_id]
        if not use.connections:
            del self._subjects[_subject(who)]

    def take(self, who: Identity, what: Literal["joins", "events"], now: float) -> None:
        """Count a join or an event.

        Args:
            now: seconds on a monotonic clock.

        Raises:
            LimitExceeded: too many in this second.
        """
        rate = self.limits.joins if what == "joins" else self.limits.events
        use = self._subjects.get(_subject(who))
        if rate is None or use is None:
            return
        bucket = use.buckets.get(what)
        if bucket is None:
            bucket = use.buckets[what] = TokenBucket(rate, now)
        if not bucket.take_if_any(now):
            raise LimitExceeded(what, f"more than {rate:g} {what} per second")


def _subject(who: Identity) -> Subject:
    return who.issuer, who.subject
