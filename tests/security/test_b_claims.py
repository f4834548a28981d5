"""Security checklist, group B: claims and time. The clock is an argument."""

from __future__ import annotations

import json

import pytest
from support.tokens import EXPIRED

from roomkey import ConfigError, Issuer, Verifier
from roomkey.core.claims import LAST_SECOND
from roomkey.core.revocations import Revocation, Revocations
from roomkey.errors import ClaimError, ExpiredToken, ImmatureToken, MalformedToken, MissingClaim

NOW = 1_800_000_000


def without(claims, *names):
    return {name: value for name, value in claims.items() if name not in names}


def written(claims, name, text):
    """Return the claims as JSON, with one value that the JSON module does not write."""
    return json.dumps(without(claims, name))[:-1] + f',"{name}":{text}}}'


@pytest.mark.checklist("B23")
@pytest.mark.parametrize(
    "exp", [None, "123", "x", "1900000000", True, False, [], [1_900_000_000], {}, 0, -1, 0.0, 1e30]
)
def test_exp_that_is_not_a_time_is_rejected(forge, refused, claims, exp):
    error = refused(forge(claims | {"exp": exp}), ClaimError, "invalid exp value")
    assert error.to_client()["claim"] == "exp"


@pytest.mark.checklist("B23")
@pytest.mark.parametrize(
    "exp",
    [
        "NaN",
        "Infinity",
        "-Infinity",
        "1e400",
        "-1e400",
        "0x10",
        "01",
        "1_000",
        "1.",
        "9007199254740992",
        "9" * 31,
        "9" * 4000,
    ],
)
def test_exp_that_is_not_json_is_rejected(forge, refused, claims, exp):
    refused(forge(written(claims, "exp", exp)), MalformedToken, "invalid token")


@pytest.mark.checklist("B23")
def test_missing_exp_is_rejected(forge, refused, claims):
    refused(forge(without(claims, "exp")), MissingClaim, "invalid exp value")


@pytest.mark.checklist("B23")
def test_exp_beyond_the_maximum_lifetime_is_rejected(forge, refused, key, claims, now):
    token = forge(claims | {"exp": now + 315_360_000})
    settings = {"algorithms": ["HS256"], "audience": "chat"}
    assert Verifier(key, **settings).verify(token, now).subject == "ada"
    refused(token, ClaimError, "invalid exp value", verifier=Verifier(key, max_lifetime=86_400, **settings))


@pytest.mark.checklist("B23")
def test_maximum_lifetime_is_not_extended_by_iat(forge, refused, key, claims, now):
    bounded = Verifier(key, algorithms=["HS256"], audience="chat", max_lifetime=600, leeway=30)
    assert bounded.verify(forge(), now).subject == "ada"
    late = claims | {"iat": now + 86_400, "exp": now + 86_500}
    refused(forge(late), ClaimError, "invalid exp value", verifier=bounded)
    refused(forge(without(claims, "iat")), MissingClaim, "invalid iat value", verifier=bounded)
    endless = Verifier(key, algorithms=["HS256"], audience="chat", max_lifetime=600, require=["sub"])
    refused(forge(without(claims, "exp")), MissingClaim, "invalid exp value", verifier=endless)


@pytest.mark.checklist("B24")
def test_exp_boundary_is_exact(forge, refused, claims, verifier, now):
    exp = now + 600
    token = forge()
    assert verifier.verify(token, exp + 30).expires_at == exp
    error = refused(token, ExpiredToken, "jwt expired", now=exp + 31)
    assert error.to_client() == EXPIRED | {"expired_at": exp}
    assert str(error) == "expired 31 s ago, leeway 30 s"
    refused(token, ExpiredToken, "jwt expired", now=exp + 30.001)


@pytest.mark.checklist("B24")
def test_fractional_exp_is_accepted(forge, refused, claims, verifier, now):
    token = forge(claims | {"exp": now + 0.5})
    assert verifier.verify(token, now + 30.5).expires_at == now + 0.5
    refused(token, ExpiredToken, "jwt expired", now=now + 30.6)


@pytest.mark.checklist("B24")
def test_last_second_is_accepted_and_a_nan_clock_rejects(forge, refused, claims, verifier, now):
    assert verifier.verify(forge(claims | {"exp": LAST_SECOND}), now)
    refused(forge(claims | {"exp": LAST_SECOND + 1}), ClaimError, "invalid exp value")
    refused(forge(), ExpiredToken, "jwt expired", now=float("nan"))
    refused(forge(claims | {"nbf": now}), ImmatureToken, "jwt not active", now=float("nan"))


@pytest.mark.checklist("B25")
def test_nbf_boundary_is_exact(forge, refused, claims, verifier, now):
    token = forge(claims | {"nbf": now + 60})
    error = refused(token, ImmatureToken, "jwt not active")
    assert error.to_client() | {"reason": "claim", "claim": "nbf", "date": now + 60} == error.to_client()
    refused(token, ImmatureToken, "jwt not active", now=now + 29)
    assert verifier.verify(token, now + 30)


