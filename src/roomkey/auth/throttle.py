"""How often somebody may try a password.

Failures are counted for one account from one address, and for one address whatever the account. Nothing is counted
for an account alone: else a stranger could lock a person out by failing for them. In the memory of one process, and
bounded.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from roomkey.core.addresses import network_of
from roomkey.errors import AuthError

__all__ = ["Throttle", "Throttled"]

FREE_FOR_PAIR, FREE_FOR_ADDRESS = 5, 30
"""Failures without a delay: for one account from one address, and from one address."""

LONGEST = 300.0
"""Seconds: no delay is longer, and after twice as long without a failure it is forgotten."""

MOST = 100_000
"""Entries; beyond it the oldest are forgotten."""


class Throttled(AuthError):
    """Too many wrong passwords.

    Args:
        retry_after: seconds until the next attempt is looked at.
    """

    code = "too_many_attempts"
    reason = "too_many_attempts"
    temporary = True
    text = "too many attempts"

    def __init__(self, retry_after: int) -> None:
        self.retry_after = retry_after
        super().__init__(f"the next attempt is looked at in {retry_after} s", retry_after=retry_after)


@dataclass(slots=True)
class _Failures:
    count: int = 0
    last: float = 0.0


class Throttle:
    """Growing delays after wrong passwords."""

    def __init__(self) -> None:
        self._failures: OrderedDict[tuple[str, str], _Failures] = OrderedDict()

    def check(self, username: str, address: str, now: float) -> None:
        """Whether an attempt is looked at.

        Args:
            username: as it was typed.
            address: the client's.
            now: seconds on a monotonic clock.

        Raises:
            Throttled: not yet.
        """
        pair, alone = _keys(username, address)
        wait = max(self._wait(pair, FREE_FOR_PAIR, now), self._wait(alone, FREE_FOR_ADDRESS, now))
        if wait > 0:
            raise Throttled(int(wait) + 1)

    def begin(self, username: str, address: str, now: float) -> None:
        """An attempt counts as failed until it turns out right: many at once are no way around the delay."""
        for key in _keys(username, address):
            failures = self._failures.setdefault(key, _Failures())
            if now - failures.last > 2 * LONGEST:
                failures.count = 0
            failures.count += 1
            failures.last = now
            self._failures.move_to_end(key)
        while len(self._failures) > MOST:
            self._failures.popitem(last=False)

    def succeeded(self, username: str, address: str) -> None:
        """The password was right: this account's failures from there are forgotten, others of the address stay."""
        self.withdraw(username, address)
        self._failures.pop(_keys(username, address)[0], None)

    def withdraw(self, username: str, address: str) -> None:
        """The attempt that was begun was not looked at, because something was out of order: it does not count."""
        for key in _keys(username, address):
            if key in self._failures:
                self._failures[key].count -= 1

    def _wait(self, key: tuple[str, str], free: int, now: float) -> float:
        failures = self._failures.get(key)
        if failures is None or failures.count < free or now - failures.last > 2 * LONGEST:
            return 0.0
        delay = min(LONGEST, 2.0 ** min(failures.count - free, 30))
        return failures.last + delay - now


def _keys(username: str, address: str) -> tuple[tuple[str, str], tuple[str, str]]:
    place = network_of(address)
    # Where letter case does not count for accounts, each way to write a name would get its own attempts.
    return (username[:255].casefold(), place), ("", place)
