"""Forged tokens. Time is always an argument: ``NOW`` is the only clock."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from support.tokens import b64

from roomkey import Key, Verifier
from roomkey.errors import AuthError

NOW = 1_800_000_000


def encoded(part: object) -> str:
    """Return one part of a token: bytes and str unchanged, anything else as JSON."""
    if isinstance(part, str):
        part = part.encode()
    return b64(part if isinstance(part, bytes) else json.dumps(part).encode())


@pytest.fixture
def now() -> int:
    return NOW


@pytest.fixture(scope="session")
def key() -> Key:
    return Key.generate("HS256", kid="k1")


@pytest.fixture(scope="session")
def rsa() -> Key:
    return Key.generate("RS256", kid="r1")


@pytest.fixture(scope="session")
def ec() -> Key:
    return Key.generate("ES256", kid="e1")


@pytest.fixture
def verifier(key: Key) -> Verifier:
    return Verifier(key, algorithms=["HS256"], audience="chat", issuer="https://login.example")


@pytest.fixture
def claims() -> dict[str, Any]:
    """Return claims that ``verifier`` accepts."""
    return {"iss": "https://login.example", "sub": "ada", "aud": "chat", "iat": NOW, "exp": NOW + 600}


@pytest.fixture
def forge(key: Key, claims: dict[str, Any]) -> Callable[..., str]:
    """Sign any header and any payload, well-formed or not, with a key that the verifier trusts."""

    def forge(payload: object = None, header: object = None, *, by: Key = key, algorithm: str | None = None) -> str:
        algorithm = algorithm or by.algorithms[0]
        header = {"alg": algorithm, "kid": by.kid} if header is None else header
        signing_input = f"{encoded(header)}.{encoded(claims if payload is None else payload)}"
        return f"{signing_input}.{b64(by.sign(algorithm, signing_input.encode()))}"

    return forge


@pytest.fixture
def refused(verifier: Verifier) -> Callable[..., AuthError]:
    """Assert that a token is rejected with exactly this error and message, which reveal nothing of the token."""

    def refused(token: object, kind: type[AuthError], message: str, **options: Any) -> AuthError:
        chosen = options.pop("verifier", verifier)
        with pytest.raises(AuthError) as caught:
            chosen.verify(token, options.pop("now", NOW))
        error = caught.value
        assert type(error) is kind, f"{type(error).__name__}: {error}"
        told = error.to_client()
        assert (told["message"], told["code"], told["type"]) == (message, "invalid_token", "UnauthorizedError")
        assert told.keys() <= {"message", "code", "type", "reason", "retry", "claim", "expired_at", "date"}
        texts = json.dumps(told) + str(error) + repr(error)
        assert len(str(error)) < 300
        assert texts.isprintable()
        if isinstance(token, str):
            assert not [part for part in token.split(".") if len(part) > 7 and part in texts]
        return error

    return refused
