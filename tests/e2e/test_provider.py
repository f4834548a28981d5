"""The OpenID provider of the tests does what the tests ask of it."""

from __future__ import annotations

import httpx
import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet
from support.provider import CLIENT, CLIENT_SECRET, Provider, provider

__all__ = ["provider"]

RESOURCE = "https://api.example/"


def read(provider: Provider, token: str) -> jwt.Token:
    keys = KeySet.import_key_set(httpx.get(f"{provider.issuer}/jwks").json())
    return jwt.decode(token, keys, algorithms=["RS256", "ES256", "EdDSA"])


@pytest.mark.parametrize("alg", ["RS256", "ES256", "EdDSA"])
def test_provider_issues_access_tokens(provider, alg):
    token = read(provider, provider.access_token(RESOURCE, alg))
    assert (token.header["alg"], token.header["typ"]) == (alg, "at+jwt")
    assert token.claims["aud"] == RESOURCE
    assert token.claims["sub"] == f"service-{alg}"


def test_provider_issues_opaque_tokens(provider):
    token = provider.access_token(RESOURCE, opaque=True)
    answer = httpx.post(
        f"{provider.issuer}/token/introspection", data={"token": token}, auth=(CLIENT, CLIENT_SECRET)
    ).json()
    assert (answer["active"], answer["aud"]) == (True, RESOURCE)


def test_provider_binds_tokens_to_a_key(provider):
    key = ECKey.generate_key("P-256")
    token = provider.access_token(RESOURCE, "ES256", bound_to=key)
    assert read(provider, token).claims["cnf"] == {"jkt": key.thumbprint()}


def test_provider_logs_a_person_in_with_chosen_claims(provider):
    provider.account("ada", groups=["staff"], extra={"realm_access": {"roles": ["admin"]}})
    tokens = provider.log_in(provider.browser("ada"), resource=RESOURCE)
    assert read(provider, tokens["id_token"]).claims["groups"] == ["staff"]
    assert read(provider, tokens["access_token"]).claims["realm_access"] == {"roles": ["admin"]}


def test_rotation_changes_keys_and_keeps_sessions(provider):
    browser = provider.browser("grace")
    before = read(provider, provider.log_in(browser)["id_token"])
    kids = provider.rotate()
    after = read(provider, provider.log_in(browser)["id_token"])
    assert (before.header["kid"] in kids, before.header["kid"] != after.header["kid"]) == (True, True)
    assert before.header["kid"] not in provider.rotate(keep_old=False)


def test_provider_can_be_down_for_a_while(provider):
    provider.down()
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{provider.issuer}/jwks")
    provider.up()
    before = provider.requests()
    assert httpx.get(f"{provider.issuer}/jwks").status_code == 200
    assert provider.requests() == before + 1
