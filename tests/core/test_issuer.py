"""roomkey and other libraries accept all issued tokens."""

from __future__ import annotations

from datetime import timedelta

import jwt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from joserfc import jwt as jose_jwt
from joserfc.jwk import import_key
from support.examples import examples

from roomkey import ConfigError, Issuer, Key, Verifier
from roomkey.core.algorithms import ALGORITHMS
from roomkey.core.jws import MAX_TOKEN, decode_unverified
from roomkey.core.names import is_name

NOW = 1_800_000_000
NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)


def issuer(**options):
    return Issuer.ephemeral(clock=lambda: NOW, **options)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_issued_token_verifies(every_key, algorithm):
    made = Issuer(every_key[algorithm], issuer="me", audience="chat", clock=lambda: NOW)
    token = made.issue(
        "ada", roles=["admin"], rooms=["red"], scopes=["read", "write"], session_id="s1", claims={"name": "Ada"}
    )
    who = made.verifier().verify(token, NOW)
    assert (who.subject, who.roles, who.rooms, who.scopes) == ("ada", {"admin"}, ("red",), {"read", "write"})
    assert (who.expires_at, who.issued_at, who.session_id, who.issuer) == (NOW + 900, NOW, "s1", "me")
    assert who.claim("name") == "Ada"
    assert len(who.token_id) == 22


@pytest.mark.parametrize("algorithm", ["HS256", "RS256", "PS384", "ES512", "EdDSA"])
def test_other_libraries_verify_issued_tokens(every_key, algorithm):
    key = every_key[algorithm]
    token = Issuer(key, issuer="me", audience=["chat", "mail"], clock=lambda: NOW).issue("ada", expires_in=10**9)
    jwk = key.to_jwk(private=algorithm == "HS256")
    by_pyjwt = jwt.decode(
        token, jwt.PyJWK(jwk).key, algorithms=[algorithm], audience="chat", options={"verify_iat": False}
    )
    assert by_pyjwt["sub"] == "ada"
    assert jose_jwt.decode(token, import_key(jwk), algorithms=[algorithm]).claims == by_pyjwt


@settings(max_examples=examples(60))
@given(
    NAMES,
    st.lists(NAMES, max_size=4),
    st.lists(NAMES, max_size=4),
    st.integers(-1000, 10**6) | st.floats(0, 1e6),
    st.none() | NAMES,
)
def test_issue_rejects_or_the_verifier_accepts(subject, roles, rooms, lifetime, session_id):
    made = issuer(audience="chat")
    good = all(map(is_name, (subject, *roles, *rooms))) and (session_id is None or is_name(session_id))
    try:
        token = made.issue(subject, roles=roles, rooms=rooms, expires_in=lifetime, session_id=session_id)
    except ConfigError:
        assert not good
        return
    assert good
    who = made.verifier(leeway=0).verify(token, min(NOW, NOW + lifetime))
    assert (who.subject, who.roles, who.rooms) == (subject, frozenset(roles), tuple(dict.fromkeys(rooms)))
    assert (who.expires_at, who.session_id) == (NOW + lifetime, session_id)


@pytest.mark.parametrize(
    "options",
    [
        {"subject": ""},
        {"subject": None},
        {"subject": 5},
        {"subject": "a\0"},
        {"subject": "\ud800"},
        {"subject": "x" * 256},
        {"roles": "admin"},
        {"roles": [5]},
        {"roles": [""]},
        {"roles": ["\ud800"]},
        {"roles": ["r"] * 1001},
        {"rooms": "red"},
        {"rooms": [None]},
        {"rooms": ["\udfff"]},
        {"scopes": "read"},
        {"scopes": ["read write"]},
        {"scopes": ["\ud83d"]},
        {"expires_in": float("nan")},
        {"expires_in": float("inf")},
        {"expires_in": 10**12},
        {"expires_in": -(10**12)},
        {"not_before": "now"},
        {"token_id": 5},
        {"session_id": ""},
        {"claims": {"sub": "eve"}},
        {"claims": {"exp": 5}},
        {"claims": {"scope": "admin"}},
        {"claims": {"x": object()}},
        {"claims": {"x": {1, 2}}},
        {"claims": {"x": float("nan")}},
        {"claims": {"x": "\ud800"}},
        {"claims": {1: "a", "1": "b"}},
        {"claims": {"x": [{1: "a", "1": "b"}]}},
        {"rooms": {1: ["join"], "1": ["join"]}},
        {"rooms": {"\ud800": ["join"]}},
        {"claims": {"pad": "x" * MAX_TOKEN}},
    ],
)
def test_issue_rejects_claims_that_verifiers_reject(options):
    with pytest.raises(ConfigError):
        issuer().issue(**({"subject": "ada"} | options))


