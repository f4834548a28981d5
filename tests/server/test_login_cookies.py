"""``roomkey serve`` with cookies and tickets, on both engines."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from support.live import Raw
from support.product import ProductThread

from roomkey.errors import ConfigError
from roomkey.server.settings import Settings
from roomkey.server.settings_sources import load_settings


@pytest.fixture
def served(engine: Any) -> Iterator[ProductThread]:
    settings = Settings(engine=engine, cookies=True, behind_proxy=True, cors_origins=("https://app.example",))
    with ProductThread.running(settings) as made:
        yield made


async def test_page_can_log_in_and_connect_with_cookies(served: ProductThread) -> None:
    host = served.url.removeprefix("http://")
    page = {"Origin": "https://app.example", "Roomkey-CSRF": "1"}
    body = {"username": "ada", "password": served.passwords()["ada"], "cookies": True}
    async with httpx.AsyncClient(base_url=served.url) as plain:
        answer = await plain.post("/auth/login", json=body, headers=page)
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request"), "the proxy did not say https"
        asked = {"Access-Control-Request-Method": "DELETE", "Access-Control-Request-Headers": "roomkey-csrf"}
        preflight = await plain.options("/auth/sessions/x", headers=page | asked)
        assert preflight.headers["access-control-allow-credentials"] == "true"
        token = (await plain.post("/auth/login", json=body | {"cookies": False})).json()["access_token"]
        ticket = await plain.post("/auth/ticket", headers={"Authorization": f"Bearer {token}"})
    for headers, auth, expected in (
        (page, None, "40"),
        ({"Origin": served.url}, None, "40"),
        ({}, {"token": ticket.json()["ticket"]}, "40"),
        ({}, {"token": ticket.json()["ticket"]}, "44"),
    ):
        cookie = {"Cookie": f"__Host-roomkey={token}"} if auth is None else {}
        raw = await Raw.open(host, headers=headers | cookie)
        reply = await raw.ask(auth)
        assert reply.startswith(expected), reply
        await raw.event("whoami", ack=1)
        if expected == "40":
            assert (await raw.expect_ack(1))[0]["subject"] == "ada"
        await raw.close()


def test_cookies_require_tls() -> None:
    with pytest.raises(ConfigError, match="cookies require HTTPS"):
        load_settings(cookies=True)
    assert load_settings(cookies=True, behind_proxy=True).cookies
