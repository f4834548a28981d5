"""The signature algorithms roomkey knows, and which key each belongs to (RFC 7518 section 3, RFC 8037, RFC 9864).

``none`` is not in the table, so no setting and no header can select it.
"""

from __future__ import annotations

from collections.abc import Iterable

from joserfc.jws import JWSRegistry

from roomkey.errors import ConfigError

#: algorithm -> (key type, its curves, most usual first)
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

#: The shortest secret for each HMAC, in bytes: as long as its hash (RFC 7518 section 3.2).
HMAC_BYTES = {"HS256": 32, "HS384": 48, "HS512": 64}

SYMMETRIC = frozenset(HMAC_BYTES)


def suits(algorithm: str, kty: str, curve: str | None) -> bool:
    """True if a key of this type (and curve, where it has one) can be used with the algorithm."""
    wanted_kty, curves = ALGORITHMS[algorithm]
    return wanted_kty == kty and (curve in curves if curves else curve is None)


def check_algorithms(algorithms: Iterable[str]) -> tuple[str, ...]:
    """Check a verifier's list of algorithms, before any token comes.

    Raises:
        ConfigError: the list is empty, names an unknown algorithm (``none`` is one), or mixes HMAC with public
            keys, which is how a public key becomes somebody's HMAC secret (RFC 8725 section 2.1).
    """
    if isinstance(algorithms, str):
        raise ConfigError(f"algorithms takes a list: algorithms=[{algorithms!r}]")
    chosen = tuple(algorithms)
    unknown = [name for name in chosen if not isinstance(name, str) or name not in ALGORITHMS]
    if not chosen or unknown:
        raise ConfigError(
            f"algorithms must name at least one of {', '.join(ALGORITHMS)}" + (f"; not {unknown}" if unknown else "")
        )
    if 0 < len(SYMMETRIC.intersection(chosen)) < len(set(chosen)):
        raise ConfigError("one verifier takes either HS* or public-key algorithms; make two verifiers")
    return chosen
