"""Verification of tokens: an identity, or exactly one error."""

from __future__ import annotations

import secrets
import time
from pathlib import Path

import jwt
import pytest
from support.tokens import hs256 as signed_hs256

from roomkey import ConfigError, Issuer, Key, KeySet, Verifier
from roomkey.core.credentials import Handshake, Request, find_credential
from roomkey.errors import (
    AlgorithmNotAllowed,
    AuthError,
    BadSignature,
    ClaimError,
    ExpiredToken,
    MalformedToken,
    MissingClaim,
    UnknownKey,
)

NOW = 1_800_000_000
SECRET = secrets.token_urlsafe(32)
GOOD = {"sub": "1", "exp": NOW + 60, "iat": NOW}


def test_verifier_accepts_tokens_of_pyjwt():
    """``jwt.encode(payload, SECRET_KEY, algorithm="HS256")``, as in the tutorials."""
    who = Verifier.hs256(SECRET).verify(jwt.encode(GOOD, SECRET, algorithm="HS256"), NOW, source="auth")
    assert (who.subject, who.expires_at, who.source) == ("1", NOW + 60, "auth")
    named = jwt.encode(GOOD, SECRET, algorithm="HS256", headers={"kid": "2024"})
    assert Verifier.hs256(SECRET, kid="2024").verify(named, NOW).subject == "1"
    with pytest.raises(UnknownKey):
        Verifier.hs256(SECRET).verify(named, NOW)


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA", "PS512"])
def test_verifier_accepts_tokens_of_a_key_pair(every_key, algorithm):
    key = every_key[algorithm]
    verifier = Verifier.pem(key.to_pem(), algorithms=[algorithm], audience="chat", kid=algorithm)
    token = Issuer(key, audience="chat", clock=lambda: NOW).issue("ada")
    assert verifier.verify(token, NOW).subject == "ada"
    assert not next(iter(verifier.keys)).is_private


# The wire contract's section 5, the column "ours": token, settings of the verifier, result.
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
def test_verifier_decides_where_libraries_disagree(row):
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


def test_claims_are_checked_after_the_signature():
    """An expired forgery is reported as a forgery: its claims are not verified."""
    forged = jwt.encode(GOOD | {"exp": 1}, secrets.token_urlsafe(32), algorithm="HS256")
    with pytest.raises(BadSignature):
        Verifier.hs256(SECRET).verify(forged, NOW)


def test_verifier_keeps_no_state():
    verifier = Verifier.hs256(SECRET)
    token = jwt.encode(GOOD, SECRET, algorithm="HS256")
    first = verifier.verify(token, NOW)
    with pytest.raises(ExpiredToken):
        verifier.verify(token, NOW + 1000)
    assert verifier.verify(token, NOW) == first
    assert verifier.verify(token, NOW) is not first


def test_verifier_accepts_keys_in_each_form(every_key):
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


def test_required_claims_must_be_present():
    asking = Verifier.hs256(SECRET, require=["exp", "sub", "jti"])
    with pytest.raises(MissingClaim) as caught:
        asking.verify(jwt.encode(GOOD, SECRET, algorithm="HS256"), NOW)
    assert caught.value.claim == "jti"
    assert asking.verify(jwt.encode(GOOD | {"jti": "t"}, SECRET, algorithm="HS256"), NOW)
    nothing = Verifier.hs256(SECRET, require=())
    assert nothing.verify(jwt.encode({"x": 1}, SECRET, algorithm="HS256"), NOW).subject == ""
    assert (nothing.requires_subject, asking.requires_subject) == (False, True)


OLD = secrets.token_urlsafe(32)
END = NOW + 30


def hs256(secret, **headers):
    return jwt.encode(GOOD, secret, algorithm="HS256", headers=headers or None)


def test_previous_secret_is_accepted_until_its_time():
    verifier = Verifier.hs256(SECRET, previous=(OLD, END))
    for now in (NOW, END - 0.001):
        assert verifier.verify(hs256(OLD), now).subject == "1"
    for now in (END, END + 1, float("nan")):
        with pytest.raises(BadSignature):
            verifier.verify(hs256(OLD), now)
    for now in (NOW, END, END + 29):
        assert verifier.verify(hs256(SECRET), now).subject == "1"
    with pytest.raises(BadSignature):
        Verifier.hs256(SECRET).verify(hs256(OLD), NOW)


