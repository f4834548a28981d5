"""The limit of rejected tokens per address. It has no clock: the caller passes the time.

Only tokens that were never valid here count: malformed ones, and those with a wrong signature, key, issuer or audience.
Tokens that were valid once do not, because all clients behind one address may present them at the same moment: expired
and revoked ones, and those that are not valid yet.

The limit decides about rejected tokens alone. A valid token is accepted from every address: otherwise anybody could
lock out the users behind the same address, or, with a proxy that does not forward addresses, all users.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from enum import Enum

from roomkey.core.networks import network_of
from roomkey.core.rate import TokenBucket
from roomkey.errors import AuthError, ClaimError, RevokedToken, SubjectMismatch, TokenError

MAX_ADDRESSES = 50_000
"""The greatest number of addresses. Above it, the address that was seen the longest time ago is forgotten."""

KEY_BYTES = 16

_MINUTE = 60.0
_TIMES = frozenset({"exp", "nbf", "iat", "auth_time"})


def counts_as_bad(error: AuthError) -> bool:
    """Return True if a token was rejected because it was never valid here, and not because of its time."""
    if isinstance(error, ClaimError):
        return error.claim not in _TIMES and not isinstance(error, SubjectMismatch)
    return isinstance(error, TokenError) and not isinstance(error, RevokedToken)


def key_of(address: str, secret: bytes = b"") -> bytes:
    """Return the key under which the tokens of an address count: 16 bytes.

    Args:
        address: the address.
        secret: what all nodes have and readers of their messages do not, so that these cannot guess the address.
    """
    name = network_of(address).encode("utf-8", "surrogatepass")
    return hashlib.blake2b(name, digest_size=KEY_BYTES, key=secret).digest()


class Verdict(Enum):
    """Whether a rejected token is within the limit of its address, and if not, whether it is the minute's first."""

    WITHIN = "within"
    FIRST_OVER = "first over"
    OVER = "over"


class _Address(TokenBucket):
    """The tokens that an address can still present. Its rate is per minute, and so is its time.

    Attributes:
        reported: when it was last reported to be over the limit.
    """

    __slots__ = ("reported",)

    def __init__(self, rate: float, now: float) -> None:
        super().__init__(rate, now)
        self.reported = float("-inf")


class BadTokens:
    """Counts the rejected tokens of each address. Times are seconds on a monotonic clock.

    Args:
        per_minute: how many tokens of one address can be rejected per minute; as many at one moment.
    """

    def __init__(self, per_minute: int) -> None:
        self._per_minute = per_minute
        self._addresses: OrderedDict[bytes, _Address] = OrderedDict()

    def __len__(self) -> int:
        return len(self._addresses)

    def count(self, key: bytes, now: float) -> Verdict:
        """Count a rejected token, from the address with this key, unless it is over the limit."""
        now /= _MINUTE
        address = self._of(key, now)
        if address.take_if_any(now):
            return Verdict.WITHIN
        if now - address.reported < 1:
            return Verdict.OVER
        address.reported = now
        return Verdict.FIRST_OVER

    def learn(self, key: bytes, number: int, now: float) -> None:
        """Count tokens that were rejected on another node, which did not know of those here: they can make a debt."""
        now /= _MINUTE
        self._of(key, now).take(now, number)

    def _of(self, key: bytes, now: float) -> _Address:
        address = self._addresses.get(key)
        if address is None:
            address = self._addresses[key] = _Address(self._per_minute, now)
            if len(self._addresses) > MAX_ADDRESSES:
                self._addresses.popitem(last=False)
        self._addresses.move_to_end(key)
        return address
