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

The nodes of a cluster tell each other the results of attempts (:mod:`roomkey.auth.shared_throttle`). An attacker who
asks several nodes at the same moment gets an attempt from each, because none of them knows about the others yet. Such
attempts come too early, as seen by the nodes that learn of them: they make the next delay, and the time until the
failures are forgotten, that many times longer. So in the long run, many nodes allow no more attempts than one.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from roomkey.core.networks import network_of
from roomkey.errors import AuthError

__all__ = ["Keys", "Throttle", "Throttled", "Throttles"]

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
        free: how many failures have no consequence.
        count: the number of failures.
        early: how many of the latest failures came before their time, from other nodes.
        last: the time of the latest failure.
        running: attempts that are neither right nor wrong yet.
        reserve: attempts that an address had left at the time ``filled``.
    """

    free: int
    count: int = 0
    early: int = 0
    last: float = 0.0
    running: int = 0
    reserve: float = RESERVE
    filled: float = 0.0

    def failures(self, now: float) -> int:
        """Return the number of failures; 0 if the last one is long ago."""
        return 0 if now - self.last > 2 * LONGEST * (1 + self.early / self.free) else self.count

    def fail(self, now: float, *, early: bool) -> None:
        """Count a failure."""
        self.count = self.failures(now) + 1
        self.early = self.early + 1 if early else 0
        self.last = now

    def left(self, now: float) -> float:
        """Return the attempts that are left of the reserve."""
        return min(RESERVE, self.reserve + (now - self.filled) / RESERVE_SECONDS)

    def take(self, now: float) -> None:
        """Take an attempt from the reserve, if only that is left. It becomes negative, as a debt."""
        if self.failures(now) >= self.free:
            self.reserve, self.filled = self.left(now) - 1, now


_Key = bytes
Keys = tuple[_Key, _Key, _Key]
"""The keys of a pair, an address and an account, each 16 bytes. They do not show the names."""


class Throttle:
    """Delays that grow with each wrong password. Times are seconds on a monotonic clock.

    Attributes:
        tell: called with the result of each attempt here (True if it was right), for the other nodes of a cluster.
        secret: what the keys are hashed with. Set it before the first attempt.
    """

    def __init__(self) -> None:
        self.tell: Callable[[bool, Keys], None] = lambda right, keys: None
        self.secret = b""
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
        entries = self._entries(keys_of(username, address, self.secret), now)
        for entry in entries:
            entry.running += 1
        entries[1].take(now)

    def failed(self, username: str, address: str, now: float) -> None:
        """Count the attempt as wrong."""
        keys = keys_of(username, address, self.secret)
        self._fail(keys, self._done(keys), now)
        self.tell(False, keys)

    def succeeded(self, username: str, address: str) -> None:
        """Forget the failures of this account and address, and remember the pair. Other failures remain."""
        keys = keys_of(username, address, self.secret)
        self._withdraw(keys)
        self._succeed(keys[0])
        self.tell(True, keys)

    def withdraw(self, username: str, address: str) -> None:
        """Remove an attempt that was not decided, because something was unavailable."""
        self._withdraw(keys_of(username, address, self.secret))

    # The results of attempts on other nodes

    def learn(self, right: bool, keys: Keys, now: float) -> None:
        """Take the result of an attempt on another node into account.

        Args:
            right: the password was right.
            keys: as :attr:`tell` got them there.
            now: the time here.
        """
        if right:
            self._succeed(keys[0])
            return
        entries = self._entries(keys, now)
        place = entries[1]
        is_early = place.failures(now) >= place.free and place.left(now) < 1
        place.take(now)
        self._fail(keys, entries, now, address_early=is_early)

    def _entries(self, keys: Keys, now: float) -> list[_Failures]:
        """Return the entries of an attempt, and create those that are missing."""
        found = []
        for key, free in zip(keys, _FREE.values(), strict=True):
            found.append(self._failures.setdefault(key, _Failures(free, filled=now)))
            self._failures.move_to_end(key)
        _bound(self._failures)
        return found

    def _fail(
        self, keys: Keys, entries: Sequence[_Failures | None], now: float, *, address_early: bool = False
    ) -> None:
        """Count a failure in the entries that were not forgotten meanwhile."""
        pair, place, account = entries
        if pair is not None:
            is_target = keys[0] not in self._known and account is not None and account.failures(now) >= account.free
            pair.fail(now, early=_delay(pair, now, is_target) > 0)
        if place is not None:
            place.fail(now, early=address_early)
        if account is not None:
            account.fail(now, early=False)

    def _succeed(self, pair: _Key) -> None:
        if pair in self._failures:
            self._failures[pair].count = 0
        self._known[pair] = None
        self._known.move_to_end(pair)
        _bound(self._known)

    def _of(self, username: str, address: str, now: float) -> tuple[_Failures, _Failures, bool, bool]:
        """Return the pair, the address, whether the pair is known, and whether the account is under attack."""
        keys = keys_of(username, address, self.secret)
        pair, place, account = (
            self._failures.get(key) or _Failures(free) for key, free in zip(keys, _FREE.values(), strict=True)
        )
        is_known = keys[0] in self._known
        return pair, place, is_known, not is_known and account.failures(now) >= FREE_FOR_ACCOUNT

    def _withdraw(self, keys: Keys) -> None:
        for entry in self._done(keys):
            if entry is not None:
                entry.reserve = min(RESERVE, entry.reserve + 1)

    def _done(self, keys: Keys) -> list[_Failures | None]:
        """End an attempt; return its entries, with None for one that was forgotten meanwhile."""
        entries = [self._failures.get(key) for key in keys]
        for entry in entries:
            if entry is not None:
                entry.running = max(0, entry.running - 1)
        return entries


class Throttles(NamedTuple):
    """The throttles of a login server.

    Attributes:
        passwords: the logins with a password, by account.
        clients: the secrets of OAuth clients, by client.
        providers: the logins at OpenID providers, by provider.
    """

    passwords: Throttle
    clients: Throttle
    providers: Throttle

    @classmethod
    def create(cls) -> Throttles:
        """Return throttles without any failure."""
        return cls(Throttle(), Throttle(), Throttle())


_FREE = {"pair": FREE_FOR_PAIR, "place": FREE_FOR_ADDRESS, "account": FREE_FOR_ACCOUNT}


def _delay(pair: _Failures, now: float, is_target: bool) -> float:
    """Return the seconds until the pair's next attempt; 0 or less if it is allowed now."""
    failures = pair.failures(now)
    if is_target and failures:
        delay = min(LONGEST, FIRST_OF_MANY * 2.0 ** min(failures - 1, 30))
    elif failures < FREE_FOR_PAIR:
        return 0.0
    else:
        delay = min(LONGEST, 2.0 ** min(failures - FREE_FOR_PAIR, 30))
    return pair.last + delay * (1 + pair.early) - now


def _bound(entries: OrderedDict[_Key, _Failures] | OrderedDict[_Key, None]) -> None:
    while len(entries) > MAX_ENTRIES:
        entries.popitem(last=False)


def keys_of(username: str, address: str, secret: bytes) -> Keys:
    """Return the keys of an attempt, of fixed size, because a username may be long.

    Only who knows the secret can find out the name and the address by trying many.
    """
    # Ignore case: if the accounts do, each spelling of a name would get its own attempts.
    name, place = username[:255].casefold(), network_of(address)
    return (
        _key(secret, "pair", name, place),
        _key(secret, "place", "", place),
        _key(secret, "account", name, ""),
    )


def _key(secret: bytes, kind: str, name: str, place: str) -> _Key:
    text = "\0".join((kind, name, place))
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16, key=secret).digest()