def test_previous_secret_works_with_a_kid():
    """roomkey's own tokens have thumbprints as ``kid``; those of others have one ``kid`` for all keys, or none."""
    ours = Issuer(Key.from_secret(OLD), clock=lambda: NOW).issue("ada")
    assert Verifier.hs256(SECRET, previous=(OLD, END)).verify(ours, NOW)
    named = Verifier.hs256(SECRET, kid="shop", previous=(OLD, END))
    for token in (hs256(OLD, kid="shop"), hs256(SECRET, kid="shop"), hs256(OLD)):
        assert named.verify(token, NOW)
    with pytest.raises(UnknownKey):
        named.verify(hs256(OLD, kid="other"), NOW)


def test_previous_secret_does_not_skip_other_checks():
    verifier = Verifier.hs256(SECRET, previous=(OLD, NOW + 10**6), leeway=0)
    with pytest.raises(ExpiredToken):
        verifier.verify(hs256(OLD), NOW + 61)
    current = next(iter(verifier.keys)).kid
    with pytest.raises(BadSignature, match=f"not that of key {current}"):
        verifier.verify(hs256(secrets.token_urlsafe(32)), NOW)


WRONG = {
    "no time": OLD,
    "one value": (OLD,),
    "three values": (OLD, END, END),
    "the wrong way round": (END, OLD),
    "None": (OLD, None),
    "a bool": (OLD, True),
    "a string": (OLD, str(END)),
    "negative": (OLD, -1),
    "not a number": (OLD, float("nan")),
    "milliseconds": (OLD, END * 1000),
    "short": ("short", END),
    "a placeholder": ("secret" * 10, END),
    "the same": (SECRET, END),
    "the same as bytes": (SECRET.encode(), END),
}


@pytest.mark.parametrize("row", WRONG)
def test_previous_secret_must_be_strong(row):
    with pytest.raises(ConfigError) as caught:
        Verifier.hs256(SECRET, kid="shop", previous=WRONG[row])
    assert OLD not in str(caught.value)


def test_verifier_uses_the_current_keys(every_key):
    old, new = every_key["ES256"].public(), Key.generate("ES256", kid="new")
    verifier = Verifier(lambda now: KeySet([old] if now < END else [new.public()]), algorithms=["ES256"])
    before = Issuer(every_key["ES256"], clock=lambda: NOW).issue("ada")
    after = Issuer(new, clock=lambda: NOW).issue("ada")
    assert verifier.verify(before, END - 1)
    assert verifier.verify(after, END)
    for token, now in ((after, END - 1), (before, END)):
        with pytest.raises(UnknownKey):
            verifier.verify(token, now)


def test_current_keys_do_not_change_the_algorithms(every_key):
    """A shared secret among changing keys does not bypass the verifier's list of algorithms."""
    verifier = Verifier(lambda _now: KeySet([every_key["HS256"]]), algorithms=["ES256"])
    with pytest.raises(AlgorithmNotAllowed):
        verifier.verify(Issuer(every_key["HS256"], clock=lambda: NOW).issue("eve"), NOW)


A, B = "https://a.example", "https://b.example"


def _two_issuers() -> tuple[Issuer, Issuer]:
    return (
        Issuer(Key.generate("ES256", kid="1"), issuer=A, clock=lambda: NOW),
        Issuer(Key.generate("ES256", kid="1"), issuer=B, clock=lambda: NOW),
    )


