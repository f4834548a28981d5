"""Delays after wrong passwords (internal). It has no clock: the caller passes the time.

It counts three things, so that an attacker cannot lock out a user:

- The failures for one account from one address. After 5, a delay grows from 1 s to 5 minutes.
- The failures from one address, for any account. After 30, the address has 5 attempts, and then one per minute. A right
  attempt costs nothing, so a neighbor's failures delay other users, but do not lock them out.
- The failures for one account, from all addresses. After 50, each address has one attempt, and then delays that begin
  with 30 s. So an attacker with many addresses gets few attempts from each, and the owner has one from anywhere.

The last two do not apply to an address from which the user logged in before. Running attempts are neither right nor
wrong: if they matter, other attempts wait for them (:meth:`Throttle.is_undecided`). All counts are in the memory of one
process, and bounded.
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
"""Attempts that an address has after its free failures, and the seconds until it gets another one."""

FIRST_OF_MANY = 30.0
"""Seconds of the first delay of a pair whose account is attacked from many addresses."""

LONGEST = 300.0
"""Seconds of the longest delay. Failures are forgotten after twice this time without a failure."""

MAX_ENTRIES = 100_000
"""The greatest number of counters, and of known addresses. Above it, the oldest are deleted."""


class Throttled(AuthError):
    """Raised after too many wrong passwords.

    Args:
        retry_after: seconds until the next attempt is allowed.
    """

    code = "too_many_attempts"
    reason = "too_many_attempts"
    temporary = True
    text = "too many attempts"

    def __init__(self, retry_after: int) -> None:
        self.retry_after = retry_after
        super().__init__(f"too many attempts; try again in {retry_after} s", retry_after=retry_after)


@dataclass(slots=True)
class _Failures:
    """The failures of a pair (account and address), an address or an account.

    Attributes:
        count: the number of failures.
        last: the time of the latest failure.
        running: attempts that are neither right nor wrong yet.
        reserve: attempts that an address had left at the time ``filled``.
    """

    count: int = 0
    last: float = 0.0
    running: int = 0
    reserve: float = RESERVE
    filled: float = 0.0

    def failures(self, now: float) -> int:
        """Return the number of failures; 0 if the last one is long ago."""
        return 0 if now - self.last > 2 * LONGEST else self.count

    def left(self, now: float) -> float:
        """Return the attempts that are left of the reserve."""
        return min(RESERVE, self.reserve + (now - self.filled) / RESERVE_SECONDS)


_NONE = _Failures()
_Key = bytes


class Throttle:
    """Delays that grow with each wrong password. Times are seconds on a monotonic clock."""

    def __init__(self) -> None:
        self._failures: OrderedDict[_Key, _Failures] = OrderedDict()
        self._known: OrderedDict[_Key, None] = OrderedDict()  # pairs with a successful login

    def is_undecided(self, username: str, address: str, now: float) -> bool:
        """Return True while only running attempts could put this one over a limit. Wait for one of them, and call
        again."""
        pair, place, is_known, is_target = self._of(username, address, now)
        free = 1 if is_target else FREE_FOR_PAIR
        if pair.running and pair.failures(now) + pair.running >= free:
            return True
        return not is_known and place.failures(now) < FREE_FOR_ADDRESS <= place.failures(now) + place.running

    def check(self, username: str, address: str, now: float) -> None:
        """Check that an attempt is allowed now.

        Args:
            username: as the user typed it.
            address: the client's network address.
            now: the time.

        Raises:
            Throttled: the attempt is too early.
        """
        pair, place, is_known, is_target = self._of(username, address, now)
        waits = [_delay(pair, now, is_target)]
        if not is_known and place.failures(now) >= FREE_FOR_ADDRESS:
            waits.append((1 - place.left(now)) * RESERVE_SECONDS)
        if (wait := max(waits)) > 0:
            raise Throttled(int(wait) + 1)

    def begin(self, username: str, address: str, now: float) -> None:
        """Count an attempt as running, until one of the next three methods is called."""
        for kind in _KINDS:
            key = _key(kind, username, address)
            self._failures.setdefault(key, _Failures(filled=now)).running += 1
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
        """Forget the failures of this account and address, and remember the pair. Other failures remain."""
        self.withdraw(username, address)
        pair = _key("pair", username, address)
        if pair in self._failures:
            self._failures[pair].count = 0
        self._known[pair] = None
        self._known.move_to_end(pair)
        _bound(self._known)

    def withdraw(self, username: str, address: str) -> None:
        """Remove an attempt that was not decided, because something was unavailable."""
        for entry in self._done(username, address):
            entry.reserve = min(RESERVE, entry.reserve + 1)

    def _of(self, username: str, address: str, now: float) -> tuple[_Failures, _Failures, bool, bool]:
        """Return the pair, the address, whether the pair is known, and whether the account is under attack."""
        pair, place, account = (self._failures.get(_key(kind, username, address), _NONE) for kind in _KINDS)
        is_known = _key("pair", username, address) in self._known
        return pair, place, is_known, not is_known and account.failures(now) >= FREE_FOR_ACCOUNT

    def _done(self, username: str, address: str) -> list[_Failures]:
        """End an attempt; returns the entries that were not forgotten meanwhile."""
        found = [entry for kind in _KINDS if (entry := self._failures.get(_key(kind, username, address))) is not None]
        for entry in found:
            entry.running = max(0, entry.running - 1)
        return found


_KINDS = ("pair", "place", "account")


def _delay(pair: _Failures, now: float, is_target: bool) -> float:
    """Return the seconds until the pair's next attempt; 0 or less if it is allowed now."""
    failures = pair.failures(now)
    if is_target and failures:
        return pair.last + min(LONGEST, FIRST_OF_MANY * 2.0 ** min(failures - 1, 30)) - now
    if failures < FREE_FOR_PAIR:
        return 0.0
    return pair.last + min(LONGEST, 2.0 ** min(failures - FREE_FOR_PAIR, 30)) - now


def _bound(entries: OrderedDict[_Key, _Failures] | OrderedDict[_Key, None]) -> None:
    while len(entries) > MAX_ENTRIES:
        entries.popitem(last=False)


def _key(kind: str, username: str, address: str) -> _Key:
    """Return a key of fixed size, because a username may be long."""
    # Ignore case: if the accounts do, each spelling of a name would get its own attempts.
    name = "" if kind == "place" else username[:255].casefold()
    place = "" if kind == "account" else network_of(address)
    text = "\0".join((kind, name, place))
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
