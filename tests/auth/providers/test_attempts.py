"""Attempts in cookies: only what this server began can be continued, by the same browser, at the same provider."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roomkey.auth.providers.attempts import ATTEMPT_SECONDS, is_local_path, new_attempt, read_attempt

KEY, NOW = b"k" * 32, 1_800_000_000


def test_attempt_is_read_back():
    attempt = new_attempt(KEY, "sso", "/rooms?id=7", NOW)
    assert read_attempt(KEY, attempt.cookie, "sso", NOW + ATTEMPT_SECONDS - 1) == attempt
    assert (attempt.provider, attempt.return_to, attempt.started_at) == ("sso", "/rooms?id=7", NOW)


def test_parameters_have_the_form_that_the_rfcs_require():
    attempt = new_attempt(KEY, "sso", "/", NOW)
    assert re.fullmatch(r"[A-Za-z0-9._~-]{43,128}", attempt.verifier)  # RFC 7636 section 4.1
    assert re.fullmatch(r"[A-Za-z0-9_-]{43}", attempt.challenge)
    secrets = {attempt.state, attempt.nonce, attempt.verifier, attempt.challenge, attempt.cookie.partition(".")[2]}
    assert len(secrets) == 5, "none of them reveals another one"


@pytest.mark.parametrize(
    ("key", "provider", "now"),
    [(b"l" * 32, "sso", NOW), (KEY, "other", NOW), (KEY, "sso", NOW + ATTEMPT_SECONDS), (KEY, "sso", NOW - 2)],
)
def test_attempt_of_another_server_provider_or_time_is_not_read(key, provider, now):
    assert read_attempt(key, new_attempt(KEY, "sso", "/", NOW).cookie, provider, now) is None


@given(cut=st.integers(0, 200), text=st.text(max_size=5))
def test_changed_cookie_is_not_read(cut, text):
    cookie = new_attempt(KEY, "sso", "/", NOW).cookie
    changed = cookie[:cut] + text + cookie[cut + 1 :]
    if changed != cookie:
        assert read_attempt(KEY, changed, "sso", NOW) is None


@given(text=st.text() | st.from_regex(r"[A-Za-z0-9_-]*\.[A-Za-z0-9_-]{43}", fullmatch=True))
def test_made_up_cookie_is_not_read(text):
    assert read_attempt(KEY, text, "sso", NOW) is None


@given(path=st.text() | st.from_regex(r"/[!-~\s]*", fullmatch=True))
def test_accepted_path_stays_on_this_server(path):
    """As a browser resolves it: without tabs and line breaks, and with backslashes as slashes."""
    if is_local_path(path):
        seen = re.sub(r"[\t\r\n]", "", path).replace("\\", "/")
        assert seen.startswith("/")
        assert not seen.startswith("//")
        assert path.isascii()
        assert path.isprintable()


@pytest.mark.parametrize("path", ["/", "/rooms", "/rooms/7?id=a%20b&c=d,e;f", "/a//b", "/~ada/@me:x"])
def test_usual_paths_are_accepted(path):
    assert is_local_path(path)
