"""How often somebody may try a password: pure, so whoever asks brings the time.

Three things are counted, each in a way in which a stranger cannot lock anybody out:

- The failures for one account from one address. After 5, a delay grows from 1 s to 5 minutes.
- The failures from one address, whatever the account. After 30, one attempt a minute is looked at, and 5 at first. An
  attempt that turns out right costs nothing, so a neighbor who fails slows others down and does not lock them out.
- The failures for one account, from all addresses. After 50, each address has one attempt, and then delays that begin
  with 30 s. So many addresses do not have many attempts each, and the owner has one from anywhere.

An address from which an account was logged in to before is exempt from the last two. Attempts under way are neither
right nor wrong: others wait for them where it matters (:meth:`Throttle.is_undecided`). Everything is in the memory of
one process, and bounded.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from dataclasses import dataclass

from roomkey.core.networks import network_of
from roomkey.errors import AuthError

__all__ = ["Throttle", "Throttled"]

FREE_FOR_PAIR, FREE_FOR_ADDRESS, FREE_FOR_ACCOUNT = 5, 30, 50
"""Failures without a delay: for one account from one address, from one address, and for one account."""

RESERVE, RESERVE_SECONDS = 5.0, 60.0
"""Attempts that an address has once its failures are used up, and the seconds until there is another one."""

FIRST_OF_MANY = 30.0
"""Seconds: the first delay of a pair whose account is tried from many addresses."""

LONGEST = 300.0
"""Seconds: no delay is longer, and after twice as long without a failure it is forgotten."""

MOST = 100_000
"""Entries, and addresses of accounts; beyond it the oldest are forgotten."""


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
    """Of a pair, an address or an account.

    Attributes:
        count: failures; ``last``: when the latest one was.
        under_way: attempts that are neither right nor wrong yet.
        reserve: attempts left of an address's reserve, as of ``filled``.
    """

    count: int = 0
    last: float = 0.0
    under_way: int = 0
    reserve: float = RESERVE
    filled: float = 0.0

    def failures(self, now: float) -> int:
        """Return the failures that count; an attack that has stopped is forgotten."""
        return 0 if now - self.last > 2 * LONGEST else self.count

    def left(self, now: float) -> float:
        """Return the attempts left of the reserve."""
        return min(RESERVE, self.reserve + (now - self.filled) / RESERVE_SECONDS)


_NONE = _Failures()
_Key = bytes


class Throttle:
    """Growing delays after wrong passwords. Times are seconds on a monotonic clock."""

    def __init__(self) -> None:
        self._failures: OrderedDict[_Key, _Failures] = OrderedDict()
        self._known: OrderedDict[_Key, None] = OrderedDict()  # where accounts were logged in to

    def is_undecided(self, username: str, address: str, now: float) -> bool:
        """Return True while only attempts under way could make this one too many: wait for one, and ask again."""
        pair, place, is_known, is_target = self._of(username, address, now)
        free = 1 if is_target else FREE_FOR_PAIR
        if pair.under_way and pair.failures(now) + pair.under_way >= free:
            return True
        return not is_known and place.failures(now) < FREE_FOR_ADDRESS <= place.failures(now) + place.under_way

    def check(self, username: str, address: str, now: float) -> None:
        """Check that an attempt may be looked at.

        Args:
            username: as it was typed.
            address: the client's.
            now: the time.

        Raises:
            Throttled: not yet.
        """
        pair, place, is_known, is_target = self._of(username, address, now)
        waits = [_delay(pair, now, is_target)]
        if not is_known and place.failures(now) >= FREE_FOR_ADDRESS:
            waits.append((1 - place.left(now)) * RESERVE_SECONDS)
        if (wait := max(waits)) > 0:
            raise Throttled(int(wait) + 1)

    def begin(self, username: str, address: str, now: float) -> None:
        """Count an attempt as under way; one of the three that follow ends it."""
        for kind in _KINDS:
            key = _key(kind, username, address)
            self._failures.setdefault(key, _Failures(filled=now)).under_way += 1
            self._failures.move_to_end(key)
        place = self._failures[_key("place", username, address)]
        if place.failures(now) >= FREE_FOR_ADDRESS:
            place.reserve, place.filled = place.left(now) - 1, now
        _bound(self._failures)

    def failed(self, username: str, address: str, now: float) -> None:
        """Count the attempt as wrong."""
        for entry in self._done(username, address):
            entry.count = entry.failures(now) + 1
            entry.last = now

    def succeeded(self, username: str, address: str) -> None:
        """Forget this account's failures from there, and remember that it was logged in to; others' failures stay."""
        self.withdraw(username, address)
        pair = _key("pair", username, address)
        if pair in self._failures:
            self._failures[pair].count = 0
        self._known[pair] = None
        self._known.move_to_end(pair)
        _bound(self._known)

    def withdraw(self, username: str, address: str) -> None:
        """Count the attempt as none: it was not looked at, because something was out of order."""
        for entry in self._done(username, address):
            entry.reserve = min(RESERVE, entry.reserve + 1)

    def _of(self, username: str, address: str, now: float) -> tuple[_Failures, _Failures, bool, bool]:
        """Return the pair, the address, whether they are known together, and whether many try the account."""
        pair, place, account = (self._failures.get(_key(kind, username, address), _NONE) for kind in _KINDS)
        is_known = _key("pair", username, address) in self._known
        return pair, place, is_known, not is_known and account.failures(now) >= FREE_FOR_ACCOUNT

    def _done(self, username: str, address: str) -> list[_Failures]:
        """End an attempt; returns the entries that were not forgotten meanwhile."""
        found = [entry for kind in _KINDS if (entry := self._failures.get(_key(kind, username, address))) is not None]
        for entry in found:
            entry.under_way = max(0, entry.under_way - 1)
        return found


_KINDS = ("pair", "place", "account")


def _delay(pair: _Failures, now: float, is_target: bool) -> float:
    """Return the seconds until the pair's next attempt; below 0 if it may be looked at."""
    failures = pair.failures(now)
    if is_target and failures:
        return pair.last + min(LONGEST, FIRST_OF_MANY * 2.0 ** min(failures - 1, 30)) - now
    if failures < FREE_FOR_PAIR:
        return 0.0
    return pair.last + min(LONGEST, 2.0 ** min(failures - FREE_FOR_PAIR, 30)) - now


def _bound(entries: OrderedDict[_Key, _Failures] | OrderedDict[_Key, None]) -> None:
    while len(entries) > MOST:
        entries.popitem(last=False)


def _key(kind: str, username: str, address: str) -> _Key:
    """Return a name of a fixed size: a stranger's may be long."""
    # Where letter case does not count for accounts, each way to write a name would get its own attempts.
    name = "" if kind == "place" else username[:255].casefold()
    place = "" if kind == "account" else network_of(address)
    text = "\0".join((kind, name, place))
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
