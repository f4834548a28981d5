"""Claims in other places than the registered ones."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roomkey import ConfigError, Identity, Verifier
from roomkey.core.claims_map import STANDARD, ClaimsMap, path_of
from roomkey.errors import ClaimError, MissingClaim

NOW = 1_800_000_000
SECRET = "kT9vX2mQ8rL4wZ7yB1nC6dF3gH5jP0sA"
BASE = {"sub": "ada", "exp": NOW + 60}
NO_NAMES = ["admin", "", 1, True, None, {}, {"admin": True}, ["admin", 1], [["admin"]], [""], ["r"] * 1001]


def identify(claims, claims_map, **settings) -> Identity:
    return Verifier.hs256(SECRET, claims_map=claims_map, **settings).identify(BASE | claims, NOW)


@pytest.mark.parametrize(
    ("place", "path"),
    [
        ("user_id", ("user_id",)),
        ("realm_access.roles", ("realm_access", "roles")),
        ("resource_access.chat.roles", ("resource_access", "chat", "roles")),
        ("https://example.com/roles", ("https://example.com/roles",)),
        ("cognito:groups", ("cognito:groups",)),
        ("example.com/roles", ("example.com/roles",)),
        (["resource_access", "chat.example", "roles"], ("resource_access", "chat.example", "roles")),
        (["my.roles"], ("my.roles",)),
        (("https://example.com/app", "roles"), ("https://example.com/app", "roles")),
    ],
)
def test_place_has_one_meaning(place, path):
    assert path_of(place) == path


@pytest.mark.parametrize("place", ["", ".", "a.", ".a", "a..b", [], [""], ["a", 5], 5, None, {"a": "b"}, "a\nb", b"a"])
def test_place_of_another_form_is_rejected(place):
    with pytest.raises(ConfigError, match="invalid place"):
        Verifier.hs256(SECRET, claims_map={"roles": place})


@pytest.mark.parametrize("claims_map", [{"groups": "roles"}, {"sub": "user_id"}, {"audience ": "azp"}, {5: "roles"}])
def test_map_with_an_unknown_name_is_rejected(claims_map):
    with pytest.raises(ConfigError, match="unknown name"):
        Verifier.hs256(SECRET, claims_map=claims_map)


@pytest.mark.parametrize("claims_map", [["subject"], "subject", 5])
def test_map_of_another_type_is_rejected(claims_map):
    with pytest.raises(ConfigError, match="must be a mapping"):
        Verifier.hs256(SECRET, claims_map=claims_map)


@pytest.mark.parametrize("claim", ["exp", "aud", "iss", "jti", "roles", "sid", "scope"])
def test_map_rejects_a_subject_that_does_not_name_a_user(claim):
    with pytest.raises(ConfigError, match="meaning of its own"):
        Verifier.hs256(SECRET, claims_map={"subject": claim})


def test_map_reads_every_place():
    who = identify(
        {
            "user_id": "7",
            "client_id": "app-1",
            "origin_jti": "s-1",
            "realm_access": {"roles": ["admin", "clerk"]},
            "o": {"rol": "owner"},
            "https://example.com/rooms": {"team-*": ["join"]},
            "scp": "read write",
        },
        {
            "subject": "user_id",
            "audience": "client_id",
            "session": "origin_jti",
            "roles": "realm_access.roles",
            "role": "o.rol",
            "rooms": "https://example.com/rooms",
            "scopes": "scp",
        },
        audience="app-1",
    )
    assert (who.subject, who.session_id, who.scopes) == ("7", "s-1", {"read", "write"})
    assert who.roles == {"admin", "clerk", "owner"}
    assert who.grants("team-red")
    assert not who.grants("team-red", "message")


def test_map_leaves_the_original_claims():
    claims = {"sub": 7, "realm_access": {"roles": ["admin"]}, "aud": "chat", "scope": "openid"}
    who = identify(
        dict(claims), {"roles": "realm_access.roles", "scopes": "scp"}, integer_subject=True, audience="chat"
    )
    assert dict(who.claims) == BASE | claims
    assert (who.subject, who.roles, who.scopes) == ("7", {"admin"}, frozenset())


@pytest.mark.parametrize("claims_map", [{"roles": "groups"}, {"role": "group"}, {"roles": ["groups", "all"]}])
def test_roles_come_only_from_where_the_map_says(claims_map):
    who = identify({"roles": ["admin"], "role": "admin"}, claims_map)
    assert who.roles == frozenset()
    assert who.claim("roles") == ["admin"]  # it stays readable


def test_one_claim_can_be_in_its_usual_place():
    assert identify({"role": "admin"}, {"role": "role"}).roles == {"admin"}
    assert identify({"role": "admin", "roles": ["clerk"]}, {"role": "role", "roles": "roles"}).roles == {
        "admin",
        "clerk",
    }
    assert identify({"aud": "chat"}, {"audience": "aud"}, audience="chat").subject == "ada"
    assert identify({}, {"audience": "aud"}).subject == "ada"


@pytest.mark.checklist("B29")
@pytest.mark.parametrize("value", NO_NAMES)
@pytest.mark.parametrize("place", ["groups", "realm_access.groups"])
def test_mapped_rights_of_a_wrong_type_grant_nothing(value, place):
    claims = {"groups": value, "realm_access": {"groups": value}}
    who = identify(claims, {"roles": place, "rooms": place})
    assert (who.roles, who.rooms) == (frozenset(), ())
    assert not who.grants("admin")
    role = identify(claims, {"role": place})
    assert role.roles == ({"admin"} if value == "admin" else frozenset())
    scopes = identify(claims, {"scopes": place}).scopes
    assert scopes == ({"admin"} if value == "admin" else frozenset())


@pytest.mark.checklist("B29")
@pytest.mark.parametrize("parent", [None, "roles", ["roles"], 5, [{"roles": ["admin"]}], {}, {"Roles": ["admin"]}])
def test_place_inside_another_type_grants_nothing(parent):
    who = identify({"realm_access": parent, "realm_access.roles": ["admin"]}, {"roles": "realm_access.roles"})
    assert who.roles == frozenset()


@pytest.mark.checklist("B29")
@pytest.mark.parametrize("roles", ["admin", 5, {"admin": 1}])
def test_unmapped_roles_of_a_wrong_type_are_left_out_of_the_claims(roles):
    """No rule can mistake them for a list, whether they count or not."""
    who = identify({"roles": roles, "rooms": roles, "groups": ["clerk"]}, {"roles": "groups"})
    assert who.roles == {"clerk"}
    assert not {"roles", "rooms"} & set(who.claims)


def test_scopes_are_a_text_or_a_list():
    assert identify({"permissions": ["read", "write"]}, {"scopes": "permissions"}).scopes == {"read", "write"}
    assert identify({"permissions": ["read write"]}, {"scopes": "permissions"}).scopes == frozenset()


def test_mapped_audience_must_match():
    claims_map = {"audience": "client_id"}
    assert identify({"client_id": "app-1"}, claims_map, audience=["app-1", "app-2"]).subject == "ada"
    assert identify({"client_id": ["x", "app-1"]}, claims_map, audience="app-1").subject == "ada"
    for claims in ({}, {"client_id": "app-2"}, {"client_id": ""}, {"client_id": 5}, {"aud": "app-1"}):
        with pytest.raises(ClaimError) as caught:
            identify(claims, claims_map, audience="app-1")
        assert caught.value.claim == "aud"


@pytest.mark.parametrize("aud", ["app-2", ["app-2"], [], None, 5, {"app-1": 1}, ""])
def test_token_for_another_audience_is_rejected_wherever_the_map_reads(aud):
    """A recipient that ``aud`` does not name must reject the token (RFC 7519 section 4.1.3)."""
    with pytest.raises(ClaimError):
        identify({"client_id": "app-1", "aud": aud}, {"audience": "client_id"}, audience="app-1")
    assert identify({"client_id": "app-1", "aud": ["app-1"]}, {"audience": "client_id"}, audience="app-1")


def test_map_of_the_audience_requires_an_audience():
    with pytest.raises(ConfigError, match="pass audience="):
        Verifier.hs256(SECRET, claims_map={"audience": "client_id"})


@pytest.mark.parametrize("value", [5, "", None, ["s"], "a\nb", "x" * 256])
def test_mapped_session_of_a_wrong_type_is_rejected(value):
    """Otherwise a revocation of the session would not reach the token."""
    with pytest.raises(ClaimError, match=r"sid is .*claims_map: session_id"):
        identify({"session_id": value}, {"session": "session_id"})


def test_session_and_subject_come_only_from_where_the_map_says():
    assert identify({"sid": "other"}, {"session": "session_id"}).session_id is None
    with pytest.raises(MissingClaim):
        identify({"sub": "ada"}, {"subject": "user_id"})


def test_require_names_claims_in_standard_form():
    verifier = Verifier.hs256(SECRET, claims_map={"scopes": "scp"}, require=["exp", "sub", "scope"])
    assert verifier.identify(BASE | {"scp": "read"}, NOW).has_scope("read")
    with pytest.raises(MissingClaim, match="scope is missing"):
        verifier.identify(BASE | {"scope": "read"}, NOW)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3) | st.just("a.b"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
    max_leaves=8,
)


@given(
    st.dictionaries(st.sampled_from(["a", "b", *STANDARD.values()]), JSON),
    st.dictionaries(st.sampled_from(sorted(STANDARD)), st.sampled_from(["a", "b", "a.a", "a.b.a", "b.a"])),
    st.booleans(),
)
def test_map_raises_only_claim_errors_and_gives_no_rights_of_a_wrong_type(claims, places, integer_subject):
    verifier = Verifier.hs256(SECRET, claims_map=places, integer_subject=integer_subject, audience="a", require=())
    before = dict(claims)
    standard = ClaimsMap(places, integer_subject=integer_subject).standard(claims)
    assert claims == before
    try:
        who = verifier.identify(claims, NOW)
    except ClaimError:
        return
    assert isinstance(who.subject, str)
    roles = standard.get("roles") if isinstance(standard.get("roles"), list) else []
    assert who.roles <= {*roles, standard.get("role") if isinstance(standard.get("role"), str) else ""}
