"""Sets of keys (RFC 7517 section 5), in which a token's ``kid`` and ``alg`` select the key."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Protocol

from roomkey.core.keys import Key
from roomkey.core.pem import key_blocks
from roomkey.errors import ConfigError

PRIVATE_MEMBERS = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth"})  # RFC 7518 section 6


class KeySet:
    """A set of keys, by ``kid`` and algorithm.

    Several keys can have the same ``kid`` if they have no algorithm in common. If a key occurs twice, the set contains
    it once, for the algorithms of both.

    Args:
        keys: the keys.
        refused: the keys that are left out, for the error and the attribute.

    Attributes:
        refused: the keys that :meth:`from_jwks` left out, each as its ``kid`` or None, and the reason.

    Raises:
        ConfigError: no key, or two different keys with the same ``kid`` and a common algorithm.
    """

    def __init__(self, keys: Iterable[Key], *, refused: Iterable[tuple[str | None, str]] = ()) -> None:
        distinct, ambiguous = _separate(keys)
        self.refused = tuple(refused)
        if ambiguous:
            raise ConfigError(f"two keys have the kid {ambiguous[0].kid} and a common algorithm; give each its own kid")
        self._keys = distinct
        self._named: dict[str, tuple[Key, ...]] = {}
        for key in distinct:
            self._named[key.kid] = (*self._named.get(key.kid, ()), key)
        if not distinct:
            why = "; ".join(f"{kid}: {reason}" for kid, reason in self.refused)
            raise ConfigError("a key set requires at least one usable key" + (f" ({why})" if why else ""))

    @classmethod
    def from_jwks(cls, jwks: Mapping[str, Any], *, allow_symmetric: bool = False, allow_private: bool = True) -> KeySet:
        """Create a key set from a JWK Set (RFC 7517 section 5).

        Each key is checked separately. Unusable keys are left out and listed in ``refused``; they do not affect other
        keys with the same ``kid``.

        Args:
            jwks: the JWK Set.
            allow_symmetric: accept ``oct`` keys. Never do this for a set from the network.
            allow_private: accept private keys. In a set from the network, a private key is no longer a secret.

        Raises:
            ConfigError: not a JWK Set, or a set without a usable key.
        """
        listed = jwks.get("keys") if isinstance(jwks, Mapping) else None
        if not isinstance(listed, list):
            raise ConfigError('a JWK Set must be an object with a list "keys"')
        usable: list[Key] = []
        refused: list[tuple[str | None, str]] = []
        for jwk in listed:
            try:
                usable.append(_of_set(jwk, allow_symmetric, allow_private))
            except ConfigError as error:
                kid = jwk.get("kid") if isinstance(jwk, Mapping) else None
                refused.append((kid if isinstance(kid, str) else None, str(error)))
        distinct, ambiguous = _separate(usable)
        refused += [(key.kid, "another key has this kid and algorithm") for key in ambiguous]
        return cls(distinct, refused=refused)

    @classmethod
    def from_pem(cls, *pems: str | bytes, algorithms: Iterable[str] | None = None) -> KeySet:
        """Create a key set from PEM texts, each with one or several keys. Their thumbprints are the names of the keys.

        Raises:
            ConfigError: as for :meth:`Key.from_pem`.
        """
        return cls(
            Key.from_pem(block, algorithms=algorithms)
            for pem in pems
            for block in key_blocks(pem.encode() if isinstance(pem, str) else pem)
        )

    def get(self, kid: str) -> Key | None:
        """Return the first key with this ``kid``, or None."""
        return next(iter(self._named.get(kid, ())), None)

    def named(self, kid: str | None) -> tuple[Key, ...]:
        """Return the keys with this ``kid``; all keys if it is None."""
        return self._keys if kid is None else self._named.get(kid, ())

    def only(self) -> Key | None:
        """Return the key if the set has exactly one, or None."""
        return self._keys[0] if len(self._keys) == 1 else None

    def to_jwks(self, private: bool = False) -> dict[str, Any]:
        """Return the keys as a JWK Set; without ``private``, shared secrets are left out."""
        return {"keys": [key.to_jwk(private) for key in self if private or key.kty != "oct"]}

    def __iter__(self) -> Iterator[Key]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)


LiveKeySet = Callable[[float], KeySet]
"""A function from the time, in seconds since the epoch, to the trusted keys."""


class RemoteKeys(Protocol):
    """A :data:`LiveKeySet` of another server, which can have a key that this process does not know yet."""

    def __call__(self, now: float) -> KeySet:
        """Return the known keys, without waiting; raise :class:`roomkey.errors.Unavailable` if there are none."""

    def look_up(self, kid: str | None) -> None:
        """Return if the other server has no key for a token; raise :class:`roomkey.errors.Unavailable` if it may."""


def _separate(keys: Iterable[Key]) -> tuple[tuple[Key, ...], tuple[Key, ...]]:
    """Divide keys into those that a token's ``kid`` and ``alg`` select, and those that are ambiguous."""
    merged: dict[tuple[str, str], Key] = {}
    for key in keys:
        same = (key.kid, key.thumbprint())
        merged[same] = _merged(merged[same], key) if same in merged else key
    uses = Counter((key.kid, name) for key in merged.values() for name in key.algorithms)
    ambiguous = {key for key in merged.values() if any(uses[key.kid, name] > 1 for name in key.algorithms)}
    return (
        tuple(key for key in merged.values() if key not in ambiguous),
        tuple(key for key in merged.values() if key in ambiguous),
    )


def _merged(one: Key, other: Key) -> Key:
    """Merge two entries of the same key: the private half if there is one, for the algorithms of both."""
    algorithms = (*one.algorithms, *(name for name in other.algorithms if name not in one.algorithms))
    return replace(other if other.is_private else one, algorithms=algorithms)


def _of_set(jwk: object, allow_symmetric: bool, allow_private: bool) -> Key:
    """Create a key from an entry of a JWK Set, for verification."""
    if not isinstance(jwk, Mapping):
        raise ConfigError("not an object")
    if jwk.get("kty") == "oct" and not allow_symmetric:
        raise ConfigError("a shared secret in a public set")
    if not allow_private and jwk.get("kty") != "oct" and not PRIVATE_MEMBERS.isdisjoint(jwk):
        raise ConfigError("a private key in a public set")
    key = Key.from_jwk(jwk)
    if "verify" not in jwk.get("key_ops", ["verify"]):
        raise ConfigError("key_ops does not allow verify")
    return key
