"""Tokens for tests: one issuer with a clock, and tokens that no issuer would make."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import Any

from support.clock import FakeClock

from roomkey import Issuer, Key

SECRET = "1f0e2d3c4b5a69788796a5b4c3d2e1f0-for-tests-only"

EXPIRED = {
    "message": "jwt expired",
    "code": "invalid_token",
    "type": "UnauthorizedError",
    "reason": "token_expired",
    "retry": True,
    "claim": "exp",
}
"""What a client is told of a token that has expired; ``expired_at`` comes besides."""


def issuer_at(clock: FakeClock, algorithm: str = "HS256", **settings: Any) -> Issuer:
    """Return an issuer with the test's clock."""
    key = Key.from_secret(SECRET) if algorithm == "HS256" else Key.generate(algorithm)
    return Issuer(key, audience="chat", issuer="https://login.example", clock=clock.now, **settings)


def b64(data: bytes) -> str:
    """Return bytes as base64url without padding (RFC 7515)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unb64(text: str) -> bytes:
    """Return the bytes of base64url without padding."""
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def part(value: Any) -> str:
    """Return one base64url part."""
    return b64(value if isinstance(value, bytes) else json.dumps(value).encode())


def hs256(header: Any, payload: Any, secret: str | bytes = SECRET) -> str:
    """Return a correctly signed token of any header and payload."""
    signing_input = f"{part(header)}.{part(payload)}"
    key = secret.encode() if isinstance(secret, str) else secret
    return f"{signing_input}.{part(hmac.new(key, signing_input.encode(), hashlib.sha256).digest())}"


def signed_by(key: Key, header: Any, payload: Any) -> str:
    """Return a token of any header and payload that a key signed with the algorithm of the header."""
    signing_input = f"{part(header)}.{part(payload)}"
    return f"{signing_input}.{part(key.sign(header['alg'], signing_input.encode()))}"
