"""The tokens of providers at the server, and what it reports about their keys."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from support.key_server import KeyServer, failing, json_response, key_server, new_keys, signed

from roomkey import Key, KeySet
from roomkey.auth.introspection import introspect
from roomkey.errors import ConfigError, TokenError
from roomkey.server.app import Application, build
from roomkey.server.provider_tokens import tokens_of
from roomkey.server.providers import Provider
from roomkey.server.settings import Settings
from roomkey.stores import Stores

(THEIRS,) = new_keys("theirs")
ORIGIN = "http://127.0.0.1:8000"


@pytest.fixture
def server() -> Iterator[KeyServer]:
    with key_server(THEIRS.public()) as made:
        made.discover()
        yield made


@asynccontextmanager
async def running(
    *, oauth: bool = False, **providers: Provider
) -> AsyncIterator[tuple[Application, httpx.AsyncClient]]:
    settings = Settings(admin_api=True, issuer=ORIGIN if oauth else "roomkey")
    stores = Stores.at()
    await stores.open()
    product = build(settings, stores, KeySet([Key.generate("ES256")]), providers=providers)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(product.asgi), base_url=ORIGIN) as web:
        yield product, web
    await product.close()
    await stores.close()


def sso(server: KeyServer, **settings: Any) -> Provider:
    return Provider(**{"issuer": server.url, "audience": "chat", **settings})


async def test_own_and_foreign_tokens_have_different_subjects(server: KeyServer) -> None:
    async with running(sso=sso(server)) as (product, _):
        theirs = await product.backend.guard.verify(signed(THEIRS, issuer=server.url))
        ours = await product.backend.guard.verify(product.issuer.issue("ada"))
    assert (theirs.subject, ours.subject) == ("sso:ada", "ada")


async def test_the_prefix_of_subjects_can_be_set(server: KeyServer) -> None:
    async with running(sso=sso(server, subject_prefix="")) as (product, _):
        assert (await product.backend.guard.verify(signed(THEIRS, issuer=server.url))).subject == "ada"


@pytest.mark.checklist("I121")
async def test_a_provider_signs_for_itself_only(server: KeyServer) -> None:
    async with running(sso=sso(server)) as (product, _):
        for issuer, audience in [("roomkey", "roomkey"), ("roomkey", "chat"), (server.url, "roomkey")]:
            with pytest.raises(TokenError):
                await product.backend.guard.verify(signed(THEIRS, issuer=issuer, audience=audience))


async def test_a_providers_token_administers_nothing(server: KeyServer) -> None:
    async with running(sso=sso(server, subject_prefix="")) as (product, web):
        token = signed(THEIRS, "grace", issuer=server.url)
        for path in ("/api/users", "/auth/me", "/auth/sessions"):
            response = await web.get(path, headers={"Authorization": f"Bearer {token}"})
            assert response.status_code in {403, 404}, path
        assert (await product.backend.guard.verify(token)).subject == "grace"


async def test_a_providers_token_waits_for_keys_at_http_routes_too(server: KeyServer) -> None:
    async with running(sso=sso(server)) as (_, web):
        token = signed(THEIRS, issuer=server.url)
        response = await web.get("/api/users", headers={"Authorization": f"Bearer {token}"})
        assert response.status_code == 403


async def test_a_provider_that_is_down_gives_503(server: KeyServer) -> None:
    server.routes.clear()
    server.respond = failing
    async with running(sso=sso(server)) as (_, web):
        token = signed(THEIRS, issuer=server.url)
        response = await web.get("/api/users", headers={"Authorization": f"Bearer {token}"})
        assert response.status_code == 503


async def test_readiness_reports_on_keys_and_stays_ready(server: KeyServer) -> None:
    server.routes["/500"] = failing
    broken = sso(server, issuer="https://other.invalid", jwks=f"{server.url}/500")
    async with running(sso=sso(server), other=broken) as (product, web):
        for provider in product.providers:
            lookup = provider.prefetch()
            if lookup is not None:
                await lookup.wait(20)
        response = await web.get("/readyz")
    assert response.status_code == 200
    assert response.json()["providers"] == [
        {"name": "sso", "keys": "fresh", "seconds_since_answer": 0, "kids": ["theirs"]},
        {"name": "other", "keys": "empty", "kids": [], "last_error": "status 500"},
    ]


async def test_a_server_without_providers_reports_none() -> None:
    async with running() as (product, web):
        assert (await web.get("/readyz")).json() == {"status": "ok"}
        assert product.providers == ()


async def test_keys_are_fetched_at_the_start(server: KeyServer) -> None:
    async with running(sso=sso(server)) as (product, _):
        lookup = product.providers[0].prefetch()
        if lookup is not None:
            await lookup.wait(20)
        assert product.providers[0].status().kids == ("theirs",)


def test_a_providers_issuer_cannot_be_the_servers_own(server: KeyServer) -> None:
    own = sso(server, issuer="roomkey", jwks=server.url)
    with pytest.raises(ConfigError, match="two verifiers are for the issuer 'roomkey'"):
        build(Settings(), Stores.at(), KeySet([Key.generate("ES256")]), providers={"sso": own})


async def test_introspection_uses_the_secret_in_the_file(server: KeyServer, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("s3cret\n")
    secret.chmod(0o600)
    server.routes["/introspect"] = json_response(
        {"active": True, "sub": "ada", "aud": "chat", "exp": 4_000_000_000, "iss": server.url}
    )
    settings = {"introspection": f"{server.url}/introspect", "client_id": "me", "client_secret_file": secret}
    async with running(sso=sso(server, **settings)) as (product, _):
        assert (await product.backend.guard.verify("an-opaque-token")).subject == "sso:ada"
    assert any(b"Basic bWU6czNjcmV0\r\n" in head + b"\r\n" for head in server.heads)
    secret.chmod(0o644)
    with pytest.raises(ConfigError, match=r"providers\.sso: .*chmod 600"):
        tokens_of("sso", sso(server, **settings))


async def test_the_servers_own_introspection_knows_only_its_own_tokens(server: KeyServer) -> None:
    async with running(sso=sso(server)) as (product, _):
        logins: Any = SimpleNamespace(authority=product.backend.guard, issuer=product.issuer)
        client: Any = None  # matters for refresh tokens only
        assert not (await introspect(logins, client, signed(THEIRS, issuer=server.url))).active
        assert (await introspect(logins, client, product.issuer.issue("ada"))).active
