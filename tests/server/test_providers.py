"""The tables [providers.NAME] of roomkey.toml."""

from __future__ import annotations

from pathlib import Path

import pytest

from roomkey import Verifier
from roomkey.errors import ClaimError, ConfigError
from roomkey.server.config_file import ConfigFile
from roomkey.server.providers import load_providers

ISSUER = 'issuer = "https://sso.example"\n'
COMPLETE = f'[providers.sso]\n{ISSUER}audience = "chat"\n'


def test_a_table_becomes_a_provider_with_defaults() -> None:
    sso = load_providers(ConfigFile.parse(COMPLETE))["sso"]
    assert (sso.issuer, sso.audience, sso.jwks, sso.leeway) == ("https://sso.example", "chat", None, 30.0)


def test_a_table_says_what_the_claims_mean() -> None:
    text = COMPLETE + 'preset = "keycloak"\nclaims = {azp = ["web", "app"], level = 1, mfa = true}\n'
    text += 'claims_map = {rooms = ["x", "my.rooms"], role = "https://sso.example/role"}'
    sso = load_providers(ConfigFile.parse(text))["sso"]
    assert sso.places == {
        "roles": "realm_access.roles",
        "rooms": ("x", "my.rooms"),
        "role": "https://sso.example/role",
    }
    verifier = Verifier.hs256("kT9vX2mQ8rL4wZ7yB1nC6dF3gH5jP0sA", audience="chat", **sso.claim_settings)
    claims = {"exp": 100, "sub": "ada", "aud": "chat", "typ": "Bearer", "azp": "app", "level": 1, "mfa": True}
    claims |= {"realm_access": {"roles": ["clerk"]}, "x": {"my.rooms": ["red"]}}
    who = verifier.identify(claims, 50)
    assert (who.roles, who.rooms) == ({"clerk"}, ("red",))
    for wrong in ({"typ": "ID"}, {"azp": "other"}, {"level": True}, {"mfa": 1}):
        with pytest.raises(ClaimError):
            verifier.identify(claims | wrong, 50)


def test_a_file_without_tables_has_no_providers() -> None:
    assert load_providers(ConfigFile.parse("port = 1")) == {}


def test_a_table_can_name_a_secret_only_by_its_file() -> None:
    text = COMPLETE + 'introspection = "https://sso.example/introspect"\nclient_id = "rk"\n'
    sso = load_providers(ConfigFile.parse(text + 'client_secret_file = "sso.secret"'))["sso"]
    assert sso.client_secret_file == Path("sso.secret")
    with pytest.raises(
        ConfigError, match=r"providers\.sso\.client_secret: is unknown; .* client_secret_file$"
    ) as caught:
        load_providers(ConfigFile.parse(text + 'client_secret = "hunter2"'))
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("providers = 1", r"roomkey.toml: write \[providers.NAME\]"),
        ("[[providers]]", r"write \[providers.NAME\]"),
        ("[providers]\nsso = 1", r"providers.sso: write \[providers.sso\]"),
        ("[providers.SSO]", "providers.SSO: a name must be"),
        ('[providers."a:b"]', "a name must be"),
        (f"[providers.sso]\n{ISSUER}", r"providers.sso: set audience to accept .* login to let users log in"),
        (f"[providers.sso]\n{ISSUER}login = true", r"providers.sso: login requires client_id"),
        ('[providers.sso]\nissuer = "x"\nlogin = true\nclient_id = "c"\njwks = "https://x/"', "https:// URL as issuer"),
        (COMPLETE + 'rights = "both"', "providers.sso.rights: must be 'account' or 'claims'"),
        (f"[providers.sso]\n{ISSUER}audience = []", r"providers.sso.audience: must not be empty"),
        ('[providers.sso]\nissuer = "http://sso.example"\naudience = "a"', r"issuer must be an https:// URL"),
        (COMPLETE + 'jwks = "http://sso.example"', r"providers.sso.jwks: must be an https:// URL"),
        (COMPLETE + 'jwks = "https://ada:pw@sso.example"', r"providers.sso.jwks: must be an https:// URL"),
        (COMPLETE + 'introspection = "https://sso.example/i"', r"introspection requires client_id"),
        (COMPLETE + 'algorithms = ["none"]', r"providers.sso.algorithms: .*at least one of"),
        (COMPLETE + 'algorithms = ["RS256", "HS256"]', r"must not mix"),
        (COMPLETE + 'preset = "okta"', r"providers.sso.preset: .*unknown preset 'okta'; use one of keycloak"),
        (COMPLETE + 'claims_map = {groups = "roles"}', r"providers.sso.claims_map: .*unknown name 'groups'"),
        (COMPLETE + 'claims_map = {roles = "a..b"}', r"providers.sso.claims_map: .*invalid place"),
        (COMPLETE + "claims = {level = 1.5}", r"providers.sso.claims"),
        (COMPLETE + "leeway = -1", r"providers.sso.leeway: must be at least 0"),
    ],
)
def test_a_mistake_is_rejected_with_its_place(text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        load_providers(ConfigFile.parse(text))
