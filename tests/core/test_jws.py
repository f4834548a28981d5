"""The compact form. joserfc and PyJWT are oracles: a token that both reject is never accepted."""

from __future__ import annotations

import json

import jwt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from joserfc import jwt as jose_jwt
from joserfc.jwk import import_key
from support.examples import examples
from support.tokens import b64, unb64

from roomkey import Issuer, Key, Verifier
from roomkey.core import jws
from roomkey.errors import AuthError, BadSignature, MalformedToken

NOW = 1_800_000_000
FAR = 10**9
ORACLES = ("HS256", "RS256", "ES256", "EdDSA")
KEYS = {algorithm: Key.generate(algorithm, kid="k") for algorithm in ORACLES}
VERIFIERS = {algorithm: Verifier(key, algorithms=[algorithm]) for algorithm, key in KEYS.items()}
TOKENS = {
    algorithm: [
        Issuer(key, clock=lambda: NOW, expires_in=FAR).issue("ada", token_id="t" * size, roles=["r"])
        for size in (1, 2, 3)
    ]
    for algorithm, key in KEYS.items()
}
PYJWT_KEYS = {a: jwt.PyJWK(key.to_jwk(private=a == "HS256")).key for a, key in KEYS.items()}
JOSE_KEYS = {a: import_key(key.to_jwk(private=a == "HS256")) for a, key in KEYS.items()}


def sign(algorithm: str, header: bytes, payload: bytes) -> str:
    signing_input = f"{b64(header)}.{b64(payload)}"
    return f"{signing_input}.{b64(KEYS[algorithm].sign(algorithm, signing_input.encode()))}"


def pyjwt_accepts(algorithm: str, token: str) -> bool:
    try:
        jwt.decode(token, PYJWT_KEYS[algorithm], algorithms=[algorithm], options={"verify_iat": False})
    except Exception:
        return False
    return True


def joserfc_accepts(algorithm: str, token: str) -> bool:
    try:
        jose_jwt.decode(token, JOSE_KEYS[algorithm], algorithms=[algorithm])
    except Exception:
        return False
    return True


def accepts(algorithm: str, token: str) -> bool:
    try:
        VERIFIERS[algorithm].verify(token, NOW)
    except AuthError:
        return False
    return True


def judge(algorithm: str, token: str) -> None:
    if accepts(algorithm, token):
        assert pyjwt_accepts(algorithm, token) or joserfc_accepts(algorithm, token), token


@pytest.mark.parametrize("algorithm", ORACLES)
def test_oracles_accept_valid_tokens(algorithm):
    for token in TOKENS[algorithm]:
        assert accepts(algorithm, token)
        assert pyjwt_accepts(algorithm, token)
        assert joserfc_accepts(algorithm, token)


CHOSEN = st.sampled_from(ORACLES)
WHICH = st.integers(0, 2)
LETTERS = st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_+/=. \n\0é", max_size=6)


@given(CHOSEN, WHICH, st.data())
def test_flipped_bits_are_rejected(algorithm, which, data):
    token = TOKENS[algorithm][which]
    at, bit = data.draw(st.integers(0, len(token) - 1)), data.draw(st.integers(0, 6))
    flipped = token[:at] + chr(ord(token[at]) ^ 1 << bit) + token[at + 1 :]
    assert not accepts(algorithm, flipped)


@given(CHOSEN, WHICH, st.data(), LETTERS)
def test_edited_segments_are_rejected(algorithm, which, data, letters):
    token = TOKENS[algorithm][which]
    start = data.draw(st.integers(0, len(token)))
    end = data.draw(st.integers(start, min(len(token), start + 8)))
    edited = token[:start] + letters + token[end:]
    assert accepts(algorithm, edited) == (edited == token)


@given(CHOSEN, st.lists(st.tuples(WHICH, st.integers(0, 2)), min_size=0, max_size=6))
def test_mixed_segments_are_rejected(algorithm, picks):
    mixed = ".".join(TOKENS[algorithm][which].split(".")[part] for which, part in picks)
    assert accepts(algorithm, mixed) == (mixed in TOKENS[algorithm])


HEADERS = ["alg", "typ", "kid", "crit", "b64", "jwk", "jku", "x5c", "x5t", "zip", "enc", "cty", "exp", "epk", "x"]
HEADER_VALUES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=4)
    | st.sampled_from([*ORACLES, "none", "JWT", "k", "at+jwt"])
    | st.lists(st.sampled_from(["b64", "exp", "x", "alg"]), max_size=2)
)
MEMBERS = st.dictionaries(st.sampled_from(HEADERS), HEADER_VALUES, max_size=4)


@settings(max_examples=examples(300))
@given(CHOSEN, MEMBERS, st.booleans())
def test_edited_headers_are_accepted_only_with_the_oracles(algorithm, members, keep):
    header = ({"alg": algorithm, "kid": "k", "typ": "JWT"} if keep else {"alg": algorithm}) | members
    token = sign(algorithm, json.dumps(header).encode(), json.dumps({"sub": "ada", "exp": NOW + FAR}).encode())
    judge(algorithm, token)
    if accepts(algorithm, token):
        assert header["alg"] == algorithm
        assert not header.keys() & jws.REJECTED_MEMBERS