@pytest.mark.checklist("I121")
def test_verifier_binds_each_key_to_its_issuer():
    """Two issuers with the same ``kid``, one of them with two spellings."""
    a, b = _two_issuers()
    verifier = Verifier(
        {(A, "a.example"): a.key.public(), B: lambda now: KeySet([b.key.public()])}, algorithms=["ES256"]
    )
    assert verifier.verify(a.issue("ada"), NOW).issuer == A
    assert verifier.verify(b.issue("ada"), NOW).issuer == B
    assert verifier.verify(Issuer(a.key, issuer="a.example", clock=lambda: NOW).issue("ada"), NOW).subject == "ada"
    for key, issuer in ((b.key, A), (a.key, B), (b.key, "a.example")):
        with pytest.raises(BadSignature):
            verifier.verify(Issuer(key, issuer=issuer, clock=lambda: NOW).issue("ada"), NOW)
    for issuer in ("https://c.example", None):
        with pytest.raises(UnknownKey):
            verifier.verify(Issuer(a.key, issuer=issuer, clock=lambda: NOW).issue("ada"), NOW)


def test_verifier_rejects_shared_keys_of_several_issuers():
    a, b = _two_issuers()
    shared = KeySet([Key.generate("ES256"), Key.generate("ES256")])
    for keys in (shared, [*shared], lambda now: shared):
        with pytest.raises(ConfigError, match="a mapping of each issuer to its keys"):
            Verifier(keys, algorithms=["ES256"], issuer=[A, B])
    for keys, settings in (
        ({A: a.key}, {"issuer": A}),
        ({}, {}),
        ({A: a.key, (B, A): b.key}, {}),
        ({A: []}, {}),
        ({"": a.key}, {}),
        ({A: Key.generate("RS256")}, {}),
    ):
        with pytest.raises(ConfigError):
            Verifier(keys, algorithms=["ES256"], **settings)
    one_key = Verifier(a.key.public(), algorithms=["ES256"], issuer=[A, "a.example"])
    assert one_key.verify(a.issue("ada"), NOW).issuer == A


@pytest.mark.parametrize("name", ["type", "token_type", "token_use", "typ"])
@pytest.mark.parametrize("kind", ["refresh", "Refresh", "refresh_token", "Offline", "id", "ID"])
def test_verifier_rejects_tokens_that_are_not_for_access(name, kind):
    with pytest.raises(ClaimError) as refused:
        Verifier.hs256(SECRET).verify(jwt.encode(GOOD | {name: kind}, SECRET), NOW)
    assert refused.value.to_client()["message"] == f"invalid {name} value"
    assert Verifier.hs256(SECRET, claims={name: kind}).verify(jwt.encode(GOOD | {name: kind}, SECRET), NOW)


@pytest.mark.parametrize("kind", ["access", "Bearer", "sliding", "bearer", 7, None])
def test_verifier_accepts_other_kinds_of_token(kind):
    assert Verifier.hs256(SECRET).verify(jwt.encode(GOOD | {"token_type": kind}, SECRET), NOW).subject == "1"


@pytest.mark.parametrize("found", ["refresh", "Access", "access ", None, 1, True, ["access"], {"access": 1}])
def test_verifier_requires_exact_values_of_claims(found):
    verifier = Verifier.hs256(SECRET, claims={"token_type": "access", "level": 1})
    assert verifier.verify(jwt.encode(GOOD | {"token_type": "access", "level": 1}, SECRET), NOW).subject == "1"
    for claims in ({"token_type": found, "level": 1}, {"token_type": "access", "level": True}, {"level": 1}):
        with pytest.raises(ClaimError):
            verifier.verify(jwt.encode(GOOD | claims, SECRET), NOW)
    for wrong in ({"token_type": [["access"]]}, {"token_type": []}, {"token_type": None}, {1: "access"}, ["access"]):
        with pytest.raises(ConfigError):
            Verifier.hs256(SECRET, claims=wrong)


def test_verifier_accepts_several_values_of_a_claim():
    verifier = Verifier.hs256(SECRET, claims={"typ": ["Bearer", "DPoP"], "sts": ("active", None), "level": [1, True]})
    for accepted in ({"typ": "Bearer"}, {"typ": "DPoP", "sts": "active"}, {"typ": "DPoP", "sts": None, "level": True}):
        assert verifier.verify(signed(**{"sub": "ada", "level": 1} | accepted), NOW).subject == "ada"
    for rejected in ({}, {"typ": "ID"}, {"typ": None}, {"typ": "DPoP", "sts": "pending"}, {"typ": "DPoP", "level": 2}):
        with pytest.raises(ClaimError, match=r"expected 'Bearer' or 'DPoP'|'active' or missing|1 or True"):
            verifier.verify(signed(**{"sub": "ada", "level": 1} | rejected), NOW)
    with pytest.raises(ConfigError):
        Verifier.hs256(SECRET, claims={"sts": [None]})


