"""A login server whose users log in at a scripted provider, and a browser that does it."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
from support.oauth import URL, Desk, query_of
from support.scripted_provider import CLIENT, ScriptedProvider

from roomkey.auth import LinkedAccounts, LoginProvider, LoginProviders, oauth_router, provider_router

ROUTES = "/auth/providers"
CSRF = {"Roomkey-CSRF": "1"}
SECRET = "a secret: 100% of it"


class ProviderDesk(Desk):
    """The login server. Its clock begins at the time of day, which the provider uses."""

    provider: ScriptedProvider

    def mount(self, provider: ScriptedProvider, *, accounts: dict[str, Any] | None = None, **settings: Any) -> None:
        self.provider = provider
        usual = {"client_id": CLIENT, "client_secret": SECRET}
        login = LoginProvider("sso", provider.issuer, **usual | settings)
        linked = LinkedAccounts(self.accounts, self.links, **({"create": ["sso"]} if accounts is None else accounts))
        site = LoginProviders(self.logins, [login], linked, self.single_use, url=URL)
        self.app.include_router(provider_router(site))
        self.app.include_router(
            oauth_router(self.logins, self.clients, self.single_use, providers=site, prefix="/connect")
        )

    async def begin(self, query: str = "", **options: Any) -> dict[str, str]:
        """Begin a login, and return the parameters that the provider gets."""
        answer = await self.http.get(f"{ROUTES}/sso/login{query}", **options)
        assert answer.status_code == 303, answer.text
        sent = query_of(answer.headers["location"])
        self.provider.nonce = sent["nonce"]
        return sent

    async def come_back(self, state: str, **changed: str | None) -> httpx.Response:
        """Open the redirect URI, as a browser that the provider sends back."""
        usual = {"code": "c0de", "state": state, "iss": self.provider.issuer}
        sent = {name: value for name, value in (usual | changed).items() if value is not None}
        return await self.http.get(f"{ROUTES}/sso/callback", params=sent)

    async def tokens(self, **options: Any) -> httpx.Response:
        """Ask for the tokens, as the page does after the login."""
        return await self.http.post(f"{ROUTES}/tokens", json={}, **{"headers": CSRF} | options)

    async def logged_in_at_provider(self) -> dict[str, Any]:
        """Log in at the provider, and return the tokens."""
        sent = await self.begin()
        answer = await self.come_back(sent["state"])
        assert answer.status_code == 303, answer.text
        found: dict[str, Any] = (await self.tokens()).json()
        return found

    async def is_logged_in(self, tokens: dict[str, Any]) -> bool:
        headers = {"Authorization": f"Bearer {tokens['access_token']}"}
        return (await self.http.get("/auth/sessions", headers=headers)).status_code == 200


@asynccontextmanager
async def provider_desk(provider: ScriptedProvider, **settings: Any) -> AsyncIterator[ProviderDesk]:
    async with ProviderDesk.opened(start=time.time()) as desk:
        assert isinstance(desk, ProviderDesk)
        desk.mount(provider, **settings)
        yield desk