VALUES = (
    st.none() | st.booleans() | st.integers(-5, NOW + FAR) | st.floats() | st.text(max_size=5) | st.lists(st.text())
)
EDITS = st.dictionaries(st.sampled_from(["sub", "exp", "nbf", "iat", "aud", "iss", "jti", "x"]), VALUES, max_size=3)


@settings(max_examples=examples(300))
@given(CHOSEN, EDITS, st.sampled_from(["{%s}", "{%s,%s}", "[{%s}]", " {%s}\n", "{%s}x", "\ufeff{%s}", "{%s", "%s"]))
def test_edited_claims_are_accepted_only_with_the_oracles(algorithm, edits, frame):
    inside = json.dumps({"sub": "ada", "exp": NOW + FAR} | edits)[1:-1]
    payload = frame.replace("%s", inside)
    token = sign(algorithm, json.dumps({"alg": algorithm}).encode(), payload.encode())
    judge(algorithm, token)
    if accepts(algorithm, token):
        assert frame.strip() == "{%s}"


@given(
    CHOSEN, WHICH, st.sampled_from([0, 1, 2]), st.sampled_from(["pad", "stray", "standard", "space", "newline", "hex"])
)
def test_parts_in_another_encoding_are_rejected(algorithm, which, part, how):
    parts = TOKENS[algorithm][which].split(".")
    original = parts[part]
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    unused = {0: 0, 2: 15, 3: 3}[len(original) % 4]
    parts[part] = {
        "pad": original + "=" * (-len(original) % 4 or 4),
        "stray": original[:-1] + alphabet[alphabet.index(original[-1]) | unused],
        "standard": original.replace("-", "+").replace("_", "/"),
        "space": original[:4] + " " + original[4:],
        "newline": original + "\n",
        "hex": unb64(original).hex(),
    }[how]
    respelled = ".".join(parts)
    assert accepts(algorithm, respelled) == (parts[part] == original)


@settings(max_examples=examples(300))
@given(st.text() | st.text("ey.AJ-_=", max_size=40) | st.binary() | st.integers() | st.none())
def test_verify_raises_only_auth_errors(token):
    with pytest.raises(AuthError) as caught:
        VERIFIERS["HS256"].verify(token, NOW)
    json.dumps(caught.value.to_client())
    with pytest.raises(MalformedToken):
        jws.decode_unverified(token)


@given(st.binary(max_size=60))
def test_part_has_one_spelling(data):
    part = b64(data).encode()
    assert jws.decode_parts(part) == [data]
    if len(part) % 4:
        with pytest.raises(MalformedToken):
            jws.decode_parts(part[:-1] + bytes([_next_letter(part[-1])]))


@pytest.mark.parametrize("byte", sorted({*b"+/=. \t\r\n\0*%", 0x80, 0xFF}))
@pytest.mark.parametrize("count", [1, 2, 4])
def test_part_rejects_other_characters(byte, count):
    """A lenient decoder skips them if the rest still has a possible length."""
    letters = b64(b"twelve bytes").encode()
    for at in (0, 5, len(letters)):
        for part in (
            letters[:at] + bytes([byte]) * count + letters[at:],
            letters[:at] + bytes([byte]) + letters[at + 1 :],
        ):
            with pytest.raises(MalformedToken):
                jws.decode_parts(part)


def _next_letter(last: int) -> int:
    alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return alphabet[alphabet.index(last) | 1]


def test_split_returns_the_parts():
    token = TOKENS["ES256"][0]
    parts = jws.split(token)
    assert parts.signing_input.decode() == token.rpartition(".")[0]
    assert json.loads(parts.payload)["sub"] == "ada"
    assert len(parts.signature) == 64
    assert (parts.header.algorithm, parts.header.kid, parts.header.type) == ("ES256", "k", "jwt")


def test_exception_in_the_library_is_a_bad_signature(monkeypatch):
    def broken(*_):
        raise KeyError("deep inside")

    monkeypatch.setattr(Key, "verify", broken)
    with pytest.raises(BadSignature) as caught:
        VERIFIERS["ES256"].verify(TOKENS["ES256"][0], NOW)
    assert str(caught.value) == "the signature could not be checked (KeyError)"
    assert caught.value.message == "invalid signature"


def test_library_result_other_than_true_is_a_bad_signature(monkeypatch):
    monkeypatch.setattr(Key, "verify", lambda *_: None)
    with pytest.raises(BadSignature):
        VERIFIERS["ES256"].verify(TOKENS["ES256"][0], NOW)


def test_decode_unverified_returns_header_and_claims():
    header = {"alg": "none", "crit": ["x"], "kid": 5}
    token = f"{b64(json.dumps(header).encode())}.{b64(b'{}')}."
    assert jws.decode_unverified(token) == (header, {})
    for wrong in (None, "", "a.b", "a.b.c", "x" * 9000, "é.é.é", f"{b64(b'[]')}.{b64(b'{}')}.", "!!!!.!!!!.", "A.A.A"):
        with pytest.raises(MalformedToken):
            jws.decode_unverified(wrong)
