"""The form, the successor and the hash of a refresh token. test_login_service.py tests rotation."""

from __future__ import annotations

import base64
import hashlib

import pytest

from roomkey.auth.refresh_tokens import hash_of, looks_like_refresh_token, new_refresh_token, successor

KEY = b"k" * 32


def test_new_tokens_differ_and_have_the_form():
    made = {new_refresh_token() for _ in range(100)}
    assert len(made) == 100
    assert all(looks_like_refresh_token(token) for token in made)


def test_successor_is_stable_and_depends_on_token_and_key():
    token = new_refresh_token()
    following = successor(KEY, token)
    assert following == successor(KEY, token)
    assert looks_like_refresh_token(following)
    others = {token, following, successor(KEY, following), successor(b"l" * 32, token), successor(KEY, token[::-1])}
    assert len(others) == 5


def test_successor_is_hmac_sha256():
    """RFC 4231 test case 2, in base64url."""
    expected = bytes.fromhex("5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843")
    found = successor(b"Jefe", "what do ya want for nothing?")
    assert base64.urlsafe_b64decode(found + "=") == expected


def test_stored_hash_is_sha_256():
    token = new_refresh_token()
    assert hash_of(token) == hashlib.sha256(token.encode()).hexdigest()


@pytest.mark.parametrize(
    "token",
    ["", "a" * 42, "a" * 44, "a" * 42 + "=", "a" * 42 + "\n", "a" * 43 + "\n", "é" * 43, "٣" * 43, "a.b" * 20],
)
def test_other_texts_do_not_look_like_refresh_tokens(token):
    assert not looks_like_refresh_token(token)
