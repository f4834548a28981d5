"""From a token to an identity, or to exactly one error."""

from __future__ import annotations

import secrets

import jwt
import pytest

from roomkey import ConfigError, Issuer, Key, KeySet, Verifier
from roomkey.errors import AuthError, BadSignature, ClaimError, ExpiredToken, MalformedToken, MissingClaim, UnknownKey

NOW = 1_800_000_000
SECRET = secrets.token_urlsafe(32)
GOOD = {"sub": "1", "exp": NOW + 60, "iat": NOW}


def test_tokens_of_a_plain_python_program():
    """``jwt.encode(payload, SECRET_KEY, algorithm="HS256")``, as the tutorials have it."""
    who = Verifier.hs256(SECRET).verify(jwt.encode(GOOD, SECRET, algorithm="HS256"), NOW, source="auth")
    assert (who.subject, who.expires_at, who.source) == ("1", NOW + 60, "auth")
    named = jwt.encode(GOOD, SECRET, algorithm="HS256", headers={"kid": "2024"})
    assert Verifier.hs256(SECRET, kid="2024").verify(named, NOW).subject == "1"
    with pytest.raises(UnknownKey):
        Verifier.hs256(SECRET).verify(named, NOW)


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA", "PS512"])
def test_tokens_of_a_key_pair(every_key, algorithm):
    key = every_key[algorithm]
    verifier = Verifier.pem(key.to_pem(), algorithms=[algorithm], audience="chat", kid=algorithm)
    token = Issuer(key, audience="chat", clock=lambda: NOW).issue("ada")
    assert verifier.verify(token, NOW).subject == "ada"
    assert not next(iter(verifier.keys)).is_private


# The wire contract's section 5, the column "ours": token, verifier's settings, what becomes of it.
TABLE = {
    "sub is a number": (GOOD | {"sub": 1}, {}, ClaimError),
    "has aud, verifier expects none": (GOOD | {"aud": "chat"}, {}, ClaimError),
    "iat 60 s ahead": (GOOD | {"iat": NOW + 60}, {}, None),
    "iat 10 s ahead": (GOOD | {"iat": NOW + 10}, {}, None),
    "iat 60 s ahead, and an age is asked": (GOOD | {"iat": NOW + 60}, {"max_age": 600}, ClaimError),
    "exp as a string": (GOOD | {"exp": str(NOW + 60)}, {}, ClaimError),
    "jti is a number": (GOOD | {"jti": 5}, {}, ClaimError),
    "payload is an array": ([GOOD], {}, MalformedToken),
    "no exp": ({"sub": "1"}, {}, MissingClaim),
    "no exp, and none required": ({"sub": "1"}, {"require": ["sub"]}, None),
    "typ JWT where at+jwt is demanded": (GOOD, {"token_type": "at+jwt"}, MalformedToken),
}


@pytest.mark.parametrize("row", TABLE)
def test_where_node_and_python_do_not_agree(row):
    payload, settings, error = TABLE[row]
    token = jwt.PyJWS().encode(
        jwt.api_jwt.json.dumps(payload).encode(), SECRET, algorithm="HS256", headers={"typ": "JWT"}
    )
    verifier = Verifier.hs256(SECRET, **settings)
    if error is None:
        assert verifier.verify(token, NOW)
    else:
        with pytest.raises(AuthError) as caught:
            verifier.verify(token, NOW)
        assert type(caught.value) is error


def test_an_unknown_crit_and_a_six_byte_secret():
    token = jwt.encode(GOOD, SECRET, algorithm="HS256", headers={"crit": ["x"], "x": 1})
    with pytest.raises(MalformedToken):
        Verifier.hs256(SECRET).verify(token, NOW)
    with pytest.raises(ConfigError):
        Verifier.hs256("secret")
    with pytest.raises(ConfigError):
        Issuer(Key.generate("HS256")).issue(1)


def test_nothing_is_judged_before_the_signature():
    """An expired forgery is a forgery: what its claims say is nobody's word."""
    forged = jwt.encode(GOOD | {"exp": 1}, secrets.token_urlsafe(32), algorithm="HS256")
    with pytest.raises(BadSignature):
        Verifier.hs256(SECRET).verify(forged, NOW)


def test_it_keeps_no_state():
    verifier = Verifier.hs256(SECRET)
    token = jwt.encode(GOOD, SECRET, algorithm="HS256")
    first = verifier.verify(token, NOW)
    with pytest.raises(ExpiredToken):
        verifier.verify(token, NOW + 1000)
    assert verifier.verify(token, NOW) == first
    assert verifier.verify(token, NOW) is not first


def test_keys_in_every_shape(every_key):
    key = every_key["ES256"]
    token = Issuer(key, clock=lambda: NOW).issue("ada")
    for keys in (key, [key], iter([key]), KeySet([key]), key.public()):
        assert Verifier(keys, algorithms=["ES256"]).verify(token, NOW)


@pytest.mark.parametrize(
    "settings",
    [
        {"token_type": "jwt"},
        {"token_type": "id+jwt"},
        {"audience": []},
        {"issuer": ""},
        {"require": [5]},
        {"leeway": None},
    ],
)
def test_settings(settings):
    if settings == {"leeway": None}:
        settings = {"leeway": "none"}
    with pytest.raises(ConfigError):
        Verifier.hs256(SECRET, **settings)


def test_required_claims():
    asking = Verifier.hs256(SECRET, require=["exp", "sub", "jti"])
    with pytest.raises(MissingClaim) as caught:
        asking.verify(jwt.encode(GOOD, SECRET, algorithm="HS256"), NOW)
    assert caught.value.claim == "jti"
    assert asking.verify(jwt.encode(GOOD | {"jti": "t"}, SECRET, algorithm="HS256"), NOW)
    nothing = Verifier.hs256(SECRET, require=())
    assert nothing.verify(jwt.encode({"x": 1}, SECRET, algorithm="HS256"), NOW).subject == ""