def signed(**claims):
    return jwt.encode({"exp": NOW + 60} | claims, SECRET, algorithm="HS256")


def signed_text(payload):
    return signed_hs256({"alg": "HS256"}, payload.encode(), SECRET)


@pytest.mark.checklist("I119")
def test_claims_map_names_the_subject():
    verifier = Verifier.hs256(SECRET, claims_map={"subject": "user_id"}, integer_subject=True)
    who = verifier.verify(signed(user_id=7, token_type="access", sub="other"), NOW)
    assert (who.subject, who.claim("user_id"), who.claim("sub")) == ("7", 7, "other")
    assert verifier.verify(signed(user_id="ada"), NOW).subject == "ada"
    assert Verifier.hs256(SECRET, integer_subject=True).verify(signed(sub=7), NOW).subject == "7"
    with pytest.raises(MissingClaim, match=r"sub is missing.*\(claims_map: user_id\)"):
        verifier.verify(signed(sub="ada"), NOW)


@pytest.mark.parametrize("value", [True, False, None, 1.5, 1e16, -1e16, [7], {"id": 7}, "", "a\nb", "x" * 256])
@pytest.mark.parametrize("claim", ["sub", "user_id"])
def test_integer_subject_becomes_text(claim, value):
    verifier = Verifier.hs256(SECRET, claims_map={"subject": claim}, integer_subject=True)
    with pytest.raises(ClaimError) as caught:
        verifier.verify(signed(**{claim: value}), NOW)
    assert caught.value.claim == "sub"


@pytest.mark.parametrize("written", ["7", "7.0", "7e0", "70e-1"])
def test_subject_number_counts_by_its_value(written):
    """JSON has one kind of number, and JavaScript cannot tell these spellings apart."""
    token = signed_text(f'{{"exp":{NOW + 60},"sub":{written},"level":{written}}}')
    who = Verifier.hs256(SECRET, integer_subject=True, claims={"level": 7}).verify(token, NOW)
    assert who.subject == "7"
    with pytest.raises(ClaimError):
        Verifier.hs256(SECRET, integer_subject=True, claims={"level": True}).verify(token, NOW)


@pytest.mark.parametrize("value", [2**53, -(2**53), 10**400])
def test_token_with_an_integer_that_javascript_rounds_is_rejected(value):
    token = signed_text(f'{{"exp":{NOW + 60},"sub":"ada","n":[{value}]}}')
    with pytest.raises(MalformedToken, match="integer out of range"):
        Verifier.hs256(SECRET).verify(token, NOW)
    token = signed_text(f'{{"exp":{NOW + 60},"sub":"ada","n":[{2**53 - 1},{1 - 2**53},1e300]}}')
    assert Verifier.hs256(SECRET).verify(token, NOW).claim("n")[0] == 2**53 - 1


@pytest.mark.parametrize(
    ("places", "claims", "remedy"),
    [
        ({}, {"user_id": 7}, "claim sub is missing; claims_map={'subject': 'user_id'} names another claim"),
        ({}, {"sub": 7}, "integer_subject=True accepts integers"),
        ({"subject": "user_id"}, {"user_id": 7}, "integer_subject=True accepts integers (claims_map: user_id)"),
    ],
)
def test_error_about_the_subject_names_the_setting(places, claims, remedy):
    with pytest.raises(ClaimError) as caught:
        Verifier.hs256(SECRET, claims_map=places).verify(signed(**claims), NOW)
    assert str(caught.value).endswith(remedy)


def test_error_about_a_numeric_token_id_names_no_setting():
    with pytest.raises(ClaimError) as caught:
        Verifier.hs256(SECRET).verify(signed(sub="ada", jti=7), NOW)
    assert "integer_subject" not in str(caught.value)


