"""The presets: tokens as common issuers write them are accepted, and tokens that come close are not."""

from __future__ import annotations

import pytest
from support.issuer_tokens import NOW, SHAPES
from support.tokens import hs256, signed_by

from roomkey import ConfigError, Identity, Key, Verifier
from roomkey.core.presets import PRESETS
from roomkey.errors import ClaimError

SECRET = "kT9vX2mQ8rL4wZ7yB1nC6dF3gH5jP0sA"
NEAR = [(name, near) for name, shape in SHAPES.items() for near in shape.near]


def verifier_of(name: str, **settings) -> Verifier:
    return Verifier.hs256(SECRET, preset=name, **(SHAPES[name].settings | settings))


def identify(name: str, changes: dict | None = None, **settings) -> Identity:
    shape = SHAPES[name]
    token = hs256({"alg": "HS256", **shape.header}, shape.changed(changes or {}), SECRET)
    return verifier_of(name, **settings).verify(token, NOW)


def test_every_preset_has_a_shape():
    assert list(SHAPES) == list(PRESETS)
    assert all(len(shape.near) >= 3 for shape in SHAPES.values())


@pytest.mark.parametrize("name", SHAPES)
def test_preset_accepts_the_token_of_its_issuer(name):
    shape = SHAPES[name]
    who = identify(name)
    assert (who.subject, who.session_id) == (shape.subject, shape.session)
    assert (sorted(who.roles), sorted(who.scopes)) == (list(shape.roles), list(shape.scopes))
    assert dict(who.claims) == shape.claims


@pytest.mark.parametrize(("name", "near"), NEAR)
def test_preset_rejects_a_token_that_comes_close(name, near):
    changes, claim = SHAPES[name].near[near]
    with pytest.raises(ClaimError) as caught:
        identify(name, changes)
    assert caught.value.claim == claim


@pytest.mark.parametrize("name", [name for name, shape in SHAPES.items() if not shape.shared])
def test_preset_names_the_algorithms_of_its_issuer(name):
    """None of them is symmetric, whatever the issuer offers."""
    algorithms = PRESETS[name].algorithms
    key = Key.generate(algorithms[0])
    verifier = Verifier(key.public(), algorithms=algorithms, preset=name, **SHAPES[name].settings)
    token = signed_by(key, {"alg": algorithms[0]}, SHAPES[name].claims)
    assert verifier.verify(token, NOW).subject == SHAPES[name].subject


def test_settings_win_over_the_preset():
    """Those of ``claims`` and ``claims_map`` one by one."""
    client_roles = ["resource_access", "chat", "roles"]
    assert identify("keycloak", claims_map={"roles": client_roles}).roles == {"owner"}
    assert identify("keycloak", claims_map={"subject": "preferred_username"}).roles == {"moderator", "offline_access"}
    with pytest.raises(ClaimError):
        identify("keycloak", {"typ": "ID"}, claims={"azp": "web"})
    assert identify("keycloak", {"typ": "ID"}, claims={"typ": "ID"}).subject
    assert identify("supabase", {"aud": "chat"}, audience="chat").subject
    both = {"require": ["exp", "sub"], "claims": {"idtyp": ["app", "user"]}}
    assert identify("entra", {"scp": None, "idtyp": "app"}, **both).roles == {"Moderator"}
    with pytest.raises(ClaimError):
        identify("entra", {"scp": None}, **both)
    with pytest.raises(ClaimError):
        identify("simplejwt", integer_subject=False)


def test_token_of_keycloak_can_be_bound_to_a_key():
    assert identify("keycloak", {"typ": "DPoP"}).subject


def test_token_of_clerk_needs_no_status():
    assert identify("clerk", {"sts": None}).subject


def test_preset_that_moves_the_audience_requires_one():
    with pytest.raises(ConfigError, match="audience"):
        Verifier.hs256(SECRET, preset="cognito")


@pytest.mark.parametrize("name", ["Keycloak", "okta", "", 5, ["keycloak"]])
def test_unknown_preset_is_rejected(name):
    with pytest.raises(ConfigError, match=r"unknown preset .*; use one of keycloak, auth0"):
        Verifier.hs256(SECRET, preset=name)


@pytest.mark.parametrize("changes", [{"user_metadata": {"roles": ["admin"]}, "app_metadata": {}}, {"roles": ["admin"]}])
def test_user_of_supabase_cannot_choose_their_roles(changes):
    assert "admin" not in identify("supabase", changes).roles
