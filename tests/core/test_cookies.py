"""Tokens that are split into several cookies. The vectors have the table of cases for both languages."""

from __future__ import annotations

from contextlib import suppress
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roomkey.core.cookies import MAX_CHUNKS, token_cookies
from roomkey.core.jws import LONGEST_TOKEN
from roomkey.errors import AuthError, CredentialsBadFormat, MalformedToken

TEXT = st.text("abcdefghijklmnopqrstuvwxyz0123456789-_.", min_size=1, max_size=200)


def chunks(text, cuts, separator="."):
    """Split a text at the given places into cookies."""
    places = sorted({0, len(text), *(cut % len(text) for cut in cuts)})
    parts = [text[start:end] for start, end in pairwise(places)]
    return [f"session{separator}{number}={part}" for number, part in enumerate(parts)]


@given(TEXT, st.lists(st.integers(0, 1000), max_size=MAX_CHUNKS - 1), st.sampled_from("._"), st.randoms())
def test_chunks_of_a_token_are_put_together_in_any_order(text, cuts, separator, random):
    written = [*chunks(text, cuts, separator), "other=x", "sessions=x"]
    random.shuffle(written)
    assert token_cookies("; ".join(written), "session") == [text]


@given(TEXT, st.lists(st.integers(0, 1000), min_size=1, max_size=MAX_CHUNKS - 1), st.data())
def test_token_without_one_of_its_chunks_is_rejected_or_shorter(text, cuts, data):
    written = chunks(text, cuts)
    missing = data.draw(st.integers(0, len(written) - 1))
    rest = [*written[:missing], *written[missing + 1 :]]
    if missing == len(written) - 1:  # nothing tells that there was another one; the signature does not fit then
        expected = text[: len(text) - len(written[-1].partition("=")[2])]
        assert token_cookies("; ".join(rest), "session") == ([expected] if expected else [])
        return
    with pytest.raises(CredentialsBadFormat) as caught:
        token_cookies("; ".join(rest), "session")
    assert caught.value.message == CredentialsBadFormat.MISSING_CHUNK


@given(st.lists(st.sampled_from(["session", "session_0", "session.0", "session_1", "session.1", "x"]), max_size=6))
def test_any_two_values_are_never_reduced_to_one_of_them(names):
    """Whichever cookies a sibling domain adds, none of them is chosen in silence."""
    cookies = [f"{name}={number}" for number, name in enumerate(names)]
    try:
        found = token_cookies("; ".join(cookies), "session")
    except AuthError:
        return
    whole = [str(number) for number, name in enumerate(names) if name == "session"]
    if whole:
        assert found == whole
    else:
        assert len(found) == bool({*names} - {"x"})


@pytest.mark.parametrize("count", [MAX_CHUNKS + 1, 10_000])
def test_more_chunks_than_a_token_has_are_rejected(count):
    with pytest.raises(MalformedToken, match="chunks of the cookie"):
        token_cookies("; ".join(f"session.{number}=x" for number in range(count)), "session")


@pytest.mark.parametrize("header", ["session.0=x; " * 50_000, f"session.{'9' * 600_000}=x", ";" * 600_000])
def test_long_headers_take_linear_time(header):
    with suppress(AuthError):
        token_cookies(header, "session")  # quadratic time would exceed the limit of the test run


def test_chunks_longer_than_any_token_are_rejected():
    half = "x" * (LONGEST_TOKEN // 2)
    assert token_cookies(f"session_0={half}; session_1={half}", "session") == [half + half]
    with pytest.raises(MalformedToken) as caught:
        token_cookies(f"session_0={half}; session_1={half}x", "session")
    assert caught.value.message == MalformedToken.JWT_MALFORMED


def test_errors_contain_no_value():
    for header in ("session_0=secret; session.0=secret", "session_1=secret", "session_0=secret; session_0=secret2"):
        with pytest.raises(AuthError) as caught:
            token_cookies(header, "session")
        assert "secret" not in str(caught.value)
