"""When the keys of another server are used, fetched again and given up: a state machine without I/O and clock.

::

    good answer ──5 min──> due ──5 min──> stale ──24 h after the answer──> gone
        keys in use        keys in use    keys in use                      no keys: Unavailable
        no fetch           a lookup starts a fetch in the background, and nobody waits for it

- A token with a known key never waits.
- Without keys, a token waits for the fetch.
- A token with an unknown ``kid`` starts a fetch and waits for it, but only if the last fetch that an unknown ``kid``
  started is at least :data:`COOLDOWN` seconds ago. Otherwise nobody knows whether the key exists: the token is neither
  accepted nor rejected for good.
- A ``kid`` does not exist if an answer that was requested after the ``kid`` was seen does not have it. For
  :data:`COOLDOWN` seconds after this answer, or until the keys change, its tokens are rejected without waiting. Then it
  is unknown again: the other server may have begun to use it.
- After a failed fetch, no fetch starts for 1, 2, 4, … and at most :data:`LAST_RETRY` seconds. The keys stay.
- An answer replaces all keys, except that a key cannot be exchanged for another one under the same ``kid``: the known
  key stays until the other one has been published for :data:`KEPT` seconds.

All times are seconds of one clock that never goes back.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum
from math import inf
from typing import TypeVar

from roomkey.core.key_set import KeySet
from roomkey.core.keys import Key

__all__ = ["COOLDOWN", "DUE", "FRESH", "KEPT", "LAST_RETRY", "LOST", "MAX_KIDS", "Next", "RemoteState", "retry_delay"]

T = TypeVar("T")

DUE = 300.0
"""Age of the last good answer at which a lookup starts the next fetch."""
FRESH = 600.0
"""Age at which the keys are reported as stale."""
KEPT = 86_400.0
"""Age at which the keys are no longer used."""
COOLDOWN = 30.0
"""Seconds between two fetches that unknown kids start, and for which an unknown kid is rejected after an answer."""
LAST_RETRY = 30.0
"""The longest time without a fetch after failures."""
LOST = 30.0
"""Seconds after which a fetch has failed that never ended: the process was forked, or the network never gives up."""
MAX_KIDS = 1000
"""The number of unknown kids that are remembered."""


class Next(Enum):
    """What to do about a token whose key is not known."""

    REJECT = "reject"
    """The key does not exist."""
    WAIT = "wait"
    """Wait for the fetch that is under way."""
    FETCH = "fetch"
    """Start a fetch, and wait for it."""
    LATER = "later"
    """Nobody knows, and no fetch may start now."""


def retry_delay(failures: int) -> float:
    """Return the seconds without a fetch after a number of failures in a row."""
    return min(LAST_RETRY, 2.0 ** min(failures - 1, 10)) if failures else 0.0


@dataclass(slots=True)
class RemoteState:
    """The keys of one other server, and what is known about them.

    Attributes:
        keys: the last good answer, or None.
        good_at: the time of the last good answer.
        failures: the number of failed fetches since the last good answer.
        retry_at: no fetch may start before this time.
        started_at: the time at which the fetch under way started; None if there is none.
        number: the number of fetches that have started.
        cool_until: no unknown kid may start a fetch before this time.
        unknown: kids that do not exist, and until when they are rejected for it, the oldest first.
        wanted: kids about which the next answer decides.
        asked: kids about which the answer under way decides.
        changed: kids whose key has been exchanged, and since when.
    """

    keys: KeySet | None = None
    good_at: float = -inf
    failures: int = 0
    retry_at: float = -inf
    started_at: float | None = None
    number: int = 0
    cool_until: float = -inf
    unknown: dict[str, float] = field(default_factory=dict)
    wanted: dict[str, None] = field(default_factory=dict)
    asked: dict[str, None] = field(default_factory=dict)
    changed: dict[str, float] = field(default_factory=dict)

    def usable(self, now: float) -> KeySet | None:
        """Return the keys, or None if there are none or the last good answer is too old."""
        return self.keys if now < self.good_at + KEPT else None

    def may_fetch(self, now: float) -> bool:
        """Return True if a fetch may start."""
        return not self.is_fetching(now) and now >= self.retry_at

    def is_due(self, now: float) -> bool:
        """Return True if a lookup should start a fetch."""
        return now >= self.good_at + DUE and self.may_fetch(now)

    def is_fetching(self, now: float) -> bool:
        """Return True if a fetch is under way, and not lost."""
        return self.started_at is not None and now < self.started_at + LOST

    def look_up(self, kid: str, now: float) -> Next:
        """Decide about a token whose ``kid`` the keys do not have; ``""`` is a token without one.

        The caller starts the fetch for :attr:`Next.FETCH`.
        """
        if now < self.unknown.get(kid, -inf):
            return Next.REJECT
        self.unknown.pop(kid, None)
        _remember(self.wanted, kid, None)
        if self.is_fetching(now):
            return Next.WAIT
        if now < self.retry_at or now < self.cool_until:
            return Next.LATER
        self.cool_until = now + COOLDOWN
        return Next.FETCH

    def start(self, now: float) -> int:
        """Note that a fetch starts, and return its number."""
        self.started_at = now
        self.number += 1
        self.asked, self.wanted = self.wanted, {}
        return self.number

    def succeed(self, answer: KeySet, now: float) -> tuple[KeySet, list[str]]:
        """Note a good answer.

        Returns:
            The keys that are used from now on, and the kids whose keys were exchanged and are ignored.
        """
        keys, exchanged = self._bound(answer, now)
        asked_at = now if self.started_at is None else self.started_at
        # The answer lacks these kids too, or the keys have changed.
        self.unknown = {kid: now + COOLDOWN for kid, until in self.unknown.items() if asked_at < until}
        if self.keys is None or _names(self.keys) != _names(keys):
            self.unknown.clear()
            self.asked.pop("", None)  # a token without kid may have one of the new keys
        for kid in self.asked:
            if not kid or not keys.named(kid):
                _remember(self.unknown, kid, now + COOLDOWN)
        self.keys, self.good_at, self.failures, self.retry_at = keys, now, 0, -inf
        self.started_at, self.asked = None, {}
        return keys, exchanged

    def fail(self, now: float) -> None:
        """Note a failed fetch."""
        self.failures += 1
        self.retry_at = now + retry_delay(self.failures)
        self.started_at = None
        for kid in self.asked:
            _remember(self.wanted, kid, None)
        self.asked = {}

    def _bound(self, answer: KeySet, now: float) -> tuple[KeySet, list[str]]:
        """Return the answer with the known key of each kid whose key was exchanged, and these kids."""
        known = {} if self.keys is None else _by_kid(self.keys)
        keys: list[Key] = []
        changed: dict[str, float] = {}
        for kid, published in _by_kid(answer).items():
            before = known.get(kid, published)
            if _prints(before).isdisjoint(_prints(published)):
                since = self.changed.get(kid, now)
                if now < since + KEPT:
                    changed[kid] = since
                    published = before
            keys += published
        self.changed = changed
        return KeySet(keys, refused=answer.refused), list(changed)


def _remember(kids: dict[str, T], kid: str, value: T) -> None:
    kids.pop(kid, None)
    kids[kid] = value
    if len(kids) > MAX_KIDS:
        del kids[next(iter(kids))]


def _by_kid(keys: KeySet) -> dict[str, list[Key]]:
    found: dict[str, list[Key]] = {}
    for key in keys:
        found.setdefault(key.kid, []).append(key)
    return found


def _prints(keys: Iterable[Key]) -> set[str]:
    return {key.thumbprint() for key in keys}


def _names(keys: KeySet) -> set[tuple[str, str, tuple[str, ...]]]:
    return {(key.kid, key.thumbprint(), key.algorithms) for key in keys}
