"""Python and Node.js decide alike on tokens that nobody thought of: both are asked live, and must agree."""

from __future__ import annotations

import json
import operator
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support import vectors
from support.examples import examples
from support.node import built_node_package
from support.tokens import hs256, part

from roomkey import ConfigError
from roomkey.core.any_of import TokenVerifier

NOW = 1_800_000_000
SECRET = "vectors-1f0e2d3c4b5a69788796a5b4c3d2e1f0"

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]  # thousands of questions, on a busy machine


class Other:
    """The Node.js verifier, one line of JSON for each question."""

    def __init__(self) -> None:
        script = built_node_package() / "test" / "support" / "verdicts.mjs"
        self._process = subprocess.Popen(
            ["node", str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def ask(self, **question: Any) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline(), parse_int=_number)

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(10)


def _number(digits: str) -> float:
    """Read an integer of JavaScript, which writes large floating-point numbers with their shortest digits."""
    return int(digits) if abs(int(digits)) <= 2**53 else float(digits)


@pytest.fixture(scope="module")
def other() -> Iterator[Other]:
    process = Other()
    yield process
    process.close()


def ours(written: dict[str, Any], token: object, now: float) -> Any:
    try:
        verifier = verifier_of(json.dumps(written))
    except ConfigError:
        return {"config_error": True}
    return json.loads(json.dumps(vectors.verdict(verifier, token, now)))


KNOWN: dict[str, TokenVerifier] = {}


def verifier_of(written: str) -> TokenVerifier:
    if written not in KNOWN:
        KNOWN[written] = vectors.verifier_of(json.loads(written))
    return KNOWN[written]


# Strings, names and numbers near every border that the verifiers draw.
LETTERS = "ab *:/.,\"\\'{}[]\0\n\x7f\x85\u00a0\u200b\u2028\ufeffé\u0301😀\u0378\U000e0001\ue000K"
TEXTS = (
    st.sampled_from(
        [
            "ada",
            "chat",
            "",
            "admin",
            "refresh",
            "ID",
            "__proto__",
            "constructor",
            "x" * 255,
            "x" * 256,
            "😀" * 255,
            "😀" * 256,
        ]
    )
    | st.text(LETTERS, max_size=6)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=4)
)
NUMBERS = (
    st.integers(-3, 3)
    | st.sampled_from(
        [
            2**53 - 1,
            2**53,
            -(2**53),
            2**53 - 1.0,
            1e16,
            10**30,
            0.0,
            -0.0,
            0.5,
            1e300,
            5e-324,
            253_402_300_799,
            253_402_300_800,
        ]
    )
    | st.integers(NOW - 700, NOW + 700)
    | st.floats(NOW - 700, NOW + 700)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.integers()
)
SCALARS = st.none() | st.booleans() | NUMBERS | TEXTS
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3), max_leaves=5
)
CLAIMS: dict[str, st.SearchStrategy[Any]] = {
    "iss": st.sampled_from(["me", "you", "me "]) | VALUES,
    "sub": st.just("ada") | TEXTS | VALUES,
    "aud": st.sampled_from(["chat", ["chat"], ["a", "chat"], [], "b"]) | VALUES,
    "exp": st.integers(NOW - 100, NOW + 1000) | NUMBERS | VALUES,
    "nbf": st.integers(NOW - 100, NOW + 100) | VALUES,
    "iat": st.integers(NOW - 100, NOW + 100) | NUMBERS | VALUES,
    "jti": TEXTS | VALUES,
    "sid": TEXTS | VALUES,
    "roles": st.lists(TEXTS, max_size=3) | VALUES,
    "role": TEXTS | VALUES,
    "rooms": st.lists(TEXTS, max_size=3) | st.dictionaries(TEXTS, st.lists(TEXTS, max_size=2), max_size=3) | VALUES,
    "scope": TEXTS | VALUES,
    "type": TEXTS | VALUES,
    "level": NUMBERS | st.booleans() | VALUES,
    "user_id": NUMBERS | TEXTS | VALUES,
    "u:x.y": st.lists(TEXTS, max_size=3) | VALUES,
    "a": st.dictionaries(st.sampled_from(["b", "roles", "c.d"]), st.lists(TEXTS, max_size=3) | VALUES) | VALUES,
}


