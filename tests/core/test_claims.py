"""The order of the checks, and the settings. (The values of each claim: tests/security, group B.)"""

from __future__ import annotations

import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roomkey import ConfigError
from roomkey.core.characters import is_clean
from roomkey.core.claims import ExpectedClaims, check_types, one_or_more
from roomkey.core.names import is_name
from roomkey.core.printable import printable
from roomkey.errors import ClaimError, ExpiredToken

NOW = 1_800_000_000
ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)
CLAIMS = ["iss", "sub", "aud", "exp", "nbf", "iat", "jti", "sid"]
STRICT = ExpectedClaims(issuers=("me",), audiences=("chat",), max_lifetime=600, max_age=600)


def test_check_raises_the_first_failed_check():
    """Types, presence, nbf, exp, lifetime, iss, aud: each broken claim hides those after it."""
    broken = {"jti": 5, "nbf": NOW + 99, "exp": NOW - 99, "iss": "you", "aud": "mail"}
    mended = {"jti": "t", "sub": "ada", "nbf": NOW, "exp": NOW + 999, "iat": NOW - 600}
    blamed = []
    expected = ExpectedClaims(issuers=("me",), audiences=("chat",), max_lifetime=1000)
    for name in ("jti", "sub", "nbf", "exp", "iat", "exp"):
        with pytest.raises(ClaimError) as caught:
            expected.check(broken, NOW)
        blamed.append(caught.value.claim)
        broken[name] = mended[name]
    broken["exp"] = NOW + 300
    for name, value in (("iss", "me"), ("aud", ["mail", "chat"])):
        with pytest.raises(ClaimError) as caught:
            expected.check(broken, NOW)
        blamed.append(caught.value.claim)
        broken[name] = value
    assert blamed == ["jti", "sub", "nbf", "exp", "iat", "exp", "iss", "aud"]
    expected.check(broken, NOW)


@given(st.dictionaries(st.sampled_from(CLAIMS), ANY))
def test_check_raises_only_claim_errors(claims):
    """Accepted claims have what the verifier promises its callers."""
    told = ""
    try:
        STRICT.check(claims, NOW)
    except ClaimError as error:
        told = str(error)
    assert told.isprintable()
    if told:
        return
    assert is_name(claims["sub"])
    assert NOW - 30 <= claims["exp"] <= NOW + 630


@given(st.integers(-100, 100), st.integers(-100, 100), st.integers(0, 60), st.integers(-100, 100))
def test_token_is_valid_between_nbf_and_exp_with_leeway(starts, ends, leeway, at):
    claims = {"sub": "ada", "nbf": NOW + starts, "exp": NOW + ends}
    inside = starts - leeway <= at <= ends + leeway
    try:
        ExpectedClaims(leeway=leeway).check(claims, NOW + at)
    except ClaimError:
        accepted = False
    else:
        accepted = True
    assert accepted is inside


def test_is_name_rejects_unwanted_characters_and_long_names():
    for name in ("a", "x" * 255, "😀" * 255, "Ada Lovelace", "é", "😀", "\u0378", "\U000e0fff"):  # the last: unassigned
        assert is_name(name)
    for name in ("", "x" * 256, "😀" * 256, "\0", "a\x1f", "\x7f", "\x80", "\x9f", "\ud800", None, 5, b"a", ["a"]):
        assert not is_name(name)
    for name in ("\u2028", "a\u200fb", "a\u00a0b", "\ufeff", "\ue000", "\U0010fffd", "\u3000", "👩\u200d🚀"):
        assert not is_name(name)


def test_names_reject_the_categories_of_the_contract():
    """Every code point that this Python's Unicode knows; later versions assign more, and change none."""
    rejected = {"Cc", "Cf", "Cs", "Co", "Zl", "Zp", "Zs"}
    for code in range(sys.maxunicode + 1):
        character = chr(code)
        category = unicodedata.category(character)
        if category != "Cn":
            assert is_clean(character) is (category not in rejected or character == " "), hex(code)


def test_check_types_applies_without_expected_values():
    check_types({})
    check_types({"exp": 0.5, "aud": []})
    with pytest.raises(ClaimError):
        ExpectedClaims(require=()).check({"iat": "1"}, NOW)
    ExpectedClaims(require=()).check({}, NOW)


@pytest.mark.parametrize("value", [[], [""], "", [5], 5, {}, [None], b"chat", object()])
def test_one_or_more_rejects_invalid_names(value):
    with pytest.raises(ConfigError, match="audience must be"):
        one_or_more(value, "audience")


def test_one_or_more_accepts_one_name_or_several():
    assert one_or_more(None, "audience") == ()
    assert one_or_more("a", "audience") == ("a",)
    assert one_or_more(iter(["a", "b"]), "audience") == ("a", "b")


@given(ANY)
def test_printable_is_short_and_printable(value):
    assert len(printable(value)) < 250
    assert printable(value).isascii() or "…" in printable(value)
    assert "\n" not in printable(value)


def test_printable_escapes_and_cuts_values():
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    assert printable(deep) == "[a list]"
    assert printable(10**5000) == "a very large number"
    assert printable("\x1b[31m\r\n") == r"'\x1b[31m\r\n'"
    assert printable(["a", None, 1, True]) == "['a', None, 1, …]"
    assert printable({"a": 1}) == "a dict"
    assert len(printable("x" * 10**6)) < 70


@pytest.mark.parametrize("claims", [{}, {"iat": NOW}, {"exp": NOW + 60}])
def test_clock_without_a_time_rejects_every_token(claims):
    with pytest.raises(ExpiredToken) as caught:
        ExpectedClaims(require=()).check({"sub": "ada"} | claims, float("nan"))
    assert caught.value.to_client().get("expired_at") == claims.get("exp")
