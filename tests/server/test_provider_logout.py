"""A logout at the provider disconnects sockets: those of logins there, and those with tokens of the provider."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

import httpx
import pytest
from support.live import Raw, serve
from support.oauth import query_of
from support.scripted_provider import CLIENT, OMIT, ScriptedProvider, scripted_provider

from roomkey import Key, KeySet
from roomkey.server.app import build
from roomkey.server.providers import Provider
from roomkey.server.settings import Settings
from roomkey.stores import Stores

KEYS = KeySet([Key.generate("ES256")])
ROUTES = "/auth/providers"


@pytest.fixture(params=["hub", "python-socketio"])
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class Site:
    """A server at its address, and the browser of one user."""

    def __init__(self, host: str, http: httpx.AsyncClient, provider: ScriptedProvider) -> None:
        self.host, self.http, self.provider = host, http, provider

    async def log_in(self) -> dict[str, str]:
        sent = query_of((await self.http.get(f"{ROUTES}/sso/login")).headers["location"])
        self.provider.nonce = sent["nonce"]
        query = {"code": "c", "state": sent["state"], "iss": self.provider.issuer}
        assert (await self.http.get(f"{ROUTES}/sso/callback", params=query)).status_code == 303
        answer = await self.http.post(f"{ROUTES}/tokens", json={}, headers={"Roomkey-CSRF": "1"})
        tokens: dict[str, str] = answer.json()
        return tokens

    async def connect(self, token: str) -> Raw:
        raw = await Raw.open(self.host)
        assert (await raw.ask({"token": token})).startswith("40")
        return raw

    async def provider_logout(self, **claims: object) -> None:
        token = self.provider.logout_token(**claims)
        answer = await self.http.post(f"{ROUTES}/sso/logout", data={"logout_token": token})
        assert answer.status_code == 200, answer.text


@pytest.fixture
async def product(engine: str) -> AsyncIterator[Site]:
    """Return the whole application."""
    with scripted_provider() as provider:
        table = Provider(issuer=provider.issuer, client_id=CLIENT, login=True, create_accounts=True, audience="api")
        async with Stores.at() as stores:
            made = build(Settings(engine=engine), stores, KEYS, providers={"sso": table})  # type: ignore[arg-type]
            async with serve(made.asgi) as host, httpx.AsyncClient(base_url=f"http://{host}") as http:
                yield Site(host, http, provider)
            await made.close()


async def test_logout_at_the_provider_disconnects_the_sockets_of_its_session(product: Site) -> None:
    first = await product.connect((await product.log_in())["access_token"])
    product.provider.claims = {"sid": "s2"}
    second = await product.connect((await product.log_in())["access_token"])
    await product.provider_logout(sid="s1")
    assert (await first.expect_event("unauthorized"))[0]["data"]["reason"] == "token_revoked"
    assert await first.is_closed()
    await second.sync()
    assert not await second.is_closed(0.1)
    await product.provider_logout(sid=OMIT)
    assert await second.is_closed()


async def test_logout_at_the_provider_is_followed_by_other_processes(engine: str, tmp_path) -> None:
    with scripted_provider() as provider:
        table = {"sso": Provider(issuer=provider.issuer, client_id=CLIENT, login=True, create_accounts=True)}
        settings, path = Settings(engine=engine), tmp_path / "db.sqlite3"  # type: ignore[arg-type]
        async with Stores.at(path) as one, Stores.at(path) as two:
            first, second = (build(settings, stores, KEYS, providers=table) for stores in (one, two))
            async with (
                serve(first.asgi) as host,
                serve(second.asgi) as other,
                httpx.AsyncClient(base_url=f"http://{host}") as http,
            ):
                site = Site(host, http, provider)
                tokens = await site.log_in()
                site.host = other
                socket = await site.connect(tokens["access_token"])
                await site.provider_logout()
                assert await socket.is_closed()
            await first.close()
            await second.close()


def access_token(provider: ScriptedProvider, **claims: object) -> str:
    now = int(time.time())
    usual = {"iss": provider.issuer, "sub": "ada", "aud": "api", "iat": now, "exp": now + 300}
    return provider.sign(usual | claims, {"typ": "at+jwt"})


async def test_logout_at_the_provider_disconnects_sockets_with_its_own_tokens(product: Site) -> None:
    first = await product.connect(access_token(product.provider, sid="s1"))
    second = await product.connect(access_token(product.provider, sid="s2"))
    without = await product.connect(access_token(product.provider))
    await product.provider_logout(sid="s1")
    assert await first.is_closed()
    for raw in (second, without):
        await raw.sync()
        assert not await raw.is_closed(0.1)
    await product.provider_logout(sid=OMIT)
    assert await second.is_closed()
    assert await without.is_closed()
    refused = await (await Raw.open(product.host)).ask_data({"token": access_token(product.provider, sid="s1")})
    assert refused["data"]["reason"] == "token_revoked"


async def test_login_and_own_token_of_one_user_have_one_subject(product: Site) -> None:
    logged_in = await product.connect((await product.log_in())["access_token"])
    direct = await product.connect(access_token(product.provider))
    for raw in (logged_in, direct):
        await raw.event("whoami", ack=1)
    assert [(await raw.expect_ack(1))[0]["subject"] for raw in (logged_in, direct)] == ["sso:ada"] * 2
