"""The supported signature algorithms, and the type of key for each (RFC 7518 section 3, RFC 8037, RFC 9864).

``none`` is not in the table, so no setting and no header can select it.
"""

from __future__ import annotations

from collections.abc import Iterable

from joserfc.jws import JWSRegistry

from roomkey.errors import ConfigError

#: algorithm -> (key type, its curves, the most common first)
ALGORITHMS: dict[str, tuple[str, tuple[str, ...]]] = {
    "HS256": ("oct", ()),
    "HS384": ("oct", ()),
    "HS512": ("oct", ()),
    "RS256": ("RSA", ()),
    "RS384": ("RSA", ()),
    "RS512": ("RSA", ()),
    "PS256": ("RSA", ()),
    "PS384": ("RSA", ()),
    "PS512": ("RSA", ()),
    "ES256": ("EC", ("P-256",)),
    "ES384": ("EC", ("P-384",)),
    "ES512": ("EC", ("P-521",)),
    "EdDSA": ("OKP", ("Ed25519", "Ed448")),
    "Ed25519": ("OKP", ("Ed25519",)),
    "Ed448": ("OKP", ("Ed448",)),
}

MODELS = {name: JWSRegistry.algorithms[name] for name in ALGORITHMS}

#: The shortest secret for each HMAC in bytes, which is the length of its hash (RFC 7518 section 3.2).
HMAC_BYTES = {"HS256": 32, "HS384": 48, "HS512": 64}

#: The hash of each HMAC, as :mod:`hashlib` names it.
HMAC_HASHES = {"HS256": "sha256", "HS384": "sha384", "HS512": "sha512"}

SYMMETRIC = frozenset(HMAC_BYTES)


def suits(algorithm: str, kty: str, curve: str | None) -> bool:
    """Return True if a key of this type, and on this curve if it has one, can be used with the algorithm."""
    wanted_kty, curves = ALGORITHMS[algorithm]
    return wanted_kty == kty and (curve in curves if curves else curve is None)


def check_algorithms(algorithms: Iterable[str]) -> tuple[str, ...]:
    """Check a verifier's list of algorithms.

    Raises:
        ConfigError: the list is empty, contains an unknown algorithm (such as ``none``), or mixes HMAC with public-key
            algorithms, so that an attacker could use a public key as an HMAC secret (RFC 8725 section 2.1).
    """
    if isinstance(algorithms, str):
        raise ConfigError(f"algorithms must be a list: algorithms=[{algorithms!r}]")
    chosen = tuple(algorithms)
    unknown = [name for name in chosen if not isinstance(name, str) or name not in ALGORITHMS]
    if not chosen or unknown:
        raise ConfigError(
            f"algorithms must name at least one of {', '.join(ALGORITHMS)}" + (f"; not {unknown}" if unknown else "")
        )
    if 0 < len(SYMMETRIC.intersection(chosen)) < len(set(chosen)):
        raise ConfigError("algorithms must not mix HS* and public-key algorithms; create two verifiers")
    return chosen
