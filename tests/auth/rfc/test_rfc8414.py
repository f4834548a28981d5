"""RFC 8414: the requirements of the metadata."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest
from support.oauth import BASIC, PASSWORD, SECRET, URL
from support.rfc import SHARED, sent_back

from roomkey.auth import oauth_router
from roomkey.errors import ConfigError

pytestmark = SHARED
PATH = "/.well-known/oauth-authorization-server"
ENDPOINTS = ("authorization_endpoint", "token_endpoint", "revocation_endpoint", "introspection_endpoint", "jwks_uri")


async def metadata(served):
    return (await served.http.get(PATH)).json()


async def test_s2_required_metadata_is_present(served):
    """These are issuer, authorization and token endpoint, and response types."""
    assert {"issuer", "authorization_endpoint", "token_endpoint", "response_types_supported"} <= (
        await metadata(served)
    ).keys()


@pytest.mark.parametrize(
    "issuer",
    ["http://login.example", "https://login.example?a=b", "https://login.example#a", "login.example", "https://"],
)
async def test_s2_issuer_is_an_https_url_without_query_and_fragment(desk, issuer):
    """A server with an invalid issuer does not start."""
    with pytest.raises(ConfigError):
        oauth_router(desk.logins, desk.clients, desk.single_use, issuer=issuer)


@pytest.mark.parametrize("name", ENDPOINTS)
async def test_s2_every_endpoint_is_an_https_url_of_this_server(served, name):
    """Every named endpoint exists: it does not respond with 404."""
    address = (await metadata(served))[name]
    assert address.startswith(URL + "/")
    answer = await served.http.request("GET" if name in ("authorization_endpoint", "jwks_uri") else "POST", address)
    assert answer.status_code in (200, 400)


async def test_s2_exactly_the_named_grants_are_supported(served):
    """They are named because the default includes the implicit grant; the token endpoint knows each."""
    told = (await metadata(served))["grant_types_supported"]
    assert told == ["authorization_code", "refresh_token", "client_credentials"]
    for grant in (*told, "implicit", "password"):
        answer = await served.post("token", BASIC, grant_type=grant, username="ada", password=PASSWORD)
        known = answer.status_code == 200 or answer.json()["error"] != "unsupported_grant_type"
        assert known is (grant in told)


async def test_s2_exactly_the_named_response_types_and_modes_are_supported(served):
    """These are code and query; the default would also include fragment."""
    told = await metadata(served)
    assert (told["response_types_supported"], told["response_modes_supported"]) == (["code"], ["query"])
    answer = await served.submit(await served.show())
    assert "code" in sent_back(answer)
    assert not urlsplit(answer.headers["location"]).fragment


@pytest.mark.parametrize("endpoint", ["token", "revocation", "introspection"])
async def test_s2_named_client_authentication_methods_work(served, endpoint):
    """Each named method works, and none requires a signature algorithm."""
    told = await metadata(served)
    path = {"token": "token", "revocation": "revoke", "introspection": "introspect"}[endpoint]
    named = told[f"{endpoint}_endpoint_auth_methods_supported"]
    sent = {"token": "t", "grant_type": "refresh_token", "refresh_token": "r" * 43}
    works = {
        "client_secret_basic": await served.post(path, BASIC, **sent),
        "client_secret_post": await served.post(path, client_id="backend", client_secret=SECRET, **sent),
        "none": await served.post(path, client_id="page", **sent),
    }
    assert named == [method for method, answer in works.items() if answer.status_code != 401]
    assert f"{endpoint}_endpoint_auth_signing_alg_values_supported" not in told


async def test_s2_metadata_does_not_name_what_is_missing(served):
    """It names no registration, and nothing without a URL."""
    told = await metadata(served)
    assert "registration_endpoint" not in told
    assert {name for name in told if name.endswith(("_endpoint", "_uri"))} == set(ENDPOINTS)


async def test_s3_metadata_is_at_the_well_known_path(served):
    """It is the default path at the issuer's host."""
    assert (await served.http.get((await metadata(served))["issuer"] + PATH)).status_code == 200


async def test_s3_1_and_3_2_metadata_is_json_for_a_get(served):
    """The response is 200 and application/json, without null members or empty lists."""
    answer = await served.http.get(PATH)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    assert all(answer.json().values())
    assert (await served.http.post(PATH)).status_code == 405


async def test_s3_3_issuer_is_that_of_the_url_and_of_the_tokens(served):
    """They are identical, so that clients can compare them."""
    told = await metadata(served)
    given = await served.logged_in()
    assert told["issuer"] == URL == (await served.introspect(given["access_token"]))["iss"]
