"""Tokens of any making, for the test vectors: correctly signed, with whatever header and payload."""

from __future__ import annotations

import json
from typing import Any

from support.tokens import b64, unb64

from roomkey import Key

OK, MALFORMED, INVALID, SIGNATURE = "ok", "jwt malformed", "invalid token", "invalid signature"
ALGORITHM, DATATYPE = "invalid algorithm", "invalid token datatype"
"""What is expected of a verdict, written by hand: ``ok`` or the client's message."""

Case = tuple[str, object, str]
"""A name, a token, and what is expected; a fourth member holds further members of the vector."""

AskedCase = tuple[str, str, object, str]
"""The name of a verifier, then as in `Case`."""

NOW = 1_800_000_000
SECRET = "vectors-1f0e2d3c4b5a69788796a5b4c3d2e1f0"
OLD_SECRET = "vectors-0f1e2d3c4b5a69788796a5b4c3d2e1f0"
SECRET_512 = SECRET * 2
SHORT_SECRET = "tr0ub4dor&3"
CLAIMS: dict[str, Any] = {
    "iss": "https://login.example",
    "sub": "ada",
    "aud": "chat",
    "iat": NOW,
    "exp": NOW + 600,
}
GENERATED = {
    "r1": "RS256",
    "r2": "RS256",
    "p1": "PS256",
    "e1": "ES256",
    "e2": "ES256",
    "e384": "ES384",
    "e512": "ES512",
    "d1": "EdDSA",
    "d448": "Ed448",
}
"""Private keys of ``vectors/keys.json``, by kid."""


def part(value: object) -> str:
    """A token's part: str and bytes as they are, anything else as JSON."""
    if isinstance(value, str):
        value = value.encode("utf-8", "surrogatepass")
    return b64(value if isinstance(value, bytes) else json.dumps(value, separators=(",", ":")).encode())


def without(*names: str) -> dict[str, Any]:
    """The good claims but these."""
    return {name: value for name, value in CLAIMS.items() if name not in names}


def written(name: str, text: str) -> str:
    """The good claims as JSON, with one value that only a hand can write."""
    return json.dumps(without(name), separators=(",", ":"))[:-1] + f',"{name}":{text}}}'


class Forge:
    """Signs with the keys of the vectors.

    Args:
        keys: private JWKs by kid.
        before: signatures made earlier, by key, algorithm and signing input: those of ECDSA and PSS are random, and the
            files would change at every run.
    """

    def __init__(self, keys: dict[str, dict[str, Any]], before: dict[tuple[str, str], str]) -> None:
        self.jwks = keys
        self.keys = {kid: Key.from_jwk(jwk | {"kid": kid}) for kid, jwk in keys.items()}
        self.keys["k1"] = Key.from_secret(SECRET, kid="k1")
        self._before = before

    def public(self, *kids: str, **members: object) -> dict[str, Any]:
        """A JWK Set of public keys."""
        return {"keys": [self.keys[kid].public().to_jwk() | members for kid in kids]}

    def token(self, payload: object = None, header: object = None, *, by: str = "k1", algorithm: str = "") -> str:
        """Sign any header and any payload, well-formed or not."""
        key = self.keys[by]
        algorithm = algorithm or key.algorithms[0]
        header = {"alg": algorithm, "kid": by} if header is None else header
        signing_input = f"{part(header)}.{part(CLAIMS if payload is None else payload)}"
        return f"{signing_input}.{self._signature(key, algorithm, signing_input)}"

    def _signature(self, key: Key, algorithm: str, signing_input: str) -> str:
        known = self._before.get((key.kid, signing_input))
        if algorithm[:2] in ("ES", "PS") and known is not None:
            public = key.verifying()
            if public.verify(algorithm, signing_input.encode(), unb64(known)):
                return known
        made = b64(key.sign(algorithm, signing_input.encode()))
        return self._before.setdefault((key.kid, signing_input), made) if algorithm[:2] in ("ES", "PS") else made