@pytest.mark.checklist("B25")
@pytest.mark.parametrize("value", ["1800000000", "", None, True, [1], {}, 0, -5, 1e300])
@pytest.mark.parametrize("name", ["nbf", "iat"])
def test_times_of_a_wrong_type_are_rejected(forge, refused, claims, name, value):
    refused(forge(claims | {name: value}), ClaimError, f"invalid {name} value")


@pytest.mark.checklist("B25")
def test_exp_before_iat_is_rejected(forge, refused, claims, now):
    refused(forge(claims | {"iat": now + 700}), ClaimError, "invalid exp value")


@pytest.mark.checklist("B25")
def test_iat_in_the_future_is_accepted(forge, verifier, claims, now):
    assert verifier.verify(forge(claims | {"iat": now + 300}), now).issued_at == now + 300


@pytest.mark.checklist("B25")
def test_token_over_the_maximum_age_is_rejected(forge, refused, key, claims, now):
    fresh = Verifier(key, algorithms=["HS256"], audience="chat", max_age=60, leeway=30)
    token = forge(claims | {"exp": now + 9000})
    assert fresh.verify(token, now + 90)
    refused(token, ExpiredToken, "maxAge exceeded", verifier=fresh, now=now + 91)
    refused(forge(without(claims, "iat")), MissingClaim, "invalid iat value", verifier=fresh)
    ahead = forge(claims | {"iat": now + 60})
    refused(ahead, ClaimError, "invalid iat value", verifier=fresh, now=now + 29)
    assert fresh.verify(ahead, now + 30)


@pytest.mark.checklist("B26")
@pytest.mark.parametrize(
    "iss",
    [
        "https://login.example/",
        "https://login.example.evil",
        "https://login.exampl",
        "login.example",
        "HTTPS://login.example",
        " https://login.example",
    ],
)
def test_other_issuer_is_rejected(forge, refused, claims, iss):
    refused(forge(claims | {"iss": iss}), ClaimError, "jwt issuer invalid. expected: https://login.example")


@pytest.mark.checklist("B26")
@pytest.mark.parametrize("iss", ["", None, 5, ["https://login.example"], {"iss": "https://login.example"}])
def test_issuer_of_a_wrong_type_is_rejected(forge, refused, claims, iss):
    refused(forge(claims | {"iss": iss}), ClaimError, "invalid iss value")


@pytest.mark.checklist("B26")
def test_issuer_must_be_present_and_may_be_one_of_several(forge, refused, key, claims, now):
    refused(forge(without(claims, "iss")), ClaimError, "jwt issuer invalid. expected: https://login.example")
    two = Verifier(key, algorithms=["HS256"], audience="chat", issuer=["https://a.example", "https://login.example"])
    assert two.verify(forge(), now).issuer == "https://login.example"
    wrong = forge(claims | {"iss": "https://b.example"})
    message = "jwt issuer invalid. expected: https://a.example or https://login.example"
    refused(wrong, ClaimError, message, verifier=two)


@pytest.mark.checklist("B26")
@pytest.mark.parametrize("aud", ["", "cha", "chat2", "CHAT", "chat ", [], ["cha"], ["other", "chat2"], [""]])
def test_other_audience_is_rejected(forge, refused, claims, aud):
    refused(forge(claims | {"aud": aud}), ClaimError, "jwt audience invalid. expected: chat")


@pytest.mark.checklist("B26")
@pytest.mark.parametrize("aud", [{"chat": 1}, {}, [None], ["chat", None], ["chat", 5], [["chat"]], 5, None, True])
def test_audience_of_a_wrong_type_is_rejected(forge, refused, claims, aud):
    refused(forge(claims | {"aud": aud}), ClaimError, "invalid aud value")


@pytest.mark.checklist("B26")
def test_audience_must_be_present_exactly_if_expected(forge, refused, key, claims, verifier, now):
    refused(forge(without(claims, "aud")), ClaimError, "jwt audience invalid. expected: chat")
    assert verifier.verify(forge(claims | {"aud": ["other", "chat"]}), now)
    nobody = Verifier(key, algorithms=["HS256"])
    assert nobody.verify(forge(without(claims, "aud")), now)
    for aud in ("chat", [], ""):
        refused(forge(claims | {"aud": aud}), ClaimError, "jwt audience invalid. expected: none", verifier=nobody)
    two = Verifier(key, algorithms=["HS256"], audience=["a", "b"])
    refused(forge(), ClaimError, "jwt audience invalid. expected: a or b", verifier=two)


NO_NAMES = ["", None, 1, 1.5, True, [], ["ada"], {}, "a\0", "a\r\nb", "\n", "\x7f", "\x85", "x" * 256]


@pytest.mark.checklist("B27")
@pytest.mark.parametrize("sub", NO_NAMES)
def test_invalid_subject_is_rejected(forge, refused, claims, sub):
    refused(forge(claims | {"sub": sub}), ClaimError, "invalid sub value")


