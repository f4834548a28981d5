"""One verifier for several issuers: the claim iss selects before a key is tried."""

from __future__ import annotations

import time

import pytest
from support.tokens import part

from roomkey import ConfigError, Issuer, Key, Verifier
from roomkey.errors import BadSignature, ClaimError, MalformedToken, UnknownKey

OURS, THEIRS = Key.generate("ES256", kid="k"), Key.generate("RS256", kid="k")
HOME, SSO = "https://login.example", "https://sso.example"


def both() -> object:
    return Verifier.any_of(
        Verifier(OURS.public(), algorithms=["ES256"], issuer=HOME, audience="chat"),
        Verifier(THEIRS.public(), algorithms=["RS256"], issuer=SSO, audience="sso-chat", subject_prefix="sso:"),
    )


def token(key: Key, issuer: str | None, audience: str = "chat", **settings: object) -> str:
    return Issuer(key, issuer=issuer, audience=audience).issue("ada", **settings)


def test_each_issuer_has_its_own_settings() -> None:
    verifier = both()
    assert verifier.verify(token(OURS, HOME), time.time()).subject == "ada"
    theirs = verifier.verify(token(THEIRS, SSO, "sso-chat"), time.time(), source="header")
    assert (theirs.subject, theirs.issuer, theirs.source) == ("sso:ada", SSO, "header")
    with pytest.raises(ClaimError):
        verifier.verify(token(THEIRS, SSO, "chat"), time.time())


@pytest.mark.checklist("I121")
def test_a_key_of_one_issuer_signs_for_no_other() -> None:
    verifier = both()
    for forged in (token(THEIRS, HOME), token(OURS, SSO, "sso-chat")):
        with pytest.raises(Exception, match="alg") as caught:
            verifier.verify(forged, time.time())
        assert not isinstance(caught.value, ConfigError)
    same_type = Verifier.any_of(
        Verifier(OURS.public(), algorithms=["ES256"], issuer=HOME, audience="chat"),
        Verifier(Key.generate("ES256", kid="k").public(), algorithms=["ES256"], issuer=SSO, audience="chat"),
    )
    with pytest.raises(BadSignature):
        same_type.verify(token(OURS, SSO), time.time())


@pytest.mark.parametrize("issuer", ["https://evil.example", f"{HOME}/", HOME.upper(), None])
def test_a_token_of_another_issuer_is_rejected(issuer: str | None) -> None:
    with pytest.raises(UnknownKey, match="no verifier is for the issuer"):
        both().verify(token(OURS, issuer), time.time())


def test_an_issuer_that_is_no_string_selects_nobody() -> None:
    for value in (1, None, [HOME], {"a": HOME}):
        forged = f"{part({'alg': 'ES256', 'kid': 'k'})}.{part({'iss': value, 'sub': 'ada'})}.{part(b'x' * 64)}"
        with pytest.raises(UnknownKey):
            both().verify(forged, time.time())


@pytest.mark.parametrize(
    "value", [None, 1, b"a.b.c", "", "a", "a.b", "a.b.c.d", "a.b.c", "ä.ö.ü", ".", "..", "x" * 9000]
)
def test_what_is_no_token_is_malformed(value: object) -> None:
    with pytest.raises((MalformedToken, BadSignature)):
        both().verify(value, time.time())


def test_claims_alone_are_checked_by_their_issuer() -> None:
    claims = {"iss": SSO, "aud": "sso-chat", "sub": "ada", "exp": int(time.time()) + 60}
    assert both().identify(claims, time.time()).subject == "sso:ada"
    with pytest.raises(UnknownKey):
        both().identify({**claims, "iss": "https://evil.example"}, time.time())


def test_it_describes_itself_as_all_of_its_verifiers() -> None:
    short = Verifier(OURS.public(), algorithms=["ES256"], issuer=HOME, max_lifetime=600, max_token=1000)
    long = Verifier(THEIRS.public(), algorithms=["RS256"], issuer=SSO, max_lifetime=900, max_token=9000)
    endless = Verifier(THEIRS.public(), algorithms=["RS256"], issuer="https://third.example", require=("exp",))
    two = Verifier.any_of(short, long)
    assert (two.issuers, two.max_token, two.longest_lifetime, two.requires_subject) == ((HOME, SSO), 9000, 900, True)
    three = Verifier.any_of(short, long, endless)
    assert (three.longest_lifetime, three.requires_subject) == (None, False)


def test_ambiguous_verifiers_are_rejected() -> None:
    home = Verifier(OURS.public(), algorithms=["ES256"], issuer=HOME)
    anyone = Verifier(THEIRS.public(), algorithms=["RS256"])
    for verifiers, said in [
        ((), "at least two"),
        ((home,), "at least two"),
        ((home, anyone), "for any issuer"),
        ((home, Verifier(THEIRS.public(), algorithms=["RS256"], issuer=HOME)), "two verifiers are for the issuer"),
        ((home, Verifier({(SSO, HOME): THEIRS.public()}, algorithms=["RS256"])), "two verifiers are for the issuer"),
        ((home, object()), "for any issuer"),
    ]:
        with pytest.raises(ConfigError, match=said):
            Verifier.any_of(*verifiers)


def test_a_prefix_keeps_users_of_two_issuers_apart() -> None:
    for prefix in ("a\nb", "x" * 300, 7):
        with pytest.raises(ConfigError, match="subject_prefix"):
            Verifier(OURS.public(), algorithms=["ES256"], subject_prefix=prefix)
