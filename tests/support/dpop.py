"""A client's key for DPoP, and the proofs that it signs, including those that no honest client would make."""

from __future__ import annotations

import json
import secrets
from typing import Any

from support.tokens import part

from roomkey import Key
from roomkey.core.dpop import hash_of

URL = "https://chat.example/socket.io/"
NONCE_SECRET = "5d6f7a8b9cadbecfd0e1f20314253647-for-tests-only"


def _generated(algorithm: str) -> Key:
    """Return a key. For P-256, no coordinate begins with a zero: with a wrong curve, other checks would find it."""
    while True:
        key = Key.generate(algorithm)
        if algorithm != "ES256" or not any(key.to_jwk()[name].startswith("A") for name in "xy"):
            return key


class ClientKey:
    """The key pair of one client.

    Attributes:
        thumbprint: the value of ``cnf.jkt`` in tokens that are bound to it.
    """

    def __init__(self, algorithm: str = "ES256", url: str = URL) -> None:
        self.key = _generated(algorithm)
        self.algorithm = algorithm
        self.url = url
        self.thumbprint = self.key.thumbprint()

    @property
    def binding(self) -> dict[str, Any]:
        """The claims of a token that is bound to this key."""
        return {"cnf": {"jkt": self.thumbprint}}

    @property
    def jwk(self) -> dict[str, Any]:
        """The public key, with the members that a browser's ``exportKey`` adds."""
        members = {k: v for k, v in self.key.to_jwk().items() if k in ("kty", "crv", "x", "y", "n", "e")}
        return {**members, "ext": True, "key_ops": ["verify"]}

    def claims(self, token: str, now: float, **changes: Any) -> dict[str, Any]:
        """The claims of a proof; None leaves one out."""
        made = {"htm": "GET", "htu": self.url, "jti": secrets.token_urlsafe(12), "iat": now, "ath": hash_of(token)}
        return {name: value for name, value in {**made, **changes}.items() if value is not None}

    def proof(self, token: str, now: float, *, header: dict[str, Any] | None = None, **changes: Any) -> str:
        """Return a proof for a token. None in ``header`` or ``changes`` leaves a member out."""
        members = {"typ": "dpop+jwt", "alg": self.algorithm, "jwk": self.jwk, **(header or {})}
        return self.sign(
            json.dumps({name: value for name, value in members.items() if value is not None}).encode(),
            json.dumps(self.claims(token, now, **changes)).encode(),
        )

    def sign(self, header: bytes, payload: bytes) -> str:
        """Sign any header and any payload."""
        signing_input = f"{part(header)}.{part(payload)}"
        return f"{signing_input}.{part(self.key.sign(self.algorithm, signing_input.encode()))}"