@pytest.mark.checklist("B27")
def test_missing_subject_and_surrogate_subject_are_rejected(forge, refused, claims, verifier, now):
    refused(forge(without(claims, "sub")), MissingClaim, "invalid sub value")
    for surrogate in ("\\ud800", "\\uDC00", "\\uD83D", "a\\udfffb", "\\ude00\\ud83d"):
        refused(forge(written(claims, "sub", f'"{surrogate}"')), MalformedToken, "invalid token")
    assert verifier.verify(forge(written(claims, "sub", '"\\ud83d\\ude00"')), now).subject == "😀"
    assert verifier.verify(forge(claims | {"sub": "x" * 255}), now).subject == "x" * 255
    assert verifier.verify(forge(claims | {"sub": "Ada Lovelace, née Byron"}), now)


@pytest.mark.checklist("B28")
@pytest.mark.parametrize("value", NO_NAMES)
@pytest.mark.parametrize("name", ["jti", "sid"])
def test_invalid_token_and_session_ids_are_rejected(forge, refused, claims, name, value):
    refused(forge(claims | {name: value}), ClaimError, f"invalid {name} value")


NO_LISTS = ["admin", "", 1, True, None, {}, {"admin": True}, {"0": "admin"}, ["admin", 1], [["admin"]], [""], [None]]


@pytest.mark.checklist("B29")
@pytest.mark.parametrize("value", NO_LISTS)
def test_roles_and_rooms_of_a_wrong_type_grant_nothing(forge, verifier, claims, now, value):
    who = verifier.verify(forge(claims | {"roles": value, "rooms": value}), now)
    assert (who.roles, who.rooms) == (frozenset(), ())
    assert not who.has_role("admin")
    assert not who.has_role("a")
    assert "roles" not in who.claims
    assert "rooms" not in who.claims
    assert who.claim("rooms", ()) == ()


@pytest.mark.checklist("B29")
@pytest.mark.parametrize("value", [["admin"], {"admin": 1}, 5, None, True, ""])
def test_scope_and_role_of_a_wrong_type_grant_nothing(forge, verifier, claims, now, value):
    who = verifier.verify(forge(claims | {"scope": value, "role": value}), now)
    assert (who.scopes, who.roles) == (frozenset(), frozenset())
    assert not who.has_scope("admin")


@pytest.mark.checklist("B29")
def test_thousands_of_roles_and_javascript_names_grant_no_admin(forge, refused, verifier, claims, now):
    refused(forge(claims | {"roles": ["r"] * 10_000}), MalformedToken, "jwt malformed")
    crowd = written(claims, "roles", '["admin",' + ",".join(['"r"'] * 1000) + "]")
    assert not verifier.verify(forge(crowd), now).roles
    who = verifier.verify(forge(claims | {"roles": ["__proto__", "constructor"], "__proto__": {"role": "admin"}}), now)
    assert who.roles == {"__proto__", "constructor"}
    assert not who.has_role("admin")
    assert not who.has_role("__class__")


@pytest.mark.checklist("B30")
@pytest.mark.parametrize(
    "role", ["Admin", "ADMIN", "admin ", " admin", "admin\0", "аdmin", "ａdmin", "admin\u200b", "admi"]
)
def test_role_matches_its_exact_spelling_only(forge, verifier, claims, now, role):
    for granted in ({"roles": [role]}, {"role": role}, {"roles": [role, "member"], "role": "member"}):
        assert not verifier.verify(forge(claims | granted), now).has_role("admin")
    scope = role.strip()  # a space separates scopes
    assert verifier.verify(forge(claims | {"scope": scope}), now).has_scope("admin") is (scope == "admin")


@pytest.mark.checklist("B31")
def test_leeway_covers_clocks_five_minutes_apart(key, now):
    """The issuer's clock is ahead or behind, and the verifier's leeway decides."""
    for skew in (300, -300):
        issuer = Issuer(key, audience="chat", expires_in=240, clock=lambda skew=skew: now + skew)
        token = issuer.issue("ada", not_before=now + skew)
        assert issuer.verifier(leeway=300).verify(token, now)
        with pytest.raises((ExpiredToken, ImmatureToken)):
            issuer.verifier(leeway=30).verify(token, now)


@pytest.mark.checklist("B31")
def test_stored_lifetime_is_never_negative(key, now):
    issuer = Issuer(key, audience="chat", clock=lambda: now)
    who = issuer.verifier(leeway=600).verify(issuer.issue("ada", expires_in=-300, token_id="t1"), now)
    assert who.expires_at >= who.issued_at
    revocations = Revocations()
    revocations.add(Revocation.of(token_id=who.token_id, expires_at=who.expires_at, now=now), now)
    revocations.forget_expired(now)
    assert revocations.is_revoked(who)  # a verifier with a large leeway still accepts it


@pytest.mark.checklist("B31")
@pytest.mark.parametrize("name", ["leeway", "max_lifetime", "max_age"])
@pytest.mark.parametrize("value", [-1, float("nan"), float("inf"), "30", True])
def test_invalid_seconds_in_settings_are_rejected(key, name, value):
    with pytest.raises(ConfigError, match=name):
        Verifier(key, algorithms=["HS256"], **{name: value})
