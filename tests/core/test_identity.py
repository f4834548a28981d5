"""Identities are immutable values."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import FrozenInstanceError

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roomkey import Identity
from roomkey.core.grants import MAX_NAMES, string_list
from roomkey.core.names import is_name
from roomkey.policies import own_rooms, rooms_claim

CLAIMS = {
    "sub": "ada",
    "roles": ["member", "editor"],
    "role": "admin",
    "scope": "read  write",
    "rooms": ["red", "blue"],
    "exp": 20,
    "iat": 10,
    "jti": "t",
    "sid": "s",
    "iss": "me",
}

SIZE = """
import tracemalloc
from roomkey import Identity

claims = {"sub": "ada", "exp": 20}
Identity.from_claims(claims).with_token_hash("x")
kept = [None] * 1000
tracemalloc.start()
before = tracemalloc.get_traced_memory()[0]
for number in range(1000):
    kept[number] = Identity.from_claims(claims).with_token_hash("x")
print((tracemalloc.get_traced_memory()[0] - before) // 1000)
"""


def test_from_claims_reads_roles_rooms_and_scopes():
    who = Identity.from_claims(dict(CLAIMS), "auth")
    assert who == Identity(
        subject="ada",
        roles=frozenset({"member", "editor", "admin"}),
        scopes=frozenset({"read", "write"}),
        rooms=("red", "blue"),
        claims=CLAIMS,
        expires_at=20,
        issued_at=10,
        token_id="t",
        session_id="s",
        issuer="me",
        source="auth",
    )
    assert who.has_role("admin")
    assert who.has_scope("write")
    assert not who.has_scope("")
    assert who.claim("rooms") == ["red", "blue"]
    assert who.claim("nothing", 5) == 5


def test_identity_is_immutable_and_hashable():
    who = Identity.from_claims(dict(CLAIMS))
    with pytest.raises(FrozenInstanceError):
        who.subject = "eve"
    with pytest.raises(TypeError):
        who.claims["sub"] = "eve"
    assert {who: 1}[Identity.from_claims(dict(CLAIMS))] == 1


def test_identity_without_claims_has_no_rights():
    who = Identity.from_claims({})
    assert (who.subject, who.roles, who.scopes, who.rooms, who.expires_at) == ("", frozenset(), frozenset(), (), None)


def test_repr_does_not_show_claims():
    assert "secret" not in repr(Identity.from_claims({"sub": "ada", "password": "secret"}))


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=3),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    )
)
def test_string_list_returns_all_names_or_none(value):
    found = string_list(value)
    good = isinstance(value, list) and all(is_name(name) for name in value)
    assert found == (tuple(value) if good else ())


def test_string_list_rejects_too_many_names():
    assert len(string_list(["r"] * MAX_NAMES)) == MAX_NAMES
    assert string_list(["r"] * (MAX_NAMES + 1)) == ()


def test_ready_made_rules_check_the_claims():
    who = Identity("ada", rooms=("red",))
    assert rooms_claim(who, "red") is True
    assert rooms_claim(who, "re") is False
    assert rooms_claim(Identity("root", roles=frozenset({"admin"})), "blue") is True
    assert rooms_claim(Identity.from_claims({"sub": "x", "rooms": "redteam"}), "red") is False
    assert own_rooms(who, "ada") is True
    assert own_rooms(who, "ad") is False


def test_identity_takes_little_memory():
    """Each connected socket has one."""
    # In a process of its own: there, nothing else has made identities.
    told = subprocess.run([sys.executable, "-c", SIZE], capture_output=True, text=True, check=True)
    assert int(told.stdout) <= 400