def test_integer_subject_is_rejected_by_default():
    with pytest.raises(ClaimError):
        Verifier.hs256(SECRET, claims_map={"subject": "user_id"}).verify(signed(user_id=7), NOW)


JWKS = KeySet([Key.generate("ES256")]).to_jwks()


@pytest.mark.parametrize(
    ("keys", "remedy"),
    [
        ("https://login.example/.well-known/jwks.json", r"Verifier\.jwks\(url"),
        (b"http://login.example/jwks.json", r"Verifier\.jwks\(url"),
        ({"https://login.example": "https://login.example/jwks.json"}, r"Verifier\.jwks\(url"),
        (SECRET, r"Verifier\.hs256"),
        (Key.generate("ES256").public().to_pem(), r"Verifier\.pem"),
        (Path("key.pem"), r"Verifier\.pem\(Path\('key\.pem'\)"),
        (JWKS, r"KeySet\.from_jwks"),
        (JWKS["keys"][0], r"Key\.from_jwk"),
        ([SECRET], r"Key\.from_pem"),
        (None, r"Key\.from_pem"),
        (42, r"Key\.from_pem"),
    ],
    ids=range(11),
)
def test_values_that_are_not_keys_are_rejected_with_a_fix(keys, remedy):
    with pytest.raises(ConfigError, match=remedy) as caught:
        Verifier(keys, algorithms=["ES256"])
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("make", [Verifier.hs256, Key.from_secret, lambda url: Verifier.pem(url, algorithms=["ES256"])])
def test_url_is_rejected_as_a_secret_or_key(make):
    """A URL is public, so anybody could sign with it."""
    with pytest.raises(ConfigError, match=r"Verifier\.jwks"):
        make("https://login.example/realms/chat/protocol/openid-connect/certs")


@pytest.mark.parametrize(("make", "algorithm"), [(Verifier.hs384, "HS384"), (Verifier.hs512, "HS512")])
def test_hs384_and_hs512_require_longer_secrets(make, algorithm):
    old, new = secrets.token_urlsafe(64), secrets.token_urlsafe(64)
    verifier = make(new, previous=(old, END))
    for secret in (old, new):
        assert verifier.verify(jwt.encode(GOOD, secret, algorithm=algorithm), NOW).subject == "1"
    with pytest.raises(AlgorithmNotAllowed):
        verifier.verify(jwt.encode(GOOD, new, algorithm="HS256"), NOW)
    with pytest.raises(ConfigError, match="bytes"):
        make("s1aB" * 8)


def test_longest_token_is_a_setting():
    issuer = Issuer.ephemeral()
    with pytest.raises(ConfigError, match="max_token is 8192"):
        issuer.issue("ada", claims={"pad": "x" * 9000})
    key = Key.generate("HS256")
    long = Issuer(key, max_token=20_000)
    token = long.issue("ada", claims={"pad": "x" * 9000})
    assert long.verifier().verify(token, time.time()).subject == "ada"
    assert find_credential(Handshake(), {"token": token}, Request()).token == token
    with pytest.raises(MalformedToken, match="at most 8192"):
        Verifier(key, algorithms=["HS256"]).verify(token, time.time())
    for wrong in (0, -1, 65_537, 1.5, True, "8192", None):
        with pytest.raises(ConfigError, match="max_token must be"):
            Verifier(key, algorithms=["HS256"], max_token=wrong)


@pytest.mark.parametrize("setting", ["issuer", "audience"])
@pytest.mark.parametrize("value", ["chat\n", "chat\r\n", " chat", ["a", "chat\t"]])
def test_name_with_outer_white_space_is_rejected(setting, value):
    """A verifier with such a name would accept no token, and no verifier would accept a token with it."""
    makers = [lambda: Verifier(Key.generate("ES256"), algorithms=["ES256"], **{setting: value})]
    if isinstance(value, str):
        makers.append(lambda: Issuer.ephemeral(**{setting: value}))
    for make in makers:
        with pytest.raises(ConfigError, match=f"{setting} begins or ends with white space or a line break"):
            make()
