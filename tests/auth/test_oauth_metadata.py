"""``GET /.well-known/oauth-authorization-server``: RFC 8414, RFC 9207."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from fastapi import FastAPI
from support.oauth import URL, Desk

from roomkey.auth import oauth_router
from roomkey.errors import ConfigError


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    async with Desk.opened() as opened:
        yield opened


async def metadata(desk):
    return await desk.http.get("/.well-known/oauth-authorization-server")


async def test_rfc8414_3_2_metadata_is_json_and_can_be_cached(desk):
    answer = await metadata(desk)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "public, max-age=3600"
    assert not [name for name, value in answer.json().items() if value in (None, [])], "section 3.2: no empty members"


async def test_rfc8414_3_3_issuer_is_that_of_the_tokens_and_the_url(desk):
    given = await desk.logged_in()
    who = await desk.authority.verify(given["access_token"])
    assert (await metadata(desk)).json()["issuer"] == who.issuer == URL == str(desk.http.base_url).rstrip("/")


async def test_rfc8414_2_every_endpoint_exists(desk):
    told = (await metadata(desk)).json()
    assert "jwks_uri" not in told, "only where there is one"
    for name in ("token_endpoint", "revocation_endpoint", "introspection_endpoint"):
        assert (await desk.http.post(told[name])).status_code == 400
    assert (await desk.http.get(told["authorization_endpoint"])).status_code == 400


async def test_metadata_of_grants_and_methods_is_true(desk):
    told = (await metadata(desk)).json()
    assert told["grant_types_supported"] == ["authorization_code", "refresh_token", "client_credentials"]
    assert told["token_endpoint_auth_methods_supported"] == ["client_secret_basic", "client_secret_post", "none"]
    assert told["introspection_endpoint_auth_methods_supported"] == ["client_secret_basic", "client_secret_post"]
    assert told["revocation_endpoint_auth_methods_supported"] == told["token_endpoint_auth_methods_supported"]
    assert told["response_types_supported"] == ["code"]
    assert told["code_challenge_methods_supported"] == ["S256"], "RFC 7636: never plain"
    assert told["authorization_response_iss_parameter_supported"] is True, "RFC 9207 section 3"
    assert told["response_modes_supported"] == ["query"]


async def test_metadata_names_the_path_of_the_keys(desk):
    app = FastAPI()
    paths = {"prefix": "/desk", "issuer": "http://localhost:8000", "jwks_path": "/.well-known/jwks.json"}
    app.include_router(oauth_router(desk.logins, desk.clients, desk.single_use, **paths))
    desk.http._transport = type(desk.http._transport)(app)
    told = (await metadata(desk)).json()
    assert told["jwks_uri"] == "http://localhost:8000/.well-known/jwks.json"
    assert (told["issuer"], told["token_endpoint"]) == ("http://localhost:8000", "http://localhost:8000/desk/token")
    assert (await desk.http.get("/desk/authorize")).status_code == 400


@pytest.mark.parametrize(
    "issuer",
    [
        "roomkey",
        "",
        "http://login.example",
        "https://login.example/",
        "https://login.example/desk",
        "https://login.example?x=1",
        "https://login.example#x",
        "https://ada@login.example",
        "https://",
        "ftp://localhost",
        "http://127.0.0.1.evil.example",
    ],
)
async def test_rfc8414_2_invalid_issuer_raises_at_startup(desk, issuer):
    with pytest.raises(ConfigError, match="for OAuth; use"):
        oauth_router(desk.logins, desk.clients, desk.single_use, issuer=issuer)


@pytest.mark.parametrize(
    "issuer", ["https://a.example:8443", "http://127.0.0.1:8000", "http://[::1]:1", "http://localhost"]
)
async def test_plain_http_is_allowed_on_this_machine(desk, issuer):
    assert oauth_router(desk.logins, desk.clients, desk.single_use, issuer=issuer)
