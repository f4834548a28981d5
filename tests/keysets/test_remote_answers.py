"""What other servers answer, as pure functions: no answer causes another error than AnswerError."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.key_server import new_keys

from roomkey import Key
from roomkey.keysets.remote import ASYMMETRIC
from roomkey.keysets.remote_answers import AnswerError, parse_discovery, parse_key_set

A, B = new_keys("a", "b")
MEMBERS = st.sampled_from(
    ["kty", "use", "key_ops", "alg", "kid", "n", "e", "d", "crv", "x", "y", "k", "x5c", "x5u", "x5t", "x5t#S256", "oth"]
)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20)
    | st.sampled_from(["RSA", "EC", "OKP", "oct", "sig", "P-256", "Ed25519", "AQAB", "RS256", "none", "verify"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(MEMBERS | st.text(max_size=5), inner, max_size=4),
    max_leaves=8,
)


def parsed(value: object, **options: Any) -> dict[str, tuple[str, ...]]:
    found = parse_key_set(json.dumps(value).encode(), ASYMMETRIC, **options)
    return {key.kid: key.algorithms for key in found}


@given(st.binary(max_size=200))
def test_any_bytes_are_an_answer_error(body: bytes) -> None:
    with pytest.raises(AnswerError):
        parse_key_set(body, ASYMMETRIC)
    with pytest.raises(AnswerError):
        parse_discovery(body, "https://sso.example")


@given(st.lists(VALUES | st.dictionaries(MEMBERS, VALUES, max_size=8), max_size=5))
def test_any_key_beside_a_good_one_is_left_out(others: list[Any]) -> None:
    assert parsed({"keys": [*others, A.public().to_jwk()]})["a"] == ("ES256",)


@given(st.sampled_from(sorted(A.public().to_jwk())), VALUES)
def test_any_change_of_a_key_leaves_the_others(member: str, value: Any) -> None:
    found = parsed({"keys": [{**B.public().to_jwk(), member: value}, A.public().to_jwk()]})
    assert found.get("a") == ("ES256",) or (member == "kid" and value == "a")


@given(st.dictionaries(st.sampled_from(["issuer", "jwks_uri", "id_token_signing_alg_values_supported"]), VALUES))
def test_any_discovery_document_is_checked(members: dict[str, Any]) -> None:
    with pytest.raises(AnswerError):
        parse_discovery(json.dumps(members).encode(), "https://sso.example")


def test_keys_are_limited_to_the_accepted_algorithms() -> None:
    rsa = Key.generate("RS256", kid="r").public().to_jwk()
    unlimited = {name: value for name, value in rsa.items() if name != "alg"}
    assert parsed({"keys": [unlimited]})["r"] == tuple(name for name in ASYMMETRIC if name[:2] in {"RS", "PS"})
    assert parsed({"keys": [unlimited]}, offered=["RS256", "none", "HS256"])["r"] == ("RS256",)
    assert parsed({"keys": [rsa]}, offered=["ES256"])["r"] == ("RS256",)  # the key itself says so
    with pytest.raises(AnswerError, match="which the verifier does not accept"):
        parse_key_set(json.dumps({"keys": [rsa]}).encode(), ["ES256"])