def test_issue_rejects_an_audience_with_an_unpaired_surrogate():
    with pytest.raises(ConfigError, match="JSON"):
        issuer(audience="\ud800").issue("ada")


def test_issue_accepts_text_that_looks_like_an_escape():
    made = issuer()
    who = made.verifier().verify(made.issue("ada", roles=["\\ud800", "😀"]), NOW)
    assert who.roles == {"\\ud800", "😀"}


def test_issue_rejects_deeply_nested_claims():
    deep: dict[str, object] = {}
    for _ in range(100_000):
        deep = {"a": deep}
    with pytest.raises(ConfigError):
        issuer().issue("ada", claims=deep)


@pytest.mark.parametrize(
    "options", [{"audience": []}, {"audience": ""}, {"issuer": ""}, {"audience": [5]}, {"algorithm": "RS256"}]
)
def test_settings(options):
    with pytest.raises(ConfigError):
        Issuer(Key.generate("HS256"), **options)
    with pytest.raises(ConfigError):
        Issuer(Key.generate("HS256"), token_type="refresh")


def test_issuer_rejects_public_keys(every_key):
    with pytest.raises(ConfigError, match="public"):
        Issuer(every_key["ES256"].public())


def test_token_has_the_compact_form(every_key):
    made = Issuer(every_key["ES256"], token_type="at+jwt", audience=["a", "b"], expires_in=60, clock=lambda: NOW + 0.7)
    header, claims = decode_unverified(made.issue("ada", token_id="t"))
    assert header == {"alg": "ES256", "kid": "ES256", "typ": "at+jwt"}
    assert claims == {"sub": "ada", "aud": ["a", "b"], "exp": NOW + 60, "iat": NOW, "jti": "t"}
    assert made.verifier(token_type="at+jwt", audience="b").verify(made.issue("ada"), NOW)


def test_negative_lifetime_issues_an_expired_token():
    made = issuer()
    _, claims = decode_unverified(made.issue("ada", expires_in=-1))
    assert claims["exp"] == NOW - 1
    assert claims["iat"] <= claims["exp"]


def test_token_ids_are_unique():
    made = issuer()
    assert len({made.issue("ada") for _ in range(50)}) == 50


def test_issuer_signs_with_the_current_key(every_key):
    turn = {"now": every_key["ES256"]}
    times = []

    def at(now):
        times.append(now)
        return turn["now"]

    made = Issuer(at, audience="chat", clock=lambda: NOW + 0.5)
    before = made.issue("ada")
    turn["now"] = Key.generate("ES256", kid="new")
    after = made.issue("ada")
    assert [decode_unverified(token)[0]["kid"] for token in (before, after)] == ["ES256", "new"]
    assert (made.key.kid, made.algorithm, set(times)) == ("new", "ES256", {NOW + 0.5})
    for token, key in ((before, every_key["ES256"]), (after, turn["now"])):
        assert Verifier(key, algorithms=["ES256"], audience="chat").verify(token, NOW)
    with pytest.raises(ConfigError, match="KeyFolder"):
        made.verifier()


@pytest.mark.parametrize("name", ["RS256", "public"])
def test_unusable_next_key_signs_nothing(every_key, name):
    turn = [every_key["ES256"]]
    made = Issuer(lambda _now: turn[-1], clock=lambda: NOW)
    turn.append(every_key["ES256"].public() if name == "public" else every_key[name])
    with pytest.raises(ConfigError):
        made.issue("ada")
    with pytest.raises(ConfigError):
        Issuer(lambda _now: turn[-1], algorithm="ES256")


def test_lifetime_accepts_a_timedelta():
    issuer = Issuer.ephemeral(expires_in=timedelta(minutes=5), clock=lambda: NOW)
    assert decode_unverified(issuer.issue("ada"))[1]["exp"] == NOW + 300
    for seconds in (3600, -1):
        token = issuer.issue("ada", expires_in=timedelta(seconds=seconds))
        assert decode_unverified(token)[1]["exp"] == NOW + seconds


@pytest.mark.parametrize("expires_in", ["900", float("nan"), float("inf"), True, [900]])
def test_lifetime_of_another_type_is_rejected(expires_in):
    with pytest.raises(ConfigError, match="seconds or a timedelta"):
        Issuer.ephemeral(expires_in=expires_in)
    with pytest.raises(ConfigError, match="seconds or a timedelta"):
        Issuer.ephemeral().issue("ada", expires_in=expires_in)


def test_issuer_rejects_a_bare_secret():
    with pytest.raises(ConfigError, match=r"Key\.from_secret"):
        Issuer("a shared secret of more than 32 bytes")
