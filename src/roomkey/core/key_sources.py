"""The keys of a verifier, in each form that an application can pass them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import PurePath
from typing import Any

from roomkey.core.algorithms import HMAC_BYTES
from roomkey.core.claims import LAST_SECOND, one_or_more
from roomkey.core.key_set import KeySet, LiveKeySet
from roomkey.core.keys import Key
from roomkey.core.printable import printable
from roomkey.core.weak_keys import is_address
from roomkey.errors import ConfigError, UnknownKey

Keys = KeySet | Key | Iterable[Key] | LiveKeySet
"""The keys of one issuer, in each form that a verifier accepts."""


BoundKeys = KeySet | LiveKeySet | dict[str, KeySet | LiveKeySet]
"""The keys of a verifier: of one issuer, or of each of several."""


def bound_keys(
    keys: Keys | Mapping[str | tuple[str, ...], Keys], issuers: tuple[str, ...]
) -> tuple[BoundKeys, tuple[str, ...]]:
    """Return the keys, and the issuers to which they belong; no issuers if they are for any.

    Args:
        keys: as a verifier takes them.
        issuers: the values of its setting ``issuer``.

    Raises:
        ConfigError: not keys, or it is not clear which of them belong to which issuer.
    """
    if isinstance(keys, Mapping) and not _is_jwk(keys):
        if issuers:
            raise ConfigError("cannot use issuer with a mapping as keys, which names the issuers; remove issuer")
        by_name = _by_issuer(keys)
        return by_name, tuple(by_name)
    source = _key_source(keys)
    if len(issuers) > 1 and not (isinstance(source, KeySet) and source.only()):
        raise ConfigError(
            "cannot tell which keys belong to which issuer; "
            "pass a mapping of each issuer to its keys: Verifier({'https://a.example': keys_of_a, …})"
        )
    return source, issuers


def check_usable(keys: BoundKeys, algorithms: tuple[str, ...]) -> None:
    """Check that each key set has a key for one of the algorithms.

    Raises:
        ConfigError: one has none.
    """
    for source in keys.values() if isinstance(keys, dict) else (keys,):
        if isinstance(source, KeySet) and not any(set(key.algorithms) & set(algorithms) for key in source):
            raise ConfigError(f"no key is usable with {', '.join(algorithms)}")


def keys_of_issuer(keys: dict[str, KeySet | LiveKeySet], claims: dict[str, Any]) -> KeySet | LiveKeySet:
    """Return the keys of a token's issuer. The claim only selects the keys; the signature is verified with them.

    Raises:
        UnknownKey: no keys for this issuer.
    """
    issuer = claims.get("iss")
    if not isinstance(issuer, str) or issuer not in keys:
        raise UnknownKey(f"no key of the issuer {printable(issuer)}")
    return keys[issuer]


def _is_jwk(keys: Mapping[Any, Any]) -> bool:
    """Return True for a JWK or a JWK Set, as opposed to a mapping of issuers."""
    return "kty" in keys or isinstance(keys.get("keys"), list)


def _key_source(keys: object) -> KeySet | LiveKeySet:
    """Return the keys of one issuer.

    Raises:
        ConfigError: not keys; the text has what to write instead.
    """
    if isinstance(keys, KeySet):
        return keys
    if callable(keys):
        live: LiveKeySet = keys
        return live
    if isinstance(keys, (str, bytes, PurePath, Mapping)):
        raise ConfigError(f"a verifier requires keys; {remedy(keys)}")
    listed = [keys] if isinstance(keys, Key) else list(keys) if isinstance(keys, Iterable) else None
    if listed is None or not all(isinstance(key, Key) for key in listed):
        raise ConfigError("a verifier requires a KeySet or Key objects, such as Key.from_pem(public_key)")
    return KeySet(listed)


def remedy(keys: str | bytes | PurePath | Mapping[Any, Any]) -> str:
    """Return what to write instead of a value that is not a key. The value may be a secret, so it is not shown."""
    if isinstance(keys, Mapping):
        return "read the JWK Set with KeySet.from_jwks(…), or the JWK with Key.from_jwk(…)"
    if isinstance(keys, PurePath):
        return f"read the file: Verifier.pem(Path({str(keys)!r}).read_bytes(), algorithms=[…])"
    text = keys.decode("utf-8", "replace") if isinstance(keys, bytes) else keys
    if is_address(text):
        return "use Verifier.jwks(url, …)"
    if "-----BEGIN" in text:
        return "use Verifier.pem(public_key, algorithms=[…])"
    return "use Verifier.hs256(secret) for a shared secret"


def _by_issuer(keys: Mapping[str | tuple[str, ...], Keys]) -> dict[str, KeySet | LiveKeySet]:
    """Return the keys of each issuer, for each spelling of its ``iss``.

    Raises:
        ConfigError: no issuer, an issuer twice, or values that are not keys.
    """
    bound: dict[str, KeySet | LiveKeySet] = {}
    for issuers, source in keys.items():
        for issuer in one_or_more(issuers, "an issuer in keys"):
            if issuer in bound:
                raise ConfigError(f"keys names the issuer {issuer!r} twice")
            bound[issuer] = _key_source(source)
    if not bound:
        raise ConfigError("keys is empty; name at least one issuer and its keys")
    return bound


def previous_secret(
    algorithm: str, secret: str | bytes, previous: object, kid: str | None, make: Callable[..., Key]
) -> tuple[KeySet, float]:
    """Return the previous secret as a key, and the time until which it is accepted.

    Args:
        algorithm: the algorithm of both secrets.
        secret: the current secret.
        previous: the argument of the verifier.
        kid: the ``kid`` in the headers of the tokens, or None.
        make: creates the key of the previous secret, and checks the secret.

    Raises:
        ConfigError: not a secret and a time, or the current secret.
    """
    if not isinstance(previous, tuple) or len(previous) != 2:
        raise ConfigError("previous must be two values: the old secret, and a time in seconds since the epoch")
    old, until = previous
    if isinstance(until, bool) or not isinstance(until, (int, float)) or not 0 <= until <= LAST_SECOND:
        raise ConfigError("previous must have the old secret first, and then a time in seconds since the epoch")
    key = make(old, algorithm=algorithm)
    if key.kid == Key.from_secret(secret, algorithm=algorithm).kid:  # thumbprints
        raise ConfigError("previous contains the current secret; pass the secret that was used before")
    return KeySet([key if kid is None else make(old, algorithm=algorithm, kid=kid)]), until


def short_secret_warning(secret: str | bytes, algorithm: str, name: str) -> str | None:
    """Return the warning about a secret that is too short; None if it is not.

    Args:
        secret: the secret, which the warning does not contain.
        algorithm: its algorithm.
        name: what the secret is, such as ``the previous secret``.
    """
    length, wanted = len(secret.encode() if isinstance(secret, str) else secret), HMAC_BYTES[algorithm]
    if length >= wanted:
        return None
    return (
        f"{name} has {length} bytes: whoever has one token can guess it, and then issue tokens; "
        f"replace it by one of at least {wanted} bytes (RFC 7518 section 3.2)"
    )