def few(choices: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[dict[str, Any]]:
    """Return values for at most two of the names: with many, hardly a token would be accepted."""
    names = st.lists(st.sampled_from(sorted(choices)), max_size=2, unique=True)
    return names.flatmap(lambda chosen: st.fixed_dictionaries({name: choices[name] for name in chosen}))


GOOD = {"iss": "me", "sub": "ada", "aud": "chat", "iat": NOW, "exp": NOW + 600}
PAYLOADS = (
    few(CLAIMS).map(lambda changed: GOOD | changed)
    | st.fixed_dictionaries({}, optional=CLAIMS).map(lambda changed: GOOD | changed)
    | st.fixed_dictionaries({}, optional=CLAIMS)
    | VALUES
)
HEADERS = (
    st.fixed_dictionaries(
        {"alg": st.just("HS256") | SCALARS},
        optional={
            "kid": st.just("k1") | SCALARS,
            "typ": st.sampled_from(["JWT", "jwt", "at+jwt", "application/at+jwt", "application/jwt"]) | SCALARS,
            "crit": VALUES,
            "nonce": VALUES,
            "x5t": VALUES,
            "zip": VALUES,
            "jku": VALUES,
            "x5c": VALUES,
        },
    )
    | st.just({"alg": "HS256", "kid": "k1"})
    | st.just({"alg": "HS256"})
)
OPTIONS: dict[str, st.SearchStrategy[Any]] = {
    "issuer": st.sampled_from(["me", ["me", "you"], None]),
    "audience": st.sampled_from(["chat", ["a", "chat"], None]),
    "leeway": st.sampled_from([0, 30, 0.5]),
    "require": st.sampled_from([[], ["exp"], ["jti", "sid"], ["__proto__"], ["sub", "exp", "nbf"]]),
    "max_lifetime": st.sampled_from([None, 0, 600, 10**6]),
    "max_age": st.sampled_from([None, 0, 60]),
    "token_type": st.sampled_from([None, "JWT", "at+jwt"]),
    "claims": st.sampled_from(
        [
            {},
            {"level": 1},
            {"level": True},
            {"type": "refresh"},
            {"level": 0},
            {"role": "ada"},
            {"type": ["ada", None, "refresh"], "level": [0, 1, False]},
        ]
    ),
    "claims_map": st.dictionaries(
        st.sampled_from(["subject", "audience", "session", "roles", "role", "rooms", "scopes"]),
        st.sampled_from(["sub", "user_id", "level", "a.b", "a.roles", ["a", "c.d"], "u:x.y", "roles", "aud"]),
    ),
    "integer_subject": st.booleans(),
    "preset": st.sampled_from([None, "keycloak", "clerk", "simplejwt", "fastapi-users", "entra"]),
    "max_token": st.sampled_from([200, 8192]),
    "tolerate_header": st.lists(st.sampled_from(["jku", "x5u", "x5c"])) | st.sampled_from([["crit"], ["jwk"]]),
    "subject_prefix": st.sampled_from(["", "sso:", "a\nb"]),
}
KEYS = st.fixed_dictionaries({"keys": st.sampled_from([{"secret": SECRET}, {"secret": SECRET, "kid": "k1"}])})
SETTINGS = st.builds(operator.or_, KEYS, few(OPTIONS) | st.fixed_dictionaries({}, optional=OPTIONS))
DAMAGES = (
    b'" \\ \\ud83d \\u0041 , { } [ ] : 1 - . e E+ 0 99999999999999999 "sub":"b", NaN true \0 \xff \xed\xa0\x80'.split(
        b" "
    )
)
DAMAGES += [b"", b" ", b"\n", b"\t", b"\xc2\xa0", b"\xef\xbb\xbf", b"[" * 32 + b"1", b"]" * 32]
SLOW = settings(
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture], max_examples=examples(2000)
)


def compare(other: Other, written: dict[str, Any], token: object, now: float = NOW) -> None:
    assert other.ask(settings=written, token=token, now=now) == ours(written, token, now)


@settings(SLOW, max_examples=examples(3000))
@given(SETTINGS, HEADERS, PAYLOADS, st.sampled_from([NOW, NOW - 50, NOW + 629.5, NOW + 630, NOW + 631]))
def test_signed_tokens_of_any_claims_and_settings(other, written, header, payload, now):
    compare(other, written, hs256(header, payload, SECRET), now)


@SLOW
@given(SETTINGS, st.data())
def test_signed_tokens_of_damaged_json(other, written, data):
    texts = [
        json.dumps(value, ensure_ascii=data.draw(st.booleans()))
        for value in ({"alg": "HS256", "kid": "k1"}, GOOD | {"n": [{"a": 1e5}, -0.5, "\\u00e9"]})
    ]
    which = data.draw(st.integers(0, 1))
    damaged = bytearray(texts[which].encode())
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(damaged)))
        inserted = data.draw(st.sampled_from(DAMAGES))
        damaged[at : at + data.draw(st.integers(0, 2))] = inserted
    parts: list[Any] = [text.encode() for text in texts]
    parts[which] = bytes(damaged)
    compare(other, written, hs256(parts[0], parts[1], SECRET))


@settings(SLOW, max_examples=examples(1000))
@given(SETTINGS, st.data())
def test_tokens_of_any_text(other, written, data):
    token = hs256({"alg": "HS256"}, GOOD, SECRET)
    if data.draw(st.booleans()):
        at = data.draw(st.integers(0, len(token)))
        token = (
            token[:at]
            + data.draw(st.text(max_size=3) | st.text("AQgw=.-_+/ \n", max_size=3))
            + token[at + data.draw(st.integers(0, 3)) :]
        )
    else:
        token = data.draw(VALUES | st.lists(st.text("Ag.-_=", max_size=9) | VALUES.map(part), max_size=4).map(".".join))
    compare(other, written, token)
